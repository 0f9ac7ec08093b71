"""A population of local optima that recombine: kernels.

A child takes what its two parents prune in common; of the columns on which they differ, a random
half of each group's is pruned, so that it is legal. It descends by 1-swaps, and takes the place of
the parent it is nearer to if it is better (deterministic crowding, Mahfoud 1992): the population
improves and does not collapse onto its best member. A mask as good as a member to rounding counts
as that member. The search has converged when many children in a row changed nothing.

Masks of two good local optima share most columns, so a child starts close to both, costs few swaps,
and its c is its parent's with few rows of Q added.

`evolve` can be cut off after any swap and go on: results do not depend on the cuts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Pruned
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.local_search.memetic.descent import (
    THRESHOLD,
    WIDTH,
    arrange,
    best_swap,
    loss_of,
    sum_afresh,
    swap,
)

PATIENCE = 5
"""Children without effect, per member, after which the search has converged."""

SLICE_CHILDREN = 32
"""Children begun in a slice, at most: some change nothing, and make no swap."""

MEMBERS, STARTED, FIRST, SECOND, PHASE, IDLE, CHILDREN, DONE = range(8)
NEXT, DESCENT, SUMMED = range(3)
LOSS, LEAST, DIAGONAL = range(3)


class Population(NamedTuple):
    """members: see `numbers[MEMBERS]`; n: columns; a child is being improved in `order` and `c`.

    pruned: (size, n) bool. correlation: (size, n), Q z of each. loss: (size,). order: (n,) int32.
    c: (n,). numbers: members so far, starts made, parents of the child, phase, children without
    effect, children, whether converged. values: loss of the child, when last freshly summed, and
    its diagonal sum. random: (1,) uint64, state of the generator.
    """

    pruned: Pruned
    correlation: NDArray[np.float64]
    loss: NDArray[np.float64]
    order: NDArray[np.int32]
    c: NDArray[np.float64]
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    random: NDArray[np.uint64]


def new_population(n: int, size: int, seed: Sequence[int]) -> Population:
    """An empty population of at most `size` members."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)
    return Population(
        Pruned(np.zeros((size, n), np.bool_)),
        np.zeros((size, n)),
        np.full(size, np.inf),
        np.zeros(n, np.int32),
        np.zeros(n),
        np.zeros(8, np.int64),
        np.zeros(3),
        state,
    )


@strict
def below(random, bound):  # type: ignore[no-untyped-def]
    """A random whole number below `bound`: xorshift64* (Vigna, arXiv 1402.6246)."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return np.int64(((x * np.uint64(2685821657736338717)) >> np.uint64(33)) % np.uint64(bound))


@strict
def draw(size, budget, random, order):  # type: ignore[no-untyped-def]
    """A uniformly random legal mask: `order` is shuffled within groups."""
    for first in range(0, len(order), size):
        for i in range(budget):
            j = first + i + below(random, size - i)
            order[first + i], order[j] = order[j], order[first + i]


@strict
def recombine(quad, size, budget, population, a, b):  # type: ignore[no-untyped-def]
    """Put a child of members a and b into `order` and `c`; False when it is one of them."""
    order, c, random = population.order, population.c, population.random
    one, other = population.pruned[a], population.pruned[b]
    n = len(order)
    arrange(size, one, order)
    c[:] = population.correlation[a]
    away = distance = 0
    for first in range(0, n, size):
        out = into = 0
        for t in range(first, first + size):
            out += one[t] and not other[t]
            into += other[t] and not one[t]
        left, free = out, out + into
        distance += free
        if free == 0:
            continue
        # of the columns on which they differ, `left` of `free` are pruned
        place, rest = first, first + budget
        for t in range(first, first + size):
            pruned = one[t]
            if one[t] != other[t]:
                pruned = below(random, free) < left
                left -= pruned
                free -= 1
                if pruned != one[t]:
                    away += 1
                    row = quad[t]
                    if pruned:
                        for s in range(n):
                            c[s] += row[s]
                    else:
                        for s in range(n):
                            c[s] -= row[s]
            if pruned:
                order[place] = t
                place += 1
            else:
                order[rest] = t
                rest += 1
    return 0 < away < distance


@strict
def admit(size, budget, population):  # type: ignore[no-untyped-def]
    """Whether the child, whose descent has ended, would join; and the place it would take."""
    numbers, loss = population.numbers, population.values[LOSS]
    members, same = numbers[MEMBERS], THRESHOLD * population.values[DIAGONAL]
    for i in range(members):
        if abs(population.loss[i] - loss) <= same:
            return -1
    if members < len(population.loss):
        return members
    a, b = numbers[FIRST], numbers[SECOND]
    to_a = to_b = 0
    for first in range(0, len(population.order), size):
        for i in range(first, first + size):
            t, pruned = population.order[i], i < first + budget
            to_a += population.pruned[a, t] != pruned
            to_b += population.pruned[b, t] != pruned
    place = a if to_a <= to_b else b
    return place if loss < population.loss[place] else -1


@strict
def join(size, budget, population, place):  # type: ignore[no-untyped-def]
    """Make the child the member at a place."""
    for first in range(0, len(population.order), size):
        for i in range(first, first + size):
            population.pruned[place, population.order[i]] = i < first + budget
    population.correlation[place] = population.c
    population.loss[place] = population.values[LOSS]
    population.numbers[MEMBERS] = max(population.numbers[MEMBERS], place + 1)


@strict
def begin(quad, size, budget, population):  # type: ignore[no-untyped-def]
    """Begin the next child; False when it needs no descent, or there is none."""
    numbers, values = population.numbers, population.values
    most, members = len(population.loss), numbers[MEMBERS]
    if members < most and numbers[STARTED] < 2 * most:
        if numbers[STARTED] > 0:
            draw(size, budget, population.random, population.order)
        numbers[STARTED] += 1
        values[LOSS], values[DIAGONAL] = sum_afresh(
            quad, size, budget, population.order, population.c
        )
        return True
    if members < 2 or numbers[IDLE] > PATIENCE * members:
        numbers[DONE] = 1
        return False
    a, b = below(population.random, members), below(population.random, members - 1)
    b += b >= a
    numbers[FIRST], numbers[SECOND] = a, b
    numbers[CHILDREN] += 1
    numbers[IDLE] += 1
    if not recombine(quad, size, budget, population, a, b):
        return False
    values[LOSS], values[DIAGONAL] = loss_of(quad, size, budget, population.order, population.c)
    return True


@strict
def evolve(quad, diag, size, budget, population, most):  # type: ignore[no-untyped-def]
    """A slice: at most `most` swaps and SLICE_CHILDREN children; returns the swaps made.

    It ends before either when the population has converged.
    """
    numbers, values, order, c = (
        population.numbers, population.values, population.order, population.c,
    )  # fmt: skip
    keys, places = np.empty(WIDTH), np.empty(WIDTH, np.int64)
    swaps = begun = 0
    while numbers[DONE] == 0:
        if numbers[PHASE] == NEXT:
            if begun == SLICE_CHILDREN:
                break
            begun += 1
            if not begin(quad, size, budget, population):
                continue
            values[LEAST] = np.inf
            numbers[PHASE] = DESCENT
        change, at_p, at_u = best_swap(quad, diag, size, budget, order, c, keys, places)
        if change < -THRESHOLD * values[DIAGONAL]:
            if swaps >= most:
                break
            swap(quad, order, c, at_p, at_u)
            values[LOSS] += change
            swaps += 1
            numbers[PHASE] = DESCENT
            continue
        place = admit(size, budget, population)
        if place >= 0 and numbers[PHASE] == DESCENT:
            # summed afresh before it may join, and on from there while that is lower
            values[LOSS], values[DIAGONAL] = sum_afresh(quad, size, budget, order, c)
            if values[LOSS] < values[LEAST]:
                values[LEAST] = values[LOSS]
                numbers[PHASE] = SUMMED
                continue
            place = admit(size, budget, population)
        if place >= 0:
            join(size, budget, population, place)
            numbers[IDLE] = 0
        numbers[PHASE] = NEXT
    return swaps
