"""What an iterate of the semidefinite relaxation says: a convex function, a point, a bound.

As a convex function (see `convexify`): the weight of a term is 8 w_t, and u_i = 4 (y_i + the sum
of w_t over the inequalities at i), as c_t^T Y c_t has squares on its diagonal. The multipliers
alpha_g do not change F on the hull; they are chosen to make P semidefinite on the whole space, by
cancelling what couples the directions e_g to the rest and putting the mean diagonal there.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.triangles import Triangles
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.iterate import Iterate
from maskgap.solvers.bounds.rows_face import orthonormal_rows
from maskgap.solvers.objectives import convexify


@dataclass(frozen=True, eq=False)
class SdpSolution:
    """function: multipliers, P not yet repaired by a shift. point: z of the primal solution, (n,).

    bound: the dual value, in units of `quad`, before any rounding; with a tilt, it takes the rows
    that the tilt came from to reach it. converged: whether the gap was closed, rather than the
    deadline or the arithmetic ending it.
    """

    function: ConvexFunction
    point: Vector
    bound: float
    iterations: int
    converged: bool

    @staticmethod
    def trivial(legal: MaskSet) -> "SdpSolution":
        """All multipliers zero, for a row whose hull says everything."""
        share = np.full(legal.n, legal.total_pruned / legal.n)
        return SdpSolution(convexify.plain(legal), share, 0.0, 0, True)

    @staticmethod
    def of(
        quad: Matrix, legal: MaskSet, at: Iterate, iterations: int, converged: bool
    ) -> "SdpSolution":
        """What an iterate says, converged or not."""
        first, triangles = at.lifted[0], at.cuts.triangles(at.weight)
        touched = at.y + at.cuts.touching(at.weight, len(at.y))
        if not isinstance(at.face, Face):
            kept = at.face.kept  # a class of columns leaves its multipliers to the first of them
            first = at.face.spread @ first
            columns = (kept[triangles.columns + 1] - 1).astype(np.int32)  # index 0 is CONSTANT
            triangles = replace(triangles, columns=columns)
            everywhere = np.zeros(legal.n + 1)
            everywhere[kept] = touched
            touched = everywhere
        point = np.clip(0.5 * (1.0 + first[1:]), 0.0, 1.0)
        function = whole_space(quad, legal, 4.0 * touched[1:], triangles)
        return SdpSolution(function, point, at.value, iterations, converged)


def whole_space(quad: Matrix, legal: MaskSet, u: Vector, triangles: Triangles) -> ConvexFunction:
    """The function of u with the alpha that makes P as convex everywhere as on the budgets.

    With E the equality rows made orthonormal (of budgets: normalised) and M = Q - Diag(u), less the
    products in triangle terms, P keeps M on the space orthogonal to E, has the mean diagonal of M
    on E, and nothing in between.
    """
    groups = legal.equal_groups
    if groups is not None:
        normal = groups.indicator().T / np.sqrt(groups.size)
    else:
        normal, made_of = orthonormal_rows(equality_rows(legal)[0])
    shifted = quad - np.diag(u) - convexify.triangle_terms(legal.n, triangles)[0]
    image = shifted @ normal
    within = normal.T @ image
    mean = float(np.abs(shifted.diagonal()).mean())
    alpha = -2.0 * (image - normal @ within) - normal @ (within - mean * np.eye(len(within)))
    if groups is not None:
        return ConvexFunction(u, alpha.T / np.sqrt(groups.size), triangles)
    return ConvexFunction(u, made_of.T @ alpha.T, triangles)
