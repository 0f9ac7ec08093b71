"""The best 1-swap compiled for processors: pairs are bounded before they are looked at.

With r_u = |w_u| d_u, d_u the input norm of a column, and for each column p of the layer

    rho_p = max over u != p of |G_pu| / d_u,

the change of a swap obeys  delta(p, u) >= a_p + b_u - 2 |w_p| rho_p r_u,  and for all u at once

    delta(p, .) >= a_p + e(2 |w_p| rho_p),     e(t) = min over kept u of b_u - t r_u,

where e is the lower envelope of |kept| lines. (rho_p = d_p would be Cauchy-Schwarz, the filter of
the paper's authors; a column's largest correlation with any other is far below 1, and all rows
share rho.) Columns p whose bound lies above the best change seen are done with. For those that are
left, the same is asked of each u, with the lower envelope of their a_p - 2 |w_p| rho_p r; and of
the pairs that are left, only those whose own bound passes are looked up in G.

A step costs O(n) for c, b and the envelopes, a few lines times n for the bounds, and one operation
for each pair of a p and a u that are left: at n = 4096 some 0.1 to 0.5 % of all pairs, of which a
tenth is looked up. The worst case is pruned columns * group size. Nothing is allocated beyond a few
vectors of length n a row.

The bounds are lowered by more than their rounding can amount to, so nothing that could win, or tie,
is skipped: the choice is bit for bit that of `solvers.local_search.one_swap.rule`.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix
from maskgap.solvers.kernels.jit import exact

SMALL_GROUP = 32
"""Groups of fewer columns are looked at whole."""

FEW = 16
"""Columns p left up to which each is looked at with all u."""

ROUNDING = 8 * np.finfo(np.float64).eps
"""Rounding of a bound, times the number of columns and the largest |a|, |b| of the row."""

SUM_COLUMNS = 256
"""Columns of c summed together: with `ROWS_TOGETHER` rows they stay in the first cache."""

ROWS_TOGETHER = 16
"""Rows that share one pass over G when c is summed."""


@exact
def norms_and_reach(gram):  # type: ignore[no-untyped-def]
    """(d, rho), both (n,): see above.

    d_u is raised above the root of G_uu where a Gram that is indefinite by rounding asks for it.
    """
    n = len(gram)
    d, rho = np.empty(n), np.zeros(n)
    for u in range(n):
        largest = 0.0
        for p in range(n):
            value = abs(gram[u, p])
            largest = value if value > largest else largest
        d[u] = np.sqrt(max(gram[u, u], 1e-8 * largest))
    inverse = np.empty(n)
    for u in range(n):
        inverse[u] = 1.0 / d[u] if d[u] > 0.0 else 0.0
    for p in range(n):
        before, after = 0.0, 0.0
        for u in range(p):
            value = abs(gram[p, u]) * inverse[u]
            before = value if value > before else before
        for u in range(p + 1, n):
            value = abs(gram[p, u]) * inverse[u]
            after = value if value > after else after
        rho[p] = max(before, after)
    return d, rho


@exact
def sum_afresh(weight, gram, mask, correlation):  # type: ignore[no-untyped-def]
    """Sum c = G (w * z) of (rows, n) masks, over pruned columns in ascending order."""
    rows, n = weight.shape
    part = np.empty((ROWS_TOGETHER, SUM_COLUMNS))
    for top in range(0, rows, ROWS_TOGETHER):
        height = min(ROWS_TOGETHER, rows - top)
        for left in range(0, n, SUM_COLUMNS):
            width = min(SUM_COLUMNS, n - left)
            part[:] = 0.0
            for p in range(n):
                line = gram[p, left : left + width]
                for r in range(height):
                    if not mask[top + r, p]:
                        factor = weight[top + r, p]
                        total = part[r]
                        for j in range(width):
                            total[j] += factor * line[j]
            for r in range(height):
                correlation[top + r, left : left + width] = part[r, :width]


@exact
def losses(weight, mask, correlation):  # type: ignore[no-untyped-def]
    """(rows,) losses (w * z) . c, with the drift of c since it was last summed."""
    rows, n = weight.shape
    result = np.zeros(rows)
    for r in range(rows):
        for j in range(n):
            if not mask[r, j]:
                result[r] += weight[r, j] * correlation[r, j]
    return result


@exact
def _least(line, weight, factor, b):  # type: ignore[no-untyped-def]
    """Min over u of b_u - 2 w_p w_u G_pu, with b infinite where u is pruned."""
    least = np.inf
    for u in range(len(b)):
        value = line[u] * weight[u] * factor + b[u]
        least = value if value < least else least
    return least


@exact
def _envelope(order, wanted, slope_of, height_of, heights, slopes):  # type: ignore[no-untyped-def]
    """Lines height - t slope that are least for some t >= 0; how many.

    order: columns by ascending slope, of which those wanted have a line. A line that rounding drops
    wrongly lies within rounding of those that are left.
    """
    count = 0
    for j in order:
        if not wanted[j]:
            continue
        height, slope = height_of[j], slope_of[j]
        if count and slope == slopes[count - 1]:
            if height >= heights[count - 1]:
                continue
            count -= 1
        # at t = 0 the least height is on the envelope; a steeper line above it comes later
        while count and height <= heights[count - 1]:
            count -= 1
        while count >= 2:
            h1, s1 = heights[count - 2], slopes[count - 2]
            h2, s2 = heights[count - 1], slopes[count - 1]
            # the middle line is never below both: its crossings come in the wrong order
            if (height - h2) * (s2 - s1) <= (h2 - h1) * (slope - s2):
                count -= 1
            else:
                break
        heights[count], slopes[count] = height, slope
        count += 1
    return count


@exact
def _bounds(base, at, heights, slopes, lines, bounds):  # type: ignore[no-untyped-def]
    """bounds_j = base_j + min over the envelope's lines at at_j."""
    n = len(base)
    bounds[:] = np.inf
    for line in range(lines):
        height, slope = heights[line], slopes[line]
        for j in range(n):
            value = height - at[j] * slope
            bounds[j] = value if value < bounds[j] else bounds[j]
    for j in range(n):
        bounds[j] += base[j]


@exact
def _search_all(blocks, w, a, b):  # type: ignore[no-untyped-def]
    """(least change of a row's pairs within groups, its p), all pairs looked at."""
    n, size = blocks.shape
    best, at = np.inf, -1
    for start in range(0, n, size):
        for p in range(start, start + size):
            if a[p] == np.inf:
                continue
            factor, least = -2.0 * w[p], np.inf
            for v in range(size):
                value = blocks[p, v] * w[start + v] * factor + b[start + v]
                least = value if value < least else least
            if a[p] + least < best:
                best, at = a[p] + least, p
    return best, at


@exact
def _search_bounded(blocks, w, a, b, r, t, by_r, by_t, slack, best, room, wanted, near):  # type: ignore[no-untyped-def]
    """(least change of a group's pairs, its p), or (best, -1) when none is below `best`.

    r: |w| d, t: 2 |w| rho; by_r, by_t: columns by ascending r, t. room: (5, size) float64, wanted:
    (size,) bool, near: (size,) int64, all for use here.
    """
    size, at = len(w), -1
    heights, slopes, bounds, near_b, near_r = room
    for u in range(size):
        wanted[u] = b[u] < np.inf
    lines = _envelope(by_r, wanted, r, b, heights, slopes)
    _bounds(a, t, heights, slopes, lines, bounds)
    first = int(np.argmin(bounds))
    if bounds[first] - slack > best:
        return best, -1
    change = a[first] + _least(blocks[first], w, -2.0 * w[first], b)
    if change < best:
        best, at = change, first
    left = 0
    for p in range(size):
        wanted[p] = p != first and bounds[p] - slack <= best
        left += wanted[p]
    count = size
    if left > FEW:
        lines = _envelope(by_t, wanted, t, a, heights, slopes)
        _bounds(b, r, heights, slopes, lines, bounds)
        count = 0
        for u in range(size):
            if bounds[u] - slack <= best:
                near[count], near_b[count], near_r[count] = u, b[u], r[u]
                count += 1
    for p in range(size):
        if not wanted[p]:
            continue
        line, factor, least = blocks[p], -2.0 * w[p], np.inf
        if left > FEW:
            spare, reach = best + slack - a[p], t[p]
            for i in range(count):
                if near_b[i] - reach * near_r[i] <= spare:
                    u = near[i]
                    value = line[u] * w[u] * factor + b[u]
                    least = value if value < least else least
        else:
            least = _least(line, w, factor, b)
        change = a[p] + least
        if change < best or (change == best and p < at):
            best, at = change, p
    return best, at


@exact
def descend(weight, gram, blocks, square, r, t, by_r, by_t, mask, c, limit, threshold):  # type: ignore[no-untyped-def]
    """At most `limit` best swaps of one row, in place; (swaps made, whether no pair improves).

    weight, square (w^2 G_jj), r (|w| d), t (2 |w| rho): (n,). blocks: (n, size), G between each
    column and the columns of its group. by_r, by_t: see `in_groups`. mask, c: (n,), changed.
    threshold: the change, at most 0, that a swap must lie below.
    """
    n, size = blocks.shape
    a, b = np.empty(n), np.empty(n)
    room, wanted, near = np.empty((5, size)), np.empty(size, np.bool_), np.empty(size, np.int64)
    swaps = 0
    while True:
        largest = 0.0
        for j in range(n):
            cross = 2.0 * weight[j] * c[j]
            a[j] = np.inf if mask[j] else square[j] - cross
            b[j] = square[j] + cross if mask[j] else np.inf
            value = square[j] + abs(cross)
            largest = value if value > largest else largest
        slack = ROUNDING * (n + 16) * largest
        best, at = np.inf, -1
        if size < SMALL_GROUP:
            best, at = _search_all(blocks, weight, a, b)
        for start in range(0, n if size >= SMALL_GROUP else 0, size):
            g = slice(start, start + size)
            best, found = _search_bounded(
                blocks[g], weight[g], a[g], b[g], r[g], t[g], by_r[g], by_t[g], slack, best,
                room, wanted, near,
            )  # fmt: skip
            at = at if found < 0 else start + found
        if best >= threshold:
            return swaps, True
        if swaps == limit:
            return swaps, False
        start = at // size * size
        line, factor = blocks[at], -2.0 * weight[at]
        least, u = np.inf, -1
        for v in range(size):
            value = line[v] * weight[start + v] * factor + b[start + v]
            if value < least:
                least, u = value, start + v
        entering, leaving = weight[u], weight[at]
        for j in range(n):
            c[j] = (c[j] + entering * gram[u, j]) - leaving * gram[at, j]
        mask[at], mask[u] = True, False
        swaps += 1


def group_blocks(gram: Matrix, size: int) -> Matrix:
    """(n, size): G between each column and the columns of its group."""
    n = len(gram)
    groups = n // size
    if groups == 1:
        return gram
    inside = gram.reshape(groups, size, groups, size).diagonal(axis1=0, axis2=2)
    return np.ascontiguousarray(inside.transpose(2, 0, 1).reshape(n, size))


def in_groups(values: Matrix, size: int) -> NDArray[np.int64]:
    """Columns of each group by ascending value, counted from the group's first; (rows, n)."""
    rows, n = values.shape
    order = np.argsort(values.reshape(rows, -1, size), axis=2, kind="stable")
    return order.reshape(rows, n)
