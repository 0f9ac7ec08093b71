"""Cheap diagonals D > 0 with H - Diag(D) positive semidefinite.

    D = t S,  t = lambda_min(S^-1/2 H S^-1/2),      S = I, Diag(H) or 1 / Diag(H^-1)

The last is the best of the three, and nearly tight where columns are far from dependent: a column
alone can have 1 / (H^-1)_jj at most. All rows of a layer can share them. D is taken a little below,
so that H - Diag(D) has a factor in float64.
"""

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import Refused

BELOW = 1e-9


def _scaled(hessian: Matrix, shape: Vector) -> Vector:
    root = np.sqrt(shape)
    unit = hessian / np.outer(root, root)
    least = float(scipy.linalg.eigh(unit, eigvals_only=True, subset_by_index=[0, 0])[0])
    if not least > 0.0:
        raise Refused("its Hessian is not positive definite within float64; give a larger ridge")
    return np.asarray((1.0 - BELOW) * least * shape)


def eigenvalue_diagonal(hessian: Matrix) -> Vector:
    """(n,) lambda_min(H) in every column. hessian: (n, n). Raises Refused where it is not > 0."""
    return _scaled(hessian, np.ones(len(hessian)))


def scaled_diagonal(hessian: Matrix) -> Vector:
    """(n,) the largest multiple of Diag(H)."""
    return _scaled(hessian, hessian.diagonal().copy())


def inverse_diagonal(hessian: Matrix) -> Vector:
    """(n,) the largest multiple of 1 / Diag(H^-1)."""
    try:
        factor = scipy.linalg.cho_factor(hessian, lower=True)
    except np.linalg.LinAlgError:
        raise Refused("its Hessian is not positive definite; give a larger ridge") from None
    inverse = scipy.linalg.cho_solve(factor, np.eye(len(hessian)))
    return _scaled(hessian, 1.0 / inverse.diagonal())
