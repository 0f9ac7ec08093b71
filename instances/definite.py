"""How far from positive semidefinite a symmetric matrix can be, shown by a factor multiplied out.

For any real upper triangular U whatsoever, A = U U^T + (A - U U^T), and U U^T is semidefinite, so

    lambda_min(A)  >=  - || A - U U^T ||_2.

U comes from LAPACK's Cholesky factorisation, of A with its rows and columns in reverse order, but
nothing is assumed of how it was come by: `dpotrf` reports success for a factor that overflowed to
infinity or has NaN for a pivot. The product is made in float64; with r = 2^-53 and gamma_n as in
`benchmarks.verify.quadratic`, each entry of it is off by at most gamma_n (|U| |U|^T)_ij, in
whatever order its n terms are added, and the difference from A is rounded once. With D the computed
difference,

    || A - U U^T ||_2  <=  (1 + 2 r) ||D||_F + gamma_n || |U| |U|^T ||_2,
    || |U| |U|^T ||_2  <=  ||U||_F^2.

Norms are sums of positive terms, of relative error below 1e-7 for every n that fits into memory;
1 % is added for that. `SMALL` covers what underflows, in a matrix whose entries are about 1.

An upper bound on the least eigenvalue is any Rayleigh quotient x^T A x / x^T x, less its rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, ldexp, nextafter

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

UNIT = 2.0**-53

SMALL = 2.0**-400
"""Above the root of all that can underflow in a square or a product of entries."""

BLOCK = 256
"""Rows looked at at once, so that no more of a large matrix is copied."""

HALVINGS = 12
"""How often the distance to a lower bound of an eigenvalue is quartered."""


def gamma(operations: int) -> float:
    """Higham's gamma_m = m r / (1 - m r), 1 % larger: the relative rounding of m operations."""
    product = operations * UNIT
    return 1.01 * product / (1.0 - product)


def cholesky(matrix: Matrix) -> Matrix | None:
    """Upper triangular U (n, n), in Fortran's order, with U U^T about the matrix; None without one.

    matrix: (n, n) float64, exactly symmetric; it is not changed. A factor is finite and has a
    positive diagonal: LAPACK calls one that has overflowed, or has NaN for a pivot, a success.
    """
    # in reverse order of rows and columns, so that LAPACK can make the factor's product in place
    factor, info = scipy.linalg.lapack.dpotrf(matrix[::-1, ::-1], lower=1, clean=1)
    if info != 0 or not bool((factor.diagonal() > 0.0).all()):
        return None
    columns = factor.T  # in the order of memory
    if not all(bool(np.isfinite(columns[rows]).all()) for rows in _blocks(len(matrix))):
        return None
    _reverse(columns.reshape(-1))
    return np.asarray(factor)


def defect(matrix: Matrix) -> float:
    """An e with lambda_min(matrix) >= -e in exact arithmetic; infinite where no factor shows one.

    matrix: (n, n) float64, exactly symmetric, with entries of about 1 at most. It is not changed.
    Cost: n^3 / 3 multiplications for the factor, as many for its product; two copies of the matrix.
    """
    if not len(matrix):
        return 0.0
    upper = cholesky(matrix)
    if upper is None:
        return inf
    energy = float(np.einsum("ij,ij->", upper, upper))
    product, info = scipy.linalg.lapack.dlauum(upper, lower=0, overwrite_c=1)
    if info != 0:
        return inf
    square = 0.0
    for rows in _blocks(len(matrix)):
        rest = np.triu(matrix[rows, rows.start :] - product[rows, rows.start :])
        square += 2.0 * float(np.einsum("ij,ij->", rest, rest))
    found = 1.01 * (square**0.5 + gamma(len(matrix)) * energy) + len(matrix) * SMALL
    return found if isfinite(found) else inf


def _blocks(order: int) -> Iterator[slice]:
    return (slice(top, min(top + BLOCK, order)) for top in range(0, order, BLOCK))


def _reverse(values: NDArray[np.float64]) -> None:
    """Reverse a vector in place."""
    size, step = len(values), BLOCK * BLOCK
    for start in range(0, size // 2, step):
        stop = min(start + step, size // 2)
        head, tail = values[start:stop], values[size - stop : size - start]
        kept = head.copy()
        head[:] = tail[::-1]
        tail[:] = kept[::-1]


@dataclass(frozen=True, slots=True)
class LeastEigenvalue:
    """An interval [low, high] that the least eigenvalue of a stored matrix lies in."""

    low: float
    high: float

    @property
    def semidefinite(self) -> bool | None:
        """Whether the matrix is positive semidefinite as stored; None where it is not decided."""
        return True if self.low >= 0.0 else False if self.high < 0.0 else None


def least_eigenvalue(matrix: Matrix) -> LeastEigenvalue:
    """An interval that the least eigenvalue of a symmetric matrix (n, n) lies in, rigorously.

    Cost: one eigenvector and at most `HALVINGS` factorisations, O(n^3).
    """
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0.0:
        return LeastEigenvalue(0.0, 0.0)
    exponent = int(np.frexp(largest)[1])
    unit, n = np.ldexp(matrix, -exponent), len(matrix)
    values, vectors = scipy.linalg.eigh(unit, subset_by_index=[0, 0])
    high = _quotient(unit, vectors[:, 0])
    step = max(n * UNIT, 4.0 * gamma(n) * float(np.abs(unit.diagonal()).sum()))
    low = -float(n)  # no eigenvalue of entries of at most 1 lies below
    for _ in range(HALVINGS):
        shift = float(values[0]) - step
        moved = unit.copy()
        moved[np.diag_indices(n)] -= shift
        # the diagonal was rounded once
        rounded = UNIT * float(np.abs(moved.diagonal()).max())
        found = nextafter(shift - 1.01 * (defect(moved) + rounded), -inf)
        if found > low:
            low = found
            break
        step *= 4.0
    high = min(high, float(unit.diagonal().min()))  # e_j^T A e_j
    return LeastEigenvalue(ldexp(low, exponent), ldexp(high, exponent))


def _quotient(matrix: Matrix, x: NDArray[np.float64]) -> float:
    """An upper bound on x^T A x / x^T x in exact arithmetic."""
    n, wide = len(x), np.abs(x)
    size = float(wide @ (np.abs(matrix) @ wide))
    value = float(x @ (matrix @ x)) + gamma(2 * n + 4) * size + SMALL
    norm = float(x @ x)
    if not isfinite(value) or not norm > 0.5:
        return inf
    return value / norm + gamma(n + 8) * abs(value / norm) + SMALL
