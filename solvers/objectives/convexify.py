"""Convex functions that equal the loss on every legal mask (quadratic convex reformulation, QCR).

For a diagonal u and one multiplier vector alpha_g per equality row a_g . z = k_g of the set
(`instances.formats.proof.equality_rows`), every legal binary z has z_i^2 = z_i and a_g^T z = k_g,
hence z^T Q z = F(z) with

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2,
                              q = u - sum_g k_g alpha_g

(Billionnet, Elloumi, Plateau, Discrete Applied Mathematics 157, 2009). Of equal budget groups, a_g
is an indicator, all k_g are one k, and column i lies in one group g(i): entry (i, j) of the sum is
(alpha_{g(j)} i + alpha_{g(i)} j) / 2. Any u and alpha may be
used once P is positive semidefinite: lowering all of u by c adds c to every eigenvalue of P and
changes nothing on binaries, which is how unconverged multipliers become valid ones.

Triangle inequalities with weights t >= 0 (`instances.triangles`) are taken off F: it is
then at most the loss on legal binaries, with a constant term, and its minimum over the hull can be
higher.

Where u and alpha come from is not decided here. All values are in units of `Part.quad`.
"""

from dataclasses import replace

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.triangles import Triangles
from maskgap.solvers.objectives.shift import least_eigenvalue

_EPS = float(np.finfo(np.float64).eps)


def plain(legal: MaskSet) -> ConvexFunction:
    """The function with all multipliers zero: F(z) = z^T Q z."""
    return of_diagonal(legal, np.zeros(legal.n))


def of_diagonal(legal: MaskSet, u: Vector) -> ConvexFunction:
    """The function of u (n,) with all other multipliers zero."""
    return ConvexFunction(u, np.zeros((equality_count(legal), legal.n)))


def equality_count(legal: MaskSet) -> int:
    """Number of equality rows."""
    groups = legal.equal_groups
    if groups is not None:
        return groups.count
    return len(equality_rows(legal)[1])


def _of_rows(legal: MaskSet, alpha: Matrix, absolute: bool = False) -> tuple[Matrix, Vector]:
    """Sum of a_g alpha_g^T (n, n) and sum of k_g alpha_g (n,); absolute: of |a_g| and |k_g|."""
    groups = legal.equal_groups
    if groups is not None:
        return alpha[np.arange(groups.n) // groups.size], groups.pruned * alpha.sum(axis=0)
    rows, budget = equality_rows(legal)
    if absolute:
        rows, budget = np.abs(rows), np.abs(budget)
    return rows.T @ alpha, budget @ alpha


def quadratic(
    quad: Matrix, legal: MaskSet, function: ConvexFunction
) -> tuple[Matrix, Vector, float]:
    """P (n, n), q (n,), constant of a function; quad: (n, n). P need not be semidefinite."""
    spread, paid = _of_rows(legal, function.alpha)
    matrix = quad + 0.5 * (spread + spread.T)
    matrix[np.diag_indices(legal.n)] -= function.u
    linear = function.u - paid
    if not len(function.triangles):
        return matrix, linear, 0.0
    pairs, single, constant = triangle_terms(legal.n, function.triangles)
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
    quad: Matrix, legal: MaskSet, function: ConvexFunction
) -> tuple[Matrix, Vector, float]:
    """Sums of the absolute terms of P, q and the constant: what their rounding is relative to."""
    n, triangles = legal.n, function.triangles
    spread, paid = _of_rows(legal, np.abs(function.alpha), absolute=True)
    matrix = np.abs(quad) + 0.5 * (spread + spread.T) + np.diag(np.abs(function.u))
    linear = np.abs(function.u) + paid
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


def repair(quad: Matrix, legal: MaskSet, function: ConvexFunction) -> ConvexFunction:
    """The function with u lowered by the least constant that makes P verifiably semidefinite.

    The constant is -min(0, lambda_min(P) - margin). The margin covers the rounding of P, of the
    eigenvalue and of the checker's Cholesky factorisation, a few n eps trace(P); a multiple of it
    costs the bound about 1e-12 of its value, a P that fails the check would cost the whole proof.
    """
    matrix, _, _ = quadratic(quad, legal, function)
    trace = float(np.maximum(matrix.diagonal(), 0.0).sum())
    width = float(_magnitude(quad, legal, function)[0].sum(axis=1).max())
    meeting = 8.0 + _overlap(legal) + len(function.triangles)
    margin = 2.0 * _EPS * (meeting * width + 2.0 * (legal.n + 8) * trace)
    least = least_eigenvalue(matrix)
    return replace(function, u=function.u + min(0.0, least - margin))


def _overlap(legal: MaskSet) -> int:
    """Most equality rows that one column is in, less one."""
    if legal.equal_groups is not None:
        return 0
    return max(0, int((equality_rows(legal)[0] != 0.0).sum(axis=0).max()) - 1)


def rounding_margin(quad: Matrix, legal: MaskSet, function: ConvexFunction | None = None) -> float:
    """What to take off a float64 bound before it is stated, so that a careful reader agrees.

    It holds for the linearisation of the function at any point of [0, 1]^n and for the loss of any
    mask; None: for losses alone. Both are sums of products whose absolute terms sum to at most
    M = 3 sum |P|-terms + sum |q|-terms; either side's rounding is at most about 2 n eps M, the
    stating and the checking side together 4 n eps M (Higham, Accuracy and Stability, ch. 3).
    """
    used = plain(legal) if function is None else function
    matrix, linear, constant = _magnitude(quad, legal, used)
    size = 3.0 * float(matrix.sum()) + float(linear.sum()) + constant
    most = legal.n + len(used.alpha) + 16 + _overlap(legal) + len(used.triangles)
    return 4.0 * _EPS * most * size
