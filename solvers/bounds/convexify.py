"""Convex functions that equal the loss on every legal mask (quadratic convex reformulation, QCR).

For a diagonal u and one multiplier vector alpha_g per budget group (indicator e_g, budget k), every
legal binary z has z_i^2 = z_i and e_g^T z = k, hence z^T Q z = F(z) with

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g e_g^T + e_g alpha_g^T) / 2,
                              q = u - k sum_g alpha_g

(Billionnet, Elloumi, Plateau, Discrete Applied Mathematics 157, 2009). Column i lies in one group
g(i), so entry (i, j) of the sum is (alpha_{g(j)} i + alpha_{g(i)} j) / 2. Any u and alpha may be
used once P is positive semidefinite: lowering all of u by c adds c to every eigenvalue of P and
changes nothing on binaries, which is how unconverged multipliers become valid ones.

Triangle inequalities with weights t >= 0 (`instances.triangles`) are taken off F: it is then at
most the loss on legal binaries, with a constant term, and its minimum over the hull can be higher.

Where u and alpha come from is not decided here. All values are in units of `RowProblem.quad`.
"""

from dataclasses import replace

import numpy as np
import scipy.linalg

from instances.groups import BudgetGroups, Matrix, Vector
from instances.proof import ConvexFunction
from instances.triangles import Triangles

_EPS = float(np.finfo(np.float64).eps)


def plain(groups: BudgetGroups) -> ConvexFunction:
    """The function with all multipliers zero: F(z) = z^T Q z."""
    return ConvexFunction(np.zeros(groups.n), np.zeros((groups.count, groups.n)))


def quadratic(
    quad: Matrix, groups: BudgetGroups, function: ConvexFunction
) -> tuple[Matrix, Vector, float]:
    """P (n, n), q (n,), constant of a function; quad: (n, n). P need not be semidefinite."""
    spread = function.alpha[np.arange(groups.n) // groups.size]
    matrix = quad + 0.5 * (spread + spread.T)
    matrix[np.diag_indices(groups.n)] -= function.u
    linear = function.u - groups.pruned * function.alpha.sum(axis=0)
    if not len(function.triangles):
        return matrix, linear, 0.0
    pairs, single, constant = triangle_terms(groups.n, function.triangles)
    return matrix - pairs, linear - single, -constant


def triangle_terms(n: int, triangles: Triangles) -> tuple[Matrix, Vector, float]:
    """The weighted sum of triangle terms as (P, q, constant) of one quadratic.

    Row and column 0 of the lifted matrix below stand for the constant z_0 = 1, so that a product
    with it is linear.
    """
    lifted, linear = np.zeros((n + 1, n + 1)), np.zeros(n + 1)
    columns, apex, weight = triangles.columns + 1, triangles.apex, triangles.weight
    for a, b, other in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        sign = np.where((apex == -1) | (apex == other), weight, -weight)
        np.add.at(lifted, (columns[:, a], columns[:, b]), 0.5 * sign)
        np.add.at(lifted, (columns[:, b], columns[:, a]), 0.5 * sign)
    for a in range(3):
        own = np.where(apex == -1, -weight, np.where(apex == a, weight, 0.0))
        np.add.at(linear, columns[:, a], own)
    constant = float(weight[apex == -1].sum() + linear[0])
    return lifted[1:, 1:], linear[1:] + 2.0 * lifted[0, 1:], constant


def _magnitude(
    quad: Matrix, groups: BudgetGroups, function: ConvexFunction
) -> tuple[Matrix, Vector, float]:
    """Sums of the absolute terms of P, q and the constant: what their rounding is relative to."""
    n, triangles = groups.n, function.triangles
    spread = np.abs(function.alpha)[np.arange(n) // groups.size]
    matrix = np.abs(quad) + 0.5 * (spread + spread.T) + np.diag(np.abs(function.u))
    linear = np.abs(function.u) + groups.pruned * np.abs(function.alpha).sum(axis=0)
    if not len(triangles):
        return matrix, linear, 0.0
    columns, weight = triangles.columns + 1, triangles.weight
    lifted, single = np.zeros((n + 1, n + 1)), np.zeros(n + 1)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        np.add.at(lifted, (columns[:, a], columns[:, b]), 0.5 * weight)
        np.add.at(lifted, (columns[:, b], columns[:, a]), 0.5 * weight)
        np.add.at(single, columns[:, a], weight)
        np.add.at(single, columns[:, b], weight)
    return matrix + lifted[1:, 1:], linear + single[1:] + lifted[0, 1:], 2.0 * float(weight.sum())


def repair(quad: Matrix, groups: BudgetGroups, function: ConvexFunction) -> ConvexFunction:
    """The function with u lowered by the least constant that makes P verifiably semidefinite.

    The constant is -min(0, lambda_min(P) - margin). The margin covers the rounding of P, of the
    eigenvalue and of the checker's Cholesky factorisation, a few n eps trace(P); a multiple of it
    costs the bound about 1e-12 of its value, a P that fails the check would cost the whole proof.
    """
    matrix, _, _ = quadratic(quad, groups, function)
    trace = float(np.maximum(matrix.diagonal(), 0.0).sum())
    width = float(_magnitude(quad, groups, function)[0].sum(axis=1).max())
    margin = 2.0 * _EPS * ((8.0 + len(function.triangles)) * width + 2.0 * (groups.n + 8) * trace)
    least = float(scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])
    return replace(function, u=function.u + min(0.0, least - margin))


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
    matrix, linear, constant = _magnitude(quad, groups, used)
    size = 3.0 * float(matrix.sum()) + float(linear.sum()) + constant
    most = groups.n + groups.count + 16 + len(used.triangles)
    return 4.0 * _EPS * most * size
