"""Diagonal shifts: d with Q - Diag(d) positive semidefinite, and the factor of what is left.

On binary z, z_i^2 = z_i, so

    z^T Q z = z^T P z + d^T z,   P = Q - Diag(d) = F^T F,   z^T P z = || F z ||^2,

and the larger d, the tighter the relaxation of the right-hand side to 0 <= z <= 1.

    none   d = 0
    eig    d = lambda_min(Q) e
    diag   d = lambda_min(S^-1 Q S^-1) diag(Q),  S = diag(Q)^(1/2), over the indices with Q_ii > 0;
           those with Q_ii = 0 cost nothing to prune, and d_i = 0 there

A Gram may be indefinite by rounding; every d is then lowered by a constant until P is not.
"""

from typing import Literal, get_args

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError

Shift = Literal["none", "eig", "diag"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)

_EPS = float(np.finfo(np.float64).eps)


def least_eigenvalue(matrix: Matrix) -> float:
    """lambda_min of a symmetric (n, n) float64 matrix."""
    return float(scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])


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
