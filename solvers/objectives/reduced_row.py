"""What a node leaves of a row: the same problem on its free columns.

With F the free and P the pruned columns of a node, k' columns still to prune, every mask of it has

    z^T Q z = z_F^T Q_FF z_F + 2 (Q_FP e)^T z_F + e^T Q_PP e = z_F^T (Q_FF + Diag(d)) z_F,
    d = 2 Q_FP e + (e^T Q_PP e / k') e,

as z_j^2 = z_j and e^T z_F = k'. So the loss is a quadratic in z_F without a remainder, over masks
with one budget of k', and all that is known of rows holds of nodes, but that the matrix need not be
semidefinite. With u' and alpha' the multipliers of a function of it,

    u_F = u'_F - d,   alpha_F = alpha'

are those of the same function of the subtree as a proof states it
(`instances.formats.evidence.leaves`), which keeps 2 Q_FP e and the remainder apart: P is the same,
q and the constant differ by a multiple of e^T z_F - k'.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, kept_of
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, PRUNED, States
from maskgap.instances.triangles import CONSTANT, Triangles
from maskgap.solvers.objectives import convexify

MARGIN = 2.0
"""Times the margin of a function of a row: a checker sums 2 Q_FP e and the remainder apart."""


@dataclass(frozen=True, eq=False)
class ReducedRow:
    """A node with a mask to choose, for one budget a row; for several, with no column fixed.

    state: (n,). free: (m,) F, ascending. quad: (m, m) Q_FF + Diag(d). added: (m,) d. groups: its
    masks.
    """

    state: States
    free: NDArray[np.intp]
    quad: Matrix
    added: Vector
    groups: BudgetGroups

    @staticmethod
    def of(quad: Matrix, state: States, groups: BudgetGroups) -> "ReducedRow":
        """quad: Q (n, n). groups: of the whole row; columns are left to prune and to keep."""
        free, gone = np.flatnonzero(state == FREE), np.flatnonzero(state == PRUNED)
        if len(free) == len(state):
            return ReducedRow(state.copy(), free, quad.copy(), np.zeros(len(state)), groups)
        left = groups.pruned - len(gone)
        remainder = float(quad[np.ix_(gone, gone)].sum())
        added = 2.0 * quad[np.ix_(free, gone)].sum(axis=1) + remainder / left
        own = quad[np.ix_(free, free)]
        own[np.diag_indices(len(free))] += added
        return ReducedRow(state.copy(), free, own, added, BudgetGroups(len(free), len(free), left))

    def stated(self, function: ConvexFunction) -> ConvexFunction:
        """A function of it by the columns of the row; where it holds is not said yet."""
        n, free = len(self.state), self.free
        u, alpha = np.zeros(n), np.zeros((len(function.alpha), n))
        u[free], alpha[:, free] = function.u - self.added, function.alpha
        old = function.triangles
        places = free[np.maximum(old.columns, 0)].astype(np.int32)
        columns = np.where(old.columns == CONSTANT, np.int32(CONSTANT), places)
        return ConvexFunction(u, alpha, Triangles(columns, old.apex, old.weight))

    def point(self, x: Vector) -> NDArray[np.float32]:
        """(n,) a point of it by the columns of the row, as a proof has it."""
        whole: NDArray[np.float32] = (self.state == PRUNED).astype(np.float32)
        whole[self.free] = x.astype(np.float32)
        return whole

    def mask(self, z: Vector) -> Kept:
        """(n,) the mask of the row that a mask of it makes; z: (m,), 1 on pruned columns."""
        pruned = self.state == PRUNED
        pruned[self.free] = z > 0.5
        return kept_of(Pruned(pruned))

    def margin(self, function: ConvexFunction) -> float:
        """What to take off bounds by a function of it before they are stated."""
        terms = np.abs(self.quad)
        terms[np.diag_indices(len(terms))] += 2.0 * np.abs(self.added)
        return MARGIN * convexify.rounding_margin(terms, self.groups, function)
