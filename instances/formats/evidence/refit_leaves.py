"""A tree whose leaves are bounded from below where kept weights are re-optimised.

The loss of a mask is g(z) = min over x, x_j = 0 where z_j = 1, of (x - w)^T H (x - w), for H and w
as `Part.hessian` and `Part.target` have them. Let P be columns that all masks of a leaf prune, N
the others, D > 0 a diagonal such that R = H - Diag(D) is positive semidefinite on N, and delta any
vector that is w on P; then x^T R x >= 2 x^T R y - y^T R y for y = w - delta, which is 0 on P, and
the rest of the loss falls apart into columns: with h = H delta, every mask z of the leaf has

    g(z) >= delta^T h - sum_N h_j^2 / D_j + sum_N z_j (h_j + D_j y_j)^2 / D_j.

A leaf names one diagonal and one point, the part of delta that is not on P; leaves may share both.
P are the columns that its diagonal drops: nothing is asked of it there, so leaves that name it must
have them pruned in all their masks. Other columns may be forced on the way to a leaf; the function
is the same there, and its least value over the leaf's masks is higher. The bound proved is the
least over the leaves. The tree is stored as that of `instances.formats.evidence.leaves`, but every
leaf has a diagonal. Points are float64: where a search makes D small, as on columns that it keeps,
h is as good as 0, and h^2 / D is to stay so.

Tensors of a part: `diagonals`, `dropped`, `branch`, `function`, `point`, `points`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Matrix
from maskgap.instances.formats.proof import Evidence, Reading, Writing

_TENSORS: tuple[tuple[str, Any, int], ...] = (
    ("diagonals", np.float64, 2),
    ("dropped", np.bool_, 2),
    ("branch", np.int32, 1),
    ("function", np.int32, 1),
    ("point", np.int32, 1),
    ("points", np.float64, 2),
)
"""Name, dtype and axes of its fields."""


@dataclass(frozen=True, eq=False, repr=False)
class RefitLeaves(Evidence):
    """A tree in preorder and its leaves in the same order.

    diagonals: (count, n) float64, each a D in units of `Part.hessian`. dropped: (count, n) bool,
    the columns on which it does not count. branch: (nodes,) int32. function: (leaves,) int32, the
    row of `diagonals`. point: (leaves,) int32, the row of `points` (any number, n) float64, each a
    delta in units of `Part.target`.
    """

    kind: ClassVar[str] = "refit"

    diagonals: Matrix
    dropped: Flags
    branch: NDArray[np.int32]
    function: NDArray[np.int32]
    point: NDArray[np.int32]
    points: Matrix

    def __repr__(self) -> str:
        counts = f"{len(self.diagonals)} diagonals and {len(self.points)} points"
        return f"RefitLeaves({len(self.function)} with {counts})"

    @property
    def leaf_count(self) -> int:
        """As `Evidence.leaf_count`."""
        return len(self.function)

    def write(self, to: Writing) -> dict[str, Any]:
        """As `Evidence.write`."""
        for name, _, _ in _TENSORS:
            to.put(name, np.asarray(getattr(self, name)))
        return {}

    @classmethod
    def read(cls, of: Reading) -> Self:
        """As `Evidence.read`."""
        return cls(*(of.tensor(*tensor) for tensor in _TENSORS))
