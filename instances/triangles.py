"""Triangle inequalities of the cut polytope, as multipliers of a convex function.

For three columns a, b, c of a binary z, and z_0 = 1 standing for a constant,

    apex -1:    z_a z_b + z_a z_c + z_b z_c - z_a - z_b - z_c + 1  >= 0
    apex at c:  z_c + z_a z_b - z_a z_c - z_b z_c                  >= 0     (a and b likewise)

each 0 or 1 on binaries (in s = 2 z - 1: a quarter of 1 plus or minus s_a s_b, s_a s_c, s_b s_c,
with an even number of minus signs). With the constant among the three they are the McCormick
inequalities of one pair. Taking weight >= 0 times such a term off a function that equals the loss
on binaries leaves one that is at most the loss there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSTANT = -1
"""In place of a column: the constant z_0 = 1."""


@dataclass(frozen=True, eq=False, repr=False)
class Triangles:
    """Inequalities and their multipliers.

    columns: (t, 3) int32, increasing along a row, the first may be CONSTANT. apex: (t,) int16, the
    position 0, 1 or 2 within the row that has its own term, or -1 for the first form. weight: (t,)
    float64, not negative.
    """

    columns: NDArray[np.int32]
    apex: NDArray[np.int16]
    weight: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Triangles({len(self)})"

    def __len__(self) -> int:
        return len(self.weight)


def no_triangles() -> Triangles:
    """None at all."""
    return Triangles(np.zeros((0, 3), np.int32), np.zeros(0, np.int16), np.zeros(0))
