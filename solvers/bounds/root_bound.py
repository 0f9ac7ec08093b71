"""The bound of one convex function at the root, with its proof.

A function repaired until its P is semidefinite (`objectives.convexify`) is linearised at a point
near its minimiser over the hull of the masks (`frank_wolfe.hull`): what that says is stated, less a
margin of rounding.
"""

from dataclasses import dataclass

from maskgap.instances.arrays import Matrix
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import root_leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.other_budgets import points_for_other_budgets
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.frank_wolfe.hull import HullPoint
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline


@dataclass(frozen=True, eq=False)
class RootBound:
    """A repaired function, a point, and the bound to state, in units of the part's `quad`."""

    function: ConvexFunction
    point: HullPoint
    stated: float

    @staticmethod
    def at(
        problem: Part, repaired: ConvexFunction, convex: Quadratic, point: HullPoint
    ) -> "RootBound":
        """The bound of a repaired function at a point; convex: what `convexify.quadratic` makes."""
        margin = convexify.rounding_margin(problem.quad, problem.legal, repaired)
        stated = hull.stated_bound(convex, problem.legal, point.x, margin)
        return RootBound(repaired, point, stated)

    def proof(self, problem: Part, beside: Matrix | None = None) -> PartProof:
        """Its proof; beside: points for other budgets of the row."""
        return PartProof(
            row=problem.row,
            problem=problem.digest,
            bound=problem.rescale(self.stated),
            mask=None,
            evidence=root_leaves(self.function, self.point.x, beside),
            height=problem.height,
        )

    def beside(self, problem: Part, deadline: Deadline) -> Matrix | None:
        """Points for other budgets of a row of one budget; None for all else."""
        groups = problem.legal.equal_groups
        if groups is None or groups.count != 1 or groups.single:
            return None
        return points_for_other_budgets(problem.quad, groups, self.function, self.point.x, deadline)
