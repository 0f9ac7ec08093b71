"""A population of masks that recombine: kernels.

A child takes what its two parents prune in common; of the columns on which they differ, a random
half of each group's is pruned, so that it is legal. It goes on a tabu walk (`tabu`), and takes the
place of the parent it is nearer to if it is better (deterministic crowding, Mahfoud 1992): the
population improves and does not collapse onto its best member. A mask as good as a member to
rounding counts as that member. The search has converged when many children in a row changed
nothing.

Masks of two good local optima share most columns, so a child starts close to both, costs few swaps,
and its c is its parent's with few rows of Q added.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Pruned
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.local_search.memetic.draw import below
from maskgap.solvers.local_search.memetic.tabu import (
    DONE,
    GAIN,
    LEAST,
    LOSS,
    Numbers,
    depart,
    go,
)

PATIENCE = 5
"""Children without effect, per member, after which the search has converged."""

SAME = 10 * GAIN
"""Losses that differ by less than this share are of one mask."""

MEMBERS, FIRST, SECOND, IDLE, WALKING = range(5)

SLICE_CHILDREN = 32
"""Children begun in a slice, at most: some are a parent, and make no swap."""


class Population(NamedTuple):
    """Members, and the parents of the child under way.

    pruned: (size, n) bool. correlation: (size, n), Q z of each. loss: (size,). numbers: members so
    far, the parents, children without effect, whether a child is on its walk.
    """

    pruned: Pruned
    correlation: Numbers
    loss: NDArray[np.float64]
    numbers: NDArray[np.int64]


def new_population(n: int, size: int, kind: np.dtype[np.floating]) -> Population:
    """An empty population of at most `size` members; kind: of Q."""
    return Population(
        Pruned(np.zeros((size, n), np.bool_)),
        np.zeros((size, n), kind),
        np.full(size, np.inf),
        np.zeros(5, np.int64),
    )


@strict
def recombine(quad, groups, population, walk):  # type: ignore[no-untyped-def]
    """Let the walk stand at a child of two random members; False when it is one of them."""
    numbers, random, c = population.numbers, walk.random, walk.c
    a, b = below(random, numbers[MEMBERS]), below(random, numbers[MEMBERS] - 1)
    b += b >= a
    numbers[FIRST], numbers[SECOND] = a, b
    one, other = population.pruned[a], population.pruned[b]
    walk.pruned[:] = one
    c[:] = population.correlation[a]
    loss = population.loss[a]
    away = distance = 0
    for first in range(groups):
        out = into = 0
        for t in range(first, len(c), groups):
            out += one[t] and not other[t]
            into += other[t] and not one[t]
        left, free = out, out + into
        distance += free
        for t in range(first, len(c), groups):
            if one[t] == other[t]:
                continue
            # of the columns on which they differ, `left` of `free` are pruned
            pruned = below(random, free) < left
            left -= pruned
            free -= 1
            if pruned == one[t]:
                continue
            away += 1
            walk.pruned[t] = pruned
            row = quad[t]
            if pruned:
                loss += row[t] + 2.0 * c[t]
                for s in range(len(c)):
                    c[s] += row[s]
            else:
                loss += row[t] - 2.0 * c[t]
                for s in range(len(c)):
                    c[s] -= row[s]
    walk.values[LOSS] = loss
    return 0 < away < distance


@strict
def conceive(quad, groups, population, walk):  # type: ignore[no-untyped-def]
    """Let the walk depart from the next child; False when that is a member."""
    population.numbers[IDLE] += 1
    fresh = recombine(quad, groups, population, walk)
    if fresh:
        depart(walk)
    return fresh


@strict
def admit(population, walk):  # type: ignore[no-untyped-def]
    """Give the best mask of the walk a place if it has earned one; whether it has."""
    numbers, loss = population.numbers, walk.values[LEAST]
    members = numbers[MEMBERS]
    for i in range(members):
        if abs(population.loss[i] - loss) <= SAME * abs(loss):
            return False
    place = members
    if members == len(population.loss):
        a, b = numbers[FIRST], numbers[SECOND]
        to_a = to_b = 0
        for t in range(len(walk.best)):
            to_a += population.pruned[a, t] != walk.best[t]
            to_b += population.pruned[b, t] != walk.best[t]
        place = a if to_a <= to_b else b
        if loss >= population.loss[place]:
            return False
    population.pruned[place] = walk.best
    population.correlation[place] = walk.best_c
    population.loss[place] = loss
    numbers[MEMBERS] = max(members, place + 1)
    numbers[IDLE] = 0
    return True


@strict
def converged(population):  # type: ignore[no-untyped-def]
    """Whether many children in a row changed nothing, or there are no two parents."""
    members = population.numbers[MEMBERS]
    return members < 2 or population.numbers[IDLE] > PATIENCE * members


@strict
def evolve(quad, groups, population, walk, patience, most):  # type: ignore[no-untyped-def]
    """A slice: at most `most` swaps and SLICE_CHILDREN children; returns the swaps made.

    It ends before either with convergence, and with a child that joined. patience: of a child's
    walk. What is found does not depend on the slices.
    """
    swaps = begun = 0
    while population.numbers[WALKING] or not converged(population):
        if not population.numbers[WALKING]:
            if begun == SLICE_CHILDREN:
                break
            begun += 1
            if not conceive(quad, groups, population, walk):
                continue
            population.numbers[WALKING] = 1
        swaps += go(quad, groups, walk, patience, most - swaps)
        if not walk.numbers[DONE]:
            break
        population.numbers[WALKING] = 0
        if admit(population, walk):
            break
    return swaps
