"""The refit loss of a part: the weights that stay are re-optimised.

    g(z) = min over x, x_j = 0 where z_j = 1, of (x - w)^T H (x - w),

with perspective functions (`objectives.perspective`) that bound it from below, one for each of some
diagonals. A witness is a change delta of the weights and the diagonal D that it goes with; D is 0
on columns that it does not count on.
"""

from math import inf

import numpy as np

from maskgap.instances.arrays import Kept, Vector
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers.objectives.perspective import Perspective
from maskgap.solvers.objectives.protocol import RecordedTree


class RefitLoss:
    """The loss of one part, and the functions added so far; see `objectives.protocol.Objective`."""

    least = 0.0
    margin = 0.0
    """Minorants are less their rounding as they are made."""
    states_masks = False

    def __init__(self, part: Part) -> None:
        self.part = part
        self.functions: list[Perspective] = []

    @property
    def n(self) -> int:
        """Number of columns."""
        return self.part.n

    def add(self, diagonal: Vector) -> None:
        """Use the perspective function of a diagonal (n,) from here on."""
        self.functions.append(Perspective(self.part.hessian, self.part.target, diagonal))

    def exact(self, kept: Kept) -> float:
        """The loss of a legal mask (n,)."""
        return self.part.scaled_loss(kept)

    def proof(self, tree: RecordedTree, bound: float, mask: Kept | None) -> PartProof | None:
        """The proof of a bound, in units of the scaled problem; None where some leaf has none."""
        part = self.part
        if not bound < inf or bool((tree.point < 0).any()):
            return None
        points = np.ascontiguousarray(tree.points[:, : part.n], dtype=np.float64)
        distinct, number = np.unique(tree.points[:, part.n :], axis=0, return_inverse=True)
        evidence = RefitLeaves(
            np.ascontiguousarray(distinct, dtype=np.float64),
            distinct == 0.0,
            tree.branch,
            number.reshape(-1)[tree.point].astype(np.int32),
            tree.point,
            points,
        )
        return PartProof(
            part.row, part.digest, part.rescale(bound), mask, evidence, height=part.height
        )
