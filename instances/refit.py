"""Weights re-optimised for a mask of a row w with kept columns S and pruned columns P.

    x_P = 0,   x_S = w_S + H_SS^-1 H_SP w_P        minimises (x - w)^T H (x - w) over x_P = 0.

In delta = w - x that is delta_P = w_P, delta_S = -H_SS^-1 H_SP w_P, and the loss is
delta^T H delta, which an error of the solve raises by its square alone: every x with x_P = 0 gives
an upper bound.
One Cholesky factorisation a row.
"""

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of


def refit(hessian: Matrix, target: Matrix, kept: Kept) -> Matrix:
    """The weights x (rows, n) float64, 0 where pruned.

    hessian: (n, n) float64, positive definite. target: (rows, n) float64, w in the same units as x.
    kept: (rows, n).
    """
    return np.where(kept, target - changes(hessian, target, kept), 0.0)


def changes(hessian: Matrix, target: Matrix, kept: Kept) -> Matrix:
    """What masks change, delta = w - x (rows, n) float64, of the same arrays; w where pruned."""
    found = np.where(kept, 0.0, target)
    for row, mask in enumerate(kept):
        chosen = np.flatnonzero(mask)
        rest = np.flatnonzero(pruned_of(mask) & (target[row] != 0.0))
        if len(chosen) and len(rest):
            pull = hessian[np.ix_(chosen, rest)] @ target[row, rest]
            found[row, chosen] = -_solved(hessian[np.ix_(chosen, chosen)], pull)
    return found


def losses(matrix: Matrix, deltas: Matrix) -> Vector:
    """(rows,) delta^T A delta, at least 0. matrix: (n, n). deltas: (rows, n)."""
    found: Vector = np.maximum(0.0, np.einsum("ij,ij->i", deltas @ matrix, deltas))
    return found


def _solved(matrix: Matrix, right: Vector) -> Vector:
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
        found: Vector = scipy.linalg.cho_solve(factor, right, check_finite=False)
    except scipy.linalg.LinAlgError:  # definite by so little that float64 does not see it
        found = scipy.linalg.lstsq(matrix, right, check_finite=False)[0]
    return found
