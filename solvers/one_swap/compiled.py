"""The best 1-swap compiled for processors: pairs are bounded before they are looked at.

With r_u = |w_u| d_u, d_u the input norm of a column, and for each column p of the layer

    rho_p = max over u != p of |G_pu| / d_u,

the change of a swap obeys  delta(p, u) >= a_p + b_u - 2 |w_p| rho_p r_u,  and for all u at once

    delta(p, .) >= a_p + e(2 |w_p| rho_p),     e(t) = min over kept u of b_u - t r_u,

where e is the lower envelope of |kept| lines. (rho_p = d_p would be Cauchy-Schwarz, the filter of
the paper's authors; a column's largest correlation with any other is far below 1, and all rows
share rho.) Only columns p whose bound does not lie above the best change seen are looked at, u by
u. A step costs O(n) for c, b and the envelope, a few lines times the pruned columns for the bounds,
and the group size for each column looked at; the worst case is pruned columns * group size. Nothing
is allocated beyond a few vectors of length n a row.

The bounds are lowered by more than their rounding can amount to, so nothing that could win, or tie,
is skipped: the choice is bit for bit that of `solvers.one_swap.rule`.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from instances.groups import Matrix, Vector

SMALL_GROUP = 32
"""Groups of fewer columns are looked at whole."""

ROUNDING = 8 * np.finfo(np.float64).eps
"""Rounding of a bound, times the number of columns and the largest |a|, |b| of the row."""

SUM_COLUMNS = 256
"""Columns of c summed together: with `ROWS_TOGETHER` rows they stay in the first cache."""

ROWS_TOGETHER = 16
"""Rows that share one pass over G when c is summed."""

# without NaN and without a sign of zero to keep, a minimum can be taken in vector registers;
# no flag that lets products and sums be fused or sums be put in another order
exact = numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})


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
def _envelope(order, mask, size_of, b, heights, slopes):  # type: ignore[no-untyped-def]
    """Lines b_u - t r_u that are least for some t >= 0, given columns by ascending r; how many.

    A line that rounding drops wrongly lies within rounding of those that are left.
    """
    count = 0
    for u in order:
        if not mask[u]:
            continue
        height, slope = b[u], size_of[u]
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
def _bounds(start, size, a, reach, heights, slopes, lines, bounds):  # type: ignore[no-untyped-def]
    """bounds_p = a_p + min over the envelope's lines, for the columns of a group."""
    for p in range(start, start + size):
        bounds[p] = np.inf
    for line in range(lines):
        height, slope = heights[line], slopes[line]
        for p in range(start, start + size):
            value = height - reach[p] * slope
            bounds[p] = value if value < bounds[p] else bounds[p]
    for p in range(start, start + size):
        bounds[p] += a[p]


@exact
def descend(weight, gram, blocks, square, sizes, reach, order, mask, c, limit, threshold):  # type: ignore[no-untyped-def]
    """At most `limit` best swaps of one row, in place; (swaps made, whether no pair improves).

    weight, square (w^2 G_jj), sizes (r), reach (2 |w| rho): (n,). blocks: (n, size), G between each
    column and the columns of its group. order: columns by ascending r within each group. mask, c:
    (n,), changed. threshold: the change, at most 0, that a
    swap must lie below.
    """
    n, size = blocks.shape
    a, b, bounds = np.empty(n), np.empty(n), np.empty(n)
    heights, slopes = np.empty(size), np.empty(size)
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
        for start in range(0, n, size):
            end = start + size
            w, kept = weight[start:end], b[start:end]
            bounded = size >= SMALL_GROUP
            first = -1
            if bounded:
                lines = _envelope(order[start:end], mask, sizes, b, heights, slopes)
                _bounds(start, size, a, reach, heights, slopes, lines, bounds)
                first = start + int(np.argmin(bounds[start:end]))
                change = a[first] + _least(blocks[first], w, -2.0 * weight[first], kept)
                if change < best:
                    best, at = change, first
            for p in range(start, end):
                if mask[p] or p == first or (bounded and bounds[p] - slack > best):
                    continue
                change = a[p] + _least(blocks[p], w, -2.0 * weight[p], kept)
                if change < best or (change == best and p < at):
                    best, at = change, p
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


def by_size(sizes: Vector, size: int) -> NDArray[np.int64]:
    """Columns by ascending size within each group, (n,)."""
    grouped = np.argsort(sizes.reshape(-1, size), axis=1, kind="stable")
    return (grouped + size * np.arange(len(grouped))[:, None]).ravel()
