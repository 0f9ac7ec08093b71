"""Children of two masks, and the columns that a population leaves open.

A child keeps what both parents keep; of the columns of a group on which they differ, it keeps a
random choice of as many as each parent keeps, so that it is legal. Members of a population of local
optima agree on most columns. What all of them keep, or prune, is fixed while they recombine, but
for a margin of the columns that cost least to move at the best of them: rows are then of few
columns, and an exchange costs the square of their number.
"""

import numpy as np

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.local_search.memetic.draw import below

MARGIN = 32
"""Columns of either side that are left open beside those on which members differ."""

SMALL_GROUP = 32
"""Groups of at most so many columns are left open as a whole."""


@strict
def recombine(one, other, offsets, random, child):  # type: ignore[no-untyped-def]
    """Make the child of two masks (m,); whether it is neither of them.

    random: (1,) uint64, state of the generator.
    """
    away = distance = 0
    for g in range(len(offsets) - 1):
        left = free = 0
        for t in range(offsets[g], offsets[g + 1]):
            child[t] = one[t]
            left += one[t] and not other[t]
            free += one[t] != other[t]
        distance += free
        for t in range(offsets[g], offsets[g + 1]):
            if one[t] != other[t]:
                child[t] = below(random, free) < left
                left -= child[t]
                free -= 1
                away += child[t] != one[t]
    return 0 < away < distance


def open_columns(masks: Flags, alone: Vector, groups: BudgetGroups) -> States:
    """(n,) int8: what all masks agree on is fixed, but for a margin.

    masks: (members, n) bool, True = kept. alone: (n,) how much moving a column changes the loss of
    the best mask, the other columns re-optimised.
    """
    kept = masks.all(axis=0)
    agreed = kept | ~masks.any(axis=0)
    free: Flags = np.invert(agreed)
    if groups.size <= SMALL_GROUP:
        rise = np.where(kept, alone, np.inf).reshape(-1, groups.size).min(axis=1)
        fall = np.where(kept, np.inf, alone).reshape(-1, groups.size).min(axis=1)
        nearest = np.argsort(rise + fall, kind="stable")[: 2 * MARGIN // groups.size]
        free[(nearest[:, None] * groups.size + np.arange(groups.size)).reshape(-1)] = True
    else:
        for side in (agreed & kept, agreed & ~kept):
            columns = np.flatnonzero(side)
            free[columns[np.argsort(alone[columns], kind="stable")[:MARGIN]]] = True
    return np.where(free, FREE, np.where(kept, KEPT, PRUNED)).astype(np.int8)
