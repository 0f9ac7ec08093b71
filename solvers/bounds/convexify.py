"""Convex functions that equal the loss on every legal mask (quadratic convex reformulation, QCR).

For a diagonal u and one multiplier vector alpha_g per budget group (indicator e_g, budget k), every
legal binary z has z_i^2 = z_i and e_g^T z = k, hence z^T Q z = F(z) with

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g e_g^T + e_g alpha_g^T) / 2,
                              q = u - k sum_g alpha_g

(Billionnet, Elloumi, Plateau, Discrete Applied Mathematics 157, 2009). Column i lies in one group
g(i), so entry (i, j) of the sum is (alpha_{g(j)} i + alpha_{g(i)} j) / 2. Any u and alpha may be
used once P is positive semidefinite: lowering all of u by c adds c to every eigenvalue of P and
changes nothing on binaries, which is how unconverged multipliers become valid ones.

Where u and alpha come from is not decided here. All values are in units of `RowProblem.quad`.
"""

import numpy as np
import scipy.linalg

from instances.groups import BudgetGroups, Matrix, Vector
from instances.proof import ConvexFunction

_EPS = float(np.finfo(np.float64).eps)


def plain(groups: BudgetGroups) -> ConvexFunction:
    """The function with all multipliers zero: F(z) = z^T Q z."""
    return ConvexFunction(np.zeros(groups.n), np.zeros((groups.count, groups.n)))


def quadratic(
    quad: Matrix, groups: BudgetGroups, function: ConvexFunction
) -> tuple[Matrix, Vector]:
    """P (n, n) and q (n,) of a function; quad: (n, n) float64. P need not be semidefinite."""
    spread = function.alpha[np.arange(groups.n) // groups.size]
    matrix = quad + 0.5 * (spread + spread.T)
    matrix[np.diag_indices(groups.n)] -= function.u
    return matrix, function.u - groups.pruned * function.alpha.sum(axis=0)


def _magnitude(quad: Matrix, groups: BudgetGroups, function: ConvexFunction) -> Matrix:
    """(n, n) sums of the absolute terms of each entry of P: what its rounding is relative to."""
    spread = np.abs(function.alpha)[np.arange(groups.n) // groups.size]
    return np.asarray(np.abs(quad) + 0.5 * (spread + spread.T) + np.diag(np.abs(function.u)))


def repair(quad: Matrix, groups: BudgetGroups, function: ConvexFunction) -> ConvexFunction:
    """The function with u lowered by the least constant that makes P verifiably semidefinite.

    The constant is -min(0, lambda_min(P) - margin). The margin covers the rounding of P, of the
    eigenvalue and of the checker's Cholesky factorisation, a few n eps trace(P); a multiple of it
    costs the bound about 1e-12 of its value, a P that fails the check would cost the whole proof.
    """
    matrix, _ = quadratic(quad, groups, function)
    trace = float(np.maximum(matrix.diagonal(), 0.0).sum())
    width = float(_magnitude(quad, groups, function).sum(axis=1).max())
    margin = 2.0 * _EPS * (8.0 * width + 2.0 * (groups.n + 8) * trace)
    least = float(scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])
    return ConvexFunction(function.u + min(0.0, least - margin), function.alpha)


def rounding_margin(
    quad: Matrix, groups: BudgetGroups, function: ConvexFunction | None = None
) -> float:
    """What to take off a float64 bound before it is stated, so that a careful reader agrees.

    It holds for the linearisation of the function at any point of [0, 1]^n and for the loss of any
    mask; None: for losses alone. Both are sums of products whose absolute terms sum to at most
    M = 3 sum |P|-terms + sum |q|-terms; either side's rounding is at most about 2 n eps M, the
    stating and the checking side together 4 n eps M (Higham, Accuracy and Stability, ch. 3).
    """
    used = plain(groups) if function is None else function
    linear = np.abs(used.u) + groups.pruned * np.abs(used.alpha).sum(axis=0)
    size = 3.0 * float(_magnitude(quad, groups, used).sum()) + float(linear.sum())
    return 4.0 * _EPS * (groups.n + groups.count + 16) * size
