"""Compiled kernels on legal masks: loss, rounding, and 1-swap descent (see `solvers.swap_step`).

z is (n,) float64, 1 on pruned columns; losses are z^T Q z in the units of Q.
"""

import numpy as np

from solvers.frank_wolfe.node import fast, strict


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
def descend(quad, size, z):  # type: ignore[no-untyped-def]
    """1-swap descent of a legal z in place; returns its loss."""
    n = len(z)
    c = np.zeros(n)
    for i in range(n):
        if z[i] > 0.0:
            for t in range(n):
                c[t] += quad[i, t]
    scale = 0.0
    for i in range(n):
        scale += quad[i, i] * z[i]
    while True:
        best, p, u = -1e-12 * scale, -1, -1
        for i in range(n):
            if z[i] > 0.0:
                a = quad[i, i] - 2.0 * c[i]
                first = i - i % size
                for t in range(first, first + size):
                    if z[t] == 0.0:
                        change = a + 2.0 * c[t] + quad[t, t] - 2.0 * quad[i, t]
                        if change < best:
                            best, p, u = change, i, t
        if p < 0:
            return loss_of(quad, z)
        z[p], z[u] = 0.0, 1.0
        for t in range(n):
            c[t] += quad[u, t] - quad[p, t]


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
