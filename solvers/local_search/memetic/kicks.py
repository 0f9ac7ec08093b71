"""Kicks: some random swaps away from a mask, before a walk.

Walks after kicks from the best mask so far are what improves a mask most in a given time: most of
the columns that a kick moved are put back in as many swaps, and what is left over is a local change
of several columns that no single swap finds. Columns that walks have touched are the ones to move:
a sixth of 1536, a quarter of 4096.
"""

from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.local_search.memetic.draw import below
from maskgap.solvers.local_search.memetic.tabu import DONE, GAIN, LEAST, LOSS, depart, go

KICK = 30
"""Swaps of a kick, at most."""

TRIES = 16
"""Columns drawn for one that is pruned, or kept."""


@strict
def _swap(quad, walk, p, u):  # type: ignore[no-untyped-def]
    """Exchange two columns where the walk stands, before it departs."""
    c = walk.c
    walk.values[LOSS] += quad[p, p] - 2.0 * c[p] + quad[u, u] + 2.0 * (c[u] - quad[p, u])
    walk.pruned[p], walk.pruned[u] = False, True
    away, come = quad[p], quad[u]
    for j in range(len(c)):
        c[j] += come[j] - away[j]


@strict
def kick(quad, groups, walk, among, count):  # type: ignore[no-untyped-def]
    """At most `count` random swaps of columns `among` (any, int64), where the walk stands.

    In groups of fewer than all columns the second is any column of the group.
    """
    size = len(walk.c) // groups
    for _ in range(count):
        p = u = -1
        for _ in range(TRIES):
            j = among[below(walk.random, len(among))]
            if walk.pruned[j]:
                p = j
                break
        if p < 0:
            continue
        for _ in range(TRIES):
            if groups == 1:
                j = among[below(walk.random, len(among))]
            else:
                j = p % groups + groups * below(walk.random, size)
            if not walk.pruned[j]:
                u = j
                break
        if u >= 0:
            _swap(quad, walk, p, u)


@strict
def leap(quad, groups, walk, base, among, count):  # type: ignore[no-untyped-def]
    """Depart from a kick away from a mask. base: (its pruned columns, Q z, (1,) loss)."""
    walk.pruned[:] = base[0]
    walk.c[:] = base[1]
    walk.values[LOSS] = base[2][0]
    kick(quad, groups, walk, among, count)
    depart(walk)


@strict
def hammer(quad, groups, walk, base, among, left, patience, most):  # type: ignore[no-untyped-def]
    """A slice of walks after kicks from `base` until one gains: (swaps made, kicks left).

    The walk under way goes on first. left: kicks, at most. most: swaps, at most. It has gained
    where the least loss of the walk, which has ended then, is below that of `base`.
    """
    swaps = 0
    while swaps < most:
        swaps += go(quad, groups, walk, patience, most - swaps)
        if not walk.numbers[DONE]:
            break
        if walk.values[LEAST] < base[2][0] - GAIN * abs(base[2][0]) or left == 0:
            break
        left -= 1
        leap(quad, groups, walk, base, among, 2 + below(walk.random, KICK - 1))
    return swaps, left
