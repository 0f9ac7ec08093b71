"""The mask loss of a node (`objectives.reduced_row`), for the engine that searches it."""

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, pruned_of
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.reduced_row import ReducedRow


class ReducedLoss:
    """The mask loss of a node, for the engine that searches it: see `objectives.protocol`.

    Its bounds are stated, and its margin is taken off them, by the search that the node is of.
    """

    least = 0.0
    margin = 0.0
    states_masks = True

    def __init__(self, row: ReducedRow, functions: list[Quadratic]) -> None:
        self.row, self.functions = row, functions

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.row.free)

    @property
    def quad(self) -> Matrix:
        """(m, m) float64."""
        return self.row.quad

    def exact(self, kept: Kept) -> float:
        """The loss of a legal mask (m,)."""
        z = pruned_of(kept)
        return float(self.row.quad[np.ix_(z, z)].sum())

    def proof(self, tree: object, bound: float, mask: Kept | None) -> None:
        """None: a node has no proof of its own."""
