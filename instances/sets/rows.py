"""A set of masks as rows of a linear system over its columns z (1 = pruned).

    Z = { z in {0,1}^n : lower <= A z <= upper,  z_j = 1 where s_j = PRUNED, 0 where s_j = KEPT }

for an integer matrix A.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREE, PRUNED, KEPT = 0, 1, 2
"""States of a column: either, forced to be pruned, forced to be kept."""

States = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class LinearRows:
    """A (rows, n) int64, lower and upper (rows,) int64, state (n,) int8 of forced columns."""

    matrix: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    state: States

    def equalities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The rows with lower = upper as (E (m, n), k (m,)) float64: E z = k on every mask."""
        chosen = self.lower == self.upper
        return self.matrix[chosen].astype(np.float64), self.lower[chosen].astype(np.float64)
