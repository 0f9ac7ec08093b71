"""A Gram in the units in which every column has energy 1.

With S^2 = diag(G), R = S^-1 G S^-1 has a unit diagonal, and weights w * diag(S) have the losses
under R that w has under G. A column of no energy has S = 0 and a zero row and column in R.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from maskgap.instances.arrays import Matrix, Vector

Array = TypeVar("Array", Matrix, torch.Tensor)


@dataclass(frozen=True, eq=False)
class UnitDiagonal:
    """root: S (n,) float64, at least 0. inverse: (n,) 1 / S, and 0 where S is."""

    root: Vector
    inverse: Vector

    @staticmethod
    def of(gram: Matrix) -> "UnitDiagonal":
        """The units of a Gram (n, n); an entry of its diagonal below 0 counts as no energy."""
        root = np.sqrt(np.maximum(gram.diagonal(), 0.0))
        return UnitDiagonal(root, 1.0 / np.where(root > 0.0, root, np.inf))


def scaled(gram: Array, inverse: Array) -> Array:
    """R (n, n), where the arrays are and of their dtype; inverse: that of the units, (n,)."""
    return gram * inverse[:, None] * inverse
