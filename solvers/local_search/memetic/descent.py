"""1-swap descent of one mask at O(n) a swap: the columns to bring back are shortlisted.

With z = 1 on pruned columns, c = Q z and loss z . c, swapping pruned p for kept u changes it by

    delta(p, u) = a_p + b_u - 2 Q_pu,     a_p = Q_pp - 2 c_p,   b_u = Q_uu + 2 c_u
    c <- c + Q_u - Q_p                                                  (arXiv 2512.10922)

A step looks at the few pruned columns p of least a_p + min of b_u over their group, and takes the
best pair of these. That misses pairs of large Q_pu now and then, which a search that makes many
descents can afford: widths of one to eight columns led to masks of about the same loss, all columns
took eight times as long and more. A width of all pruned columns is the exact rule, and ends 1-swap
optimal.

A mask is held as `order` (n,) int32: of the columns of each group, the pruned ones come first.
Losses are in the units of Q, float64. Nothing here depends on the scale of Q by powers of two.
"""

import numpy as np

from maskgap.solvers.kernels.jit import strict

WIDTH = 2
"""Columns on the shortlist."""

THRESHOLD = 1e-12
"""A change below this share of the sum of |Q_pp| over pruned columns may be rounding."""


@strict
def arrange(size, pruned, order):  # type: ignore[no-untyped-def]
    """Order the columns of each group, the pruned ones (n,) bool first, both in ascending order."""
    for first in range(0, len(pruned), size):
        place = first
        for side in (True, False):
            for t in range(first, first + size):
                if pruned[t] == side:
                    order[place] = t
                    place += 1


@strict
def sum_afresh(quad, size, budget, order, c):  # type: ignore[no-untyped-def]
    """Sum c = Q z afresh; returns (loss, sum of |Q_pp| over pruned columns)."""
    c[:] = 0.0
    for first in range(0, len(order), size):
        for i in range(first, first + budget):
            row = quad[order[i]]
            for t in range(len(c)):
                c[t] += row[t]
    return loss_of(quad, size, budget, order, c)


@strict
def loss_of(quad, size, budget, order, c):  # type: ignore[no-untyped-def]
    """(loss, sum of |Q_pp| over pruned columns) from c = Q z; Q_pp may be negative in a node."""
    loss, diagonal = 0.0, 0.0
    for first in range(0, len(order), size):
        for i in range(first, first + budget):
            loss += c[order[i]]
            diagonal += abs(quad[order[i], order[i]])
    return loss, diagonal


@strict
def best_swap(quad, diag, size, budget, order, c, keys, places):  # type: ignore[no-untyped-def]
    """(change, place of p, place of u in `order`) of the best pair of the shortlist.

    keys, places: float64 and int64 buffers of the shortlist's width.
    """
    width, listed = len(keys), 0
    for first in range(0, len(order), size):
        least = np.inf
        for i in range(first + budget, first + size):
            value = diag[order[i]] + 2.0 * c[order[i]]
            least = value if value < least else least
        for i in range(first, first + budget):
            key = diag[order[i]] - 2.0 * c[order[i]] + least
            if listed < width or key < keys[listed - 1]:
                listed += listed < width
                k = listed - 1
                while k > 0 and keys[k - 1] > key:
                    keys[k], places[k] = keys[k - 1], places[k - 1]
                    k -= 1
                keys[k], places[k] = key, i
    best, at_p, at_u = np.inf, -1, -1
    for k in range(listed):
        p = order[places[k]]
        row, a = quad[p], diag[p] - 2.0 * c[p]
        first = places[k] - places[k] % size
        for i in range(first + budget, first + size):
            u = order[i]
            change = a + (diag[u] + 2.0 * c[u]) - 2.0 * row[u]
            if change < best:
                best, at_p, at_u = change, places[k], i
    return best, at_p, at_u


@strict
def swap(quad, order, c, at_p, at_u):  # type: ignore[no-untyped-def]
    """Exchange two columns, in `order` and in c."""
    p, u = order[at_p], order[at_u]
    order[at_p], order[at_u] = u, p
    away, come = quad[p], quad[u]
    for t in range(len(c)):
        c[t] += come[t] - away[t]


@strict
def descend(quad, diag, size, budget, order, c, width, most):  # type: ignore[no-untyped-def]
    """Swap from c = Q z until nothing improves, or `most` swaps; returns (loss, swaps).

    The end is one of freshly summed c, and sums that do not fall end it: no cycling.
    """
    keys, places = np.empty(width), np.empty(width, np.int64)
    least, swaps = np.inf, 0
    while True:
        loss, diagonal = sum_afresh(quad, size, budget, order, c)
        if loss >= least or swaps >= most:
            return loss, swaps
        least = loss
        before = swaps
        while swaps < most:
            change, at_p, at_u = best_swap(quad, diag, size, budget, order, c, keys, places)
            if not change < -THRESHOLD * diagonal:
                break
            swap(quad, order, c, at_p, at_u)
            swaps += 1
        if swaps == before:
            return loss, swaps
