"""Compiled kernels on legal masks: loss, rounding, and descent (`memetic.descent`).

z is (n,) float64, 1 on pruned columns; losses are z^T Q z in the units of Q.
"""

import numpy as np

from maskgap.solvers.kernels.jit import fast, strict
from maskgap.solvers.local_search.memetic.descent import WIDTH, arrange
from maskgap.solvers.local_search.memetic.descent import descend as swap_down

NO_LIMIT = np.iinfo(np.int64).max


@fast
def loss_of(quad, z):  # type: ignore[no-untyped-def]
    """z^T Q z."""
    total = 0.0
    for i in range(len(z)):
        if z[i] > 0.0:
            along = 0.0
            for t in range(len(z)):
                along += quad[i, t] * z[t]
            total += along
    return total


@strict
def descend(quad, size, budget, z):  # type: ignore[no-untyped-def]
    """1-swap descent of a legal z in place; returns its loss."""
    n = len(z)
    order, c, diag = np.empty(n, np.int32), np.empty(n), np.empty(n)
    for t in range(n):
        diag[t] = quad[t, t]
    arrange(size, z > 0.0, order)
    loss, _ = swap_down(quad, diag, size, budget, order, c, WIDTH, NO_LIMIT)
    for first in range(0, n, size):
        for i in range(first, first + size):
            z[order[i]] = 1.0 if i < first + budget else 0.0
    return loss


@strict
def round_to_legal(size, budget, x, z):  # type: ignore[no-untyped-def]
    """Prune the columns of largest x in each group; ties to the lower column."""
    for group in range(0, len(x), size):
        for t in range(group, group + size):
            z[t] = 0.0
        if budget == 0:
            continue
        last = np.partition(-x[group : group + size], budget - 1)[budget - 1]
        left = budget
        for t in range(group, group + size):
            if -x[t] < last:
                z[t] = 1.0
                left -= 1
        for t in range(group, group + size):
            if left > 0 and -x[t] == last:
                z[t] = 1.0
                left -= 1
