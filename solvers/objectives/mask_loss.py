"""The mask loss of a part: the weights that stay are not changed.

    L(z) = z^T Q z,   Q = diag(w) G diag(w),

with the convex quadratics of `objectives.convexify` as functions that bound it.
"""

from collections.abc import Sequence

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic, RecordedTree


class MaskLoss:
    """The loss of one part, and the functions added so far; see `objectives.protocol.Objective`."""

    least = 0.0
    states_masks = True

    def __init__(self, part: Part) -> None:
        self.part = part
        self.functions: list[Quadratic] = []
        self.margin = 0.0
        self._stated: list[ConvexFunction] = []

    @property
    def n(self) -> int:
        """Number of columns."""
        return self.part.n

    @property
    def quad(self) -> Matrix:
        """(n, n) float64: Q in the units of the scaled problem."""
        return self.part.quad

    def add(self, functions: Sequence[ConvexFunction]) -> None:
        """Use more functions, repaired (`convexify.repair`), from here on."""
        quad, legal = self.part.quad, self.part.legal
        for function in functions:
            self._stated.append(function)
            self.functions.append(Quadratic(*convexify.quadratic(quad, legal, function)))
            self.margin = max(self.margin, convexify.rounding_margin(quad, legal, function))

    def exact(self, kept: Kept) -> float:
        """The loss of a legal mask (n,)."""
        return self.part.scaled_loss(kept)

    def proof(self, tree: RecordedTree, bound: float, mask: Kept | None) -> PartProof:
        """The proof of a bound, which is given in units of `quad`."""
        part = self.part
        return PartProof(
            part.row,
            part.digest,
            part.rescale(bound),
            mask,
            Leaves(tuple(self._stated), *tree),
            height=part.height,
        )
