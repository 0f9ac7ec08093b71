"""A diagonal shift of a layer's Gram that its rows share.

Rows w of one layer may share a vector d with G - Diag(d) positive semidefinite, for the layer's
Gram G. A row's convex function (`instances.formats.evidence.leaves`) is then that of u = w^2 d,
alpha = 0, its only leaf the root, and all it stores of its own is a point; the semidefinite check
is one for all rows.

Tensors: `shift<s>` of the file, which parts share and whose number s the head has as `shift`; of
the part, `at`, its point.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector
from maskgap.instances.formats.proof import Evidence, Reading, Writing


@dataclass(frozen=True, eq=False, repr=False)
class SharedShift(Evidence):
    """shift: d (n,) float64 in units of the layer's Gram. point: (n,) float32, the row's own.

    A shift that rows share is written once.
    """

    kind: ClassVar[str] = "shift"
    fields: ClassVar[tuple[str, ...]] = ("shift",)

    shift: Vector
    point: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"SharedShift(of {len(self.shift)} columns)"

    def write(self, to: Writing) -> dict[str, Any]:
        """As `Evidence.write`."""
        number = to.shifts.setdefault(self.shift.tobytes(), len(to.shifts))
        to.tensors[f"shift{number}"] = self.shift
        to.put("at", self.point)
        return {"shift": number}

    @classmethod
    def read(cls, of: Reading) -> Self:
        """As `Evidence.read`."""
        # rows that share a shift share the array, by which what was checked of it is remembered
        shift = of.take(f"shift{of.head.shift}", np.float64, 1)
        return cls(shift, of.tensor("at", np.float32, 1))
