"""Diagonal shifts: d with Q - Diag(d) positive semidefinite, and the factor of what is left.

On binary z, z_i^2 = z_i, so

    z^T Q z = z^T P z + d^T z,   P = Q - Diag(d) = F^T F,   z^T P z = || F z ||^2,

and the larger d, the tighter the relaxation of the right-hand side to 0 <= z <= 1.

    none   d = 0
    eig    d = lambda_min(Q) e
    diag   d = lambda_min(S^-1 Q S^-1) diag(Q),  S = diag(Q)^(1/2), over the indices with Q_ii > 0;
           those with Q_ii = 0 cost nothing to prune, and d_i = 0 there

A Gram may be indefinite by rounding; every d is then lowered by a constant until P is not.

The least eigenvalue of a wide matrix M is closed in on between t, with M + t I factorised, and what
inverse iteration with that factor says: some four factorisations of n^3 / 3 operations, where
bringing M to tridiagonal form takes 4 n^3 / 3 of a slower kind.
"""

from typing import Literal, get_args

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError

Shift = Literal["none", "eig", "diag"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)

_EPS = float(np.finfo(np.float64).eps)


DENSE = 320
"""Order up to which all of a matrix is brought to tridiagonal form for one eigenvalue."""

NEAR = 5e-3
"""A wide matrix's least eigenvalue may come out too low by this share of itself."""

FIRST_LIFT = 1e-8
"""The first t in units of the mean diagonal, or of the largest entry over 2 n where that is more.

LIFT: what a t that does not do is multiplied by.
"""

LIFT = 100.0
INVERSE_STEPS = 8


def least_eigenvalue(matrix: Matrix) -> float:
    """lambda_min of a symmetric (n, n) float64 matrix; of a wide one a lower estimate.

    Raises ValueError for numbers that are not finite.
    """
    if len(matrix) > DENSE:
        unit, exponent = _unit(matrix)
        return 0.0 if unit is None else float(np.ldexp(_of_wide(unit), exponent))
    return float(scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])


def _unit(matrix: Matrix) -> tuple[Matrix | None, int]:
    """M / 2^e with largest entry in [1/2, 1), and e; None and 0 where all of M is 0.

    A lift of numbers near the ends of float64 vanishes or overflows, and no lift mends NaN.
    """
    size = float(np.abs(matrix).max(initial=0.0))
    if not np.isfinite(size):
        raise ValueError("a matrix holds numbers that are not finite")
    if size == 0.0:
        return None, 0
    exponent = int(np.frexp(size)[1])
    return np.ldexp(matrix, -exponent), exponent


def _of_wide(matrix: Matrix) -> float:
    """As `least_eigenvalue`, never above lambda_min but for rounding; largest entry about 1."""
    unit = FIRST_LIFT * max(float(np.abs(matrix.diagonal()).mean()), 0.5 / len(matrix))
    lift, factor = unit, lifted_factor(matrix, unit)
    while factor is None:
        lift *= LIFT
        factor = lifted_factor(matrix, lift)
    vector = 1.0 + np.linspace(0.0, 0.5, len(matrix))
    while True:
        for _ in range(INVERSE_STEPS):
            vector = scipy.linalg.cho_solve((factor, True), vector, check_finite=False)
            vector /= np.linalg.norm(vector)
        above = float(vector @ (matrix @ vector))
        room = lift + above  # lambda_min is between -lift and above
        if room <= max(NEAR * abs(above), 2.0 * unit):
            return -lift
        share = 0.05
        following = None
        while following is None and share < 0.9:
            following = lifted_factor(matrix, share * room - above)
            lift, share = (
                (lift, 2.0 * share) if following is None else (share * room - above, share)
            )
        if following is None:
            return -lift
        factor = following


def lifted_factor(matrix: Matrix, lift: float) -> Matrix | None:
    """L with L L^T = M + lift I for a symmetric M (n, n), or None where that is not definite."""
    lifted = matrix.copy()
    lifted[np.diag_indices(len(matrix))] += lift
    # LAPACK reads columns: the lower triangle of a symmetric matrix is the same either way
    lower, info = scipy.linalg.lapack.dpotrf(lifted.T, lower=1, overwrite_a=1, clean=0)
    return lower if info == 0 else None


def largest_eigenvalue(matrix: Matrix) -> float:
    """lambda_max of a symmetric (n, n) float64 matrix; of a wide one, to a few percent."""
    n = len(matrix)
    if n <= DENSE:
        return float(
            scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[n - 1, n - 1])[0]
        )
    unit, exponent = _unit(matrix)
    if unit is None:  # no vector to start from is mapped to anything
        return 0.0
    start = 1.0 + np.linspace(0.0, 0.5, n)
    found = scipy.sparse.linalg.eigsh(
        unit, 1, which="LA", v0=start, tol=1e-2, return_eigenvectors=False
    )
    return 1.02 * float(np.ldexp(found[0], exponent))


def largest_shift(quad: Matrix, kind: str) -> Vector:
    """Vector d (n,) >= 0 of a kind for Q (n, n), float64, up to the rounding of an eigenvalue.

    Raises InputError for an unknown kind.
    """
    d = np.zeros(len(quad))
    if kind == "eig":
        d += max(0.0, least_eigenvalue(quad))
    elif kind == "diag":
        diagonal = quad.diagonal()
        live = diagonal > 0
        if live.any():
            root = np.sqrt(diagonal[live])
            scaled = quad[np.ix_(live, live)] / np.outer(root, root)
            d[live] = max(0.0, least_eigenvalue(scaled)) * diagonal[live]
    elif kind != "none":
        raise InputError(f"shift '{kind}' is not one of {', '.join(SHIFTS)}")
    return d


def diagonal_shift(quad: Matrix, kind: str) -> Vector:
    """The same, lowered by a constant until P is semidefinite as far as LAPACK can tell."""
    d = largest_shift(quad, kind)
    return np.asarray(d + min(0.0, least_eigenvalue(quad - np.diag(d))))


def factor(matrix: Matrix) -> Matrix:
    """F (rank, n) float64 with F^T F = P for a semidefinite P (n, n), up to rounding from below.

    Eigenvalues below n eps lambda_max are rounding and left out, so F^T F never exceeds P by more.
    """
    values, vectors = scipy.linalg.eigh(matrix)
    kept = values > len(matrix) * _EPS * max(float(values[-1]), 0.0)
    return np.ascontiguousarray((vectors[:, kept] * np.sqrt(values[kept])).T)
