"""Tabu walks: 1-swaps that go on past local optima, at two rows of Q a swap.

With z = 1 on pruned columns, c = Q z, a_p = Q_pp - 2 c_p and b_u = Q_uu + 2 c_u (`descent`), a swap
takes the group where least a_p + least b_u is lowest, its p of least a_p, and the u of the group of
least b_u - 2 Q_pu; then

    c <- c + Q_u - Q_p.

The swap is made whether or not the loss falls (tabu search: Glover, ORSA Journal on Computing 1,
1989; on binary quadratic problems: Palubeckis, Annals of Operations Research 131, 2004). The two
columns then may not change for a random number of swaps up to TENURE each. A walk ends when its
least loss has not fallen for `patience` swaps.

Least values are found by folding (`lowest`), as the compiler puts a minimum of two arrays into
vector registers and that of one not: a swap takes less than 2 ns a column.

Small tenures were best: 10 took 1536 columns to 288.5 in 15 ms where 40 took
them to 289.9 and 100 nowhere.

Q and what is made of it may be float32, which a wide row's memory and registers want; sums of c are
made in float64, and no loss that comes from here is claimed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Pruned
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.kernels.jit import exact, strict
from maskgap.solvers.local_search.memetic.draw import below, new_state

Numbers = NDArray[np.float32] | NDArray[np.float64]

LANES = 64
"""Values up to which a minimum is looked for one by one."""

TENURE = 10

GAIN = 1e-7
"""A loss counts as lower when it is by this share: sums of float32 say no more."""

BARRED = 1e30
"""In place of a or b where a column cannot be taken."""

SWAPS, LAST, DESCENDING, UNSAVED, DONE = range(5)
LOSS, LEAST = range(2)


def by_group(groups: BudgetGroups) -> NDArray[np.int64]:
    """(n,) columns in the order of walks: the first of every group, the second of every, ...

    So what is asked of every group is asked of whole arrays, however small the groups are.
    """
    return np.arange(groups.n).reshape(groups.count, groups.size).T.ravel()


class Walk(NamedTuple):
    """A walk under way on (n,) columns `by_group`; Q's type is that of all that is made of it.

    pruned: where it stands; c: Q z there. best, best_c: of its least loss. diag: Q_jj. held, spare:
    Q_jj of columns that can be dropped, or taken, and BARRED of others; drop, take: a and b made of
    them. first, levels: (n,) and (2 n,), for choices. touched: columns that moved in a walk beyond
    its first descent. due: (TENURE, 2 TENURE), columns that become free, by swap modulo TENURE,
    waiting (TENURE,) of them. bar: (1,), BARRED. numbers: swaps, swap of the last gain, whether
    still on the first descent, whether `best` is to be saved, whether it has ended. values: loss,
    least loss. random: state of `below`.
    """

    pruned: Pruned
    c: Numbers
    best: Pruned
    best_c: Numbers
    diag: Numbers
    held: Numbers
    spare: Numbers
    drop: Numbers
    take: Numbers
    first: Numbers
    levels: Numbers
    touched: NDArray[np.bool_]
    due: NDArray[np.int64]
    waiting: NDArray[np.int64]
    bar: Numbers
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    random: NDArray[np.uint64]


def new_walk(quad: Numbers, seed: Sequence[int]) -> Walk:
    """A walk that stands nowhere yet."""
    n = len(quad)

    def empty(size: int = n, value: float = 0.0) -> Numbers:
        return np.full(size, value, quad.dtype)

    diag = empty()
    diag[:] = quad.diagonal()
    return Walk(
        pruned=Pruned(np.zeros(n, np.bool_)),
        c=empty(),
        best=Pruned(np.zeros(n, np.bool_)),
        best_c=empty(),
        diag=diag,
        held=empty(),
        spare=empty(),
        drop=empty(),
        take=empty(),
        first=empty(),
        levels=empty(2 * n),
        touched=np.zeros(n, np.bool_),
        due=np.zeros((TENURE, 2 * TENURE), np.int64),
        waiting=np.zeros(TENURE, np.int64),
        bar=empty(1, BARRED),
        numbers=np.zeros(5, np.int64),
        values=np.zeros(2),
        random=new_state(seed),
    )


@exact
def lowest(values, levels):  # type: ignore[no-untyped-def]
    """The place of the least of (n,) values; levels: (n,) and more, for use here.

    Halves are laid upon each other until LANES are left, each level behind the one before; the
    place is then followed back. Level k has ceil(n / 2^k) values.
    """
    n = width = len(values)
    depth = end = 0
    above = values
    while width > LANES:
        half = (width + 1) // 2
        low, high, into = above[: width - half], above[half:width], levels[end : end + half]
        for j in range(len(low)):
            into[j] = low[j] if low[j] < high[j] else high[j]
        if width - half < half:
            into[half - 1] = above[half - 1]
        above, width, depth, end = into, half, depth + 1, end + half
    place = 0
    for j in range(1, width):
        if above[j] < above[place]:
            place = j
    least, begin = above[place], end - width
    for level in range(depth - 1, -1, -1):
        width = (n + (1 << level) - 1) >> level
        begin -= width
        at = values[place] if level == 0 else levels[begin + place]
        if at != least:
            place += (width + 1) // 2
    return place


@strict
def stand(quad, walk):  # type: ignore[no-untyped-def]
    """Sum c = Q z and the loss afresh where the walk stands, in float64."""
    total = np.zeros(len(walk.c))
    for p in range(len(total)):
        if walk.pruned[p]:
            row = quad[p]
            for j in range(len(total)):
                total[j] += row[j]
    loss = 0.0
    for j in range(len(total)):
        walk.c[j] = total[j]
        if walk.pruned[j]:
            loss += total[j]
    walk.values[LOSS] = loss


@exact
def _exchange(away, come, walk):  # type: ignore[no-untyped-def]
    """Change c by the row `come` less the row `away`, and with it drop and take."""
    c, held, spare, drop, take = walk.c, walk.held, walk.spare, walk.drop, walk.take
    for j in range(len(c)):
        value = c[j] + (come[j] - away[j])
        c[j] = value
        drop[j] = held[j] - (value + value)
        take[j] = spare[j] + (value + value)


@exact
def _choose_p(groups, walk):  # type: ignore[no-untyped-def]
    """The column of least a in the group of least a_p + b_u."""
    drop, take, n = walk.drop, walk.take, len(walk.drop)
    if groups == 1:
        return lowest(drop, walk.levels)
    a, b, pairs = walk.levels[:groups], walk.levels[groups : 2 * groups], walk.first
    a[:], b[:] = drop[:groups], take[:groups]
    for start in range(groups, n, groups):
        other_a, other_b = drop[start : start + groups], take[start : start + groups]
        for g in range(groups):
            a[g] = other_a[g] if other_a[g] < a[g] else a[g]
            b[g] = other_b[g] if other_b[g] < b[g] else b[g]
    for g in range(groups):
        pairs[g] = a[g] + b[g]
    p = lowest(pairs[:groups], walk.levels)
    for j in range(p + groups, n, groups):
        if drop[j] < drop[p]:
            p = j
    return p


@exact
def _choose_u(row, groups, walk, p):  # type: ignore[no-untyped-def]
    """The column u of the group of p of least b_u - 2 Q_pu. row: Q_p."""
    take, keys = walk.take, walk.first
    if groups == 1:
        for j in range(len(take)):
            keys[j] = take[j] - (row[j] + row[j])
        return lowest(keys, walk.levels)
    u = p % groups
    for j in range(u + groups, len(take), groups):
        if take[j] - (row[j] + row[j]) < take[u] - (row[u] + row[u]):
            u = j
    return u


@strict
def depart(walk):  # type: ignore[no-untyped-def]
    """Begin a walk where it stands: all columns free, the best mask is this one."""
    walk.best[:] = walk.pruned
    walk.best_c[:] = walk.c
    walk.values[LEAST] = walk.values[LOSS]
    walk.numbers[:] = 0
    walk.numbers[DESCENDING] = 1
    walk.waiting[:] = 0
    for j in range(len(walk.c)):
        walk.held[j] = walk.diag[j] if walk.pruned[j] else walk.bar[0]
        walk.spare[j] = walk.bar[0] if walk.pruned[j] else walk.diag[j]
        walk.drop[j] = walk.held[j] - 2 * walk.c[j]
        walk.take[j] = walk.spare[j] + 2 * walk.c[j]


@strict
def _bar(walk, column):  # type: ignore[no-untyped-def]
    """Neither drop nor take a column for a random number of swaps."""
    walk.held[column] = walk.spare[column] = walk.bar[0]
    place = (walk.numbers[SWAPS] + 1 + below(walk.random, TENURE)) % TENURE
    walk.due[place, walk.waiting[place]] = column
    walk.waiting[place] += 1


@strict
def _free(walk):  # type: ignore[no-untyped-def]
    """Free the columns whose time has come."""
    place = walk.numbers[SWAPS] % TENURE
    for i in range(walk.waiting[place]):
        j = walk.due[place, i]
        if walk.pruned[j]:
            walk.held[j] = walk.diag[j]
            walk.drop[j] = walk.diag[j] - 2 * walk.c[j]
        else:
            walk.spare[j] = walk.diag[j]
            walk.take[j] = walk.diag[j] + 2 * walk.c[j]
    walk.waiting[place] = 0


@strict
def go(quad, groups, walk, patience, most):  # type: ignore[no-untyped-def]
    """Go on for at most `most` swaps; returns how many were made. numbers[DONE]: it has ended.

    groups: how many; see `by_group`.
    """
    numbers, values = walk.numbers, walk.values
    before = numbers[SWAPS]
    while numbers[SWAPS] - before < most:
        _free(walk)
        p = _choose_p(groups, walk)
        u = _choose_u(quad[p], groups, walk, p)
        tired = numbers[SWAPS] - numbers[LAST] >= patience
        if tired or walk.held[p] >= walk.bar[0] or walk.spare[u] >= walk.bar[0]:
            save(walk)
            numbers[DONE] = 1
            break
        change = np.float64(walk.drop[p]) + np.float64(walk.take[u]) - 2.0 * quad[p, u]
        if change >= 0.0:
            numbers[DESCENDING] = 0
            save(walk)
        if not numbers[DESCENDING]:
            walk.touched[p] = walk.touched[u] = True
        walk.pruned[p], walk.pruned[u] = False, True
        _bar(walk, p)
        _bar(walk, u)
        _exchange(quad[p], quad[u], walk)
        values[LOSS] += change
        numbers[SWAPS] += 1
        if values[LOSS] < values[LEAST] - GAIN * abs(values[LEAST]):
            values[LEAST] = values[LOSS]
            numbers[LAST], numbers[UNSAVED] = numbers[SWAPS], 1
    return numbers[SWAPS] - before


@strict
def save(walk):  # type: ignore[no-untyped-def]
    """Keep the mask of least loss, if the walk still stands there."""
    if walk.numbers[UNSAVED]:
        walk.best[:] = walk.pruned
        walk.best_c[:] = walk.c
        walk.numbers[UNSAVED] = 0
