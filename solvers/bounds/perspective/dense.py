"""Small dense symmetric matrices in compiled code: factors, inverses, substitutions.

Matrices are (m, m) float64 in C order, of which only the lower triangle is read. All loops run
along rows, so that they are taken in vector registers; up to some hundred columns that is as fast
as a library's routines without the calls. A factor is refused where a pivot is not above a share of
the diagonal entry that it came from, or is no number: what is nearly singular is treated as such.

    cholesky   A = L L^T                 m^3 / 3 multiplications and additions
    inverse    A^-1 by L^-1              2 m^3 / 3 more
    forward    L^-1 B, B (m, k)          m^2 k
"""

import numpy as np

from maskgap.solvers.kernels.jit import fast, unchecked

PIVOT = 1e-14
"""Share of its diagonal entry above which a pivot must lie."""


@fast
def _less_product(row, other, stop):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(stop):
        total += row[k] * other[k]
    return total


@fast
def _add_multiple(target, factor, row, start, stop):  # type: ignore[no-untyped-def]
    for k in range(start, stop):
        target[k] += factor * row[k]


@unchecked
def cholesky(matrix, lower):  # type: ignore[no-untyped-def]
    """Write L into the lower triangle of `lower` (m, m); False where there is no factor."""
    m = len(matrix)
    for i in range(m):
        for j in range(i):
            rest = matrix[i, j] - _less_product(lower[i], lower[j], j)
            lower[i, j] = rest / lower[j, j]
        pivot = matrix[i, i] - _less_product(lower[i], lower[i], i)
        if not (pivot > PIVOT * matrix[i, i] and pivot < np.inf):
            return False
        lower[i, i] = np.sqrt(pivot)
    return True


@unchecked
def inverse(lower, own, out):  # type: ignore[no-untyped-def]
    """Write (L L^T)^-1, both triangles, into `out`; `own` (m, m) is overwritten with L^-1."""
    m = len(lower)
    for i in range(m):
        own[i, : i + 1] = 0.0
        for k in range(i):
            _add_multiple(own[i], -lower[i, k], own[k], 0, k + 1)
        pivot = 1.0 / lower[i, i]
        for k in range(i):
            own[i, k] *= pivot
        own[i, i] = pivot
        out[i, : i + 1] = 0.0
    for k in range(m):
        for i in range(k + 1):
            _add_multiple(out[i], own[k, i], own[k], 0, i + 1)
    for i in range(m):
        for j in range(i):
            out[j, i] = out[i, j]


@unchecked
def forward(lower, right):  # type: ignore[no-untyped-def]
    """Overwrite `right` (m, k) with L^-1 times it."""
    m, width = right.shape
    for i in range(m):
        for k in range(i):
            _add_multiple(right[i], -lower[i, k], right[k], 0, width)
        pivot = 1.0 / lower[i, i]
        for k in range(width):
            right[i, k] *= pivot


@unchecked
def add_squares(target, rows):  # type: ignore[no-untyped-def]
    """Add B^T B to the lower triangle of `target` (k, k). rows: B (m, k) or wider."""
    size = len(target)
    for k in range(len(rows)):
        for i in range(size):
            _add_multiple(target[i], rows[k, i], rows[k], 0, i + 1)


@unchecked
def solve(lower, right):  # type: ignore[no-untyped-def]
    """Overwrite a vector (m,) with (L L^T)^-1 times it."""
    m = len(lower)
    for i in range(m):
        right[i] = (right[i] - _less_product(lower[i], right, i)) / lower[i, i]
    for i in range(m - 1, -1, -1):
        right[i] /= lower[i, i]
        _add_multiple(right, -right[i], lower[i], 0, i)
