"""Which column of a node is split, from its relaxation.

With z and V the mean and the covariance of the masks as the relaxation has them, V = Z - z z^T, and
P the matrix of the node's function, a column has the score

    b_j = (z_j (1 - z_j) P_jj ||V_j||^2)^(1/2):

what rounding it costs, times how much the other columns move with it. Its expected rise on a side
is b_j times the change of z_j there, times the mean of what rises on that side of j were of it; the
mean of all columns counts as `IMAGINED` observations. The column with the largest product of both
expected rises is split.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector

IMAGINED = 2.0

LEAST_CHANGE = 1e-3
"""A change of z counts as at least this."""


@dataclass(frozen=True, slots=True)
class Split:
    """A side of a column: 0 kept, 1 pruned. expected: b times the change of z."""

    column: int
    side: int
    expected: float


@dataclass(frozen=True, eq=False, slots=True)
class Prospects:
    """Columns that a node may be split on: their numbers, z and b, (m,)."""

    columns: NDArray[np.intp]
    z: Vector
    score: Vector

    @staticmethod
    def of(columns: NDArray[np.intp], lifted: Matrix, curvature: Vector) -> "Prospects":
        """lifted: Y (m + 1, m + 1) of (1, 2 z - 1). curvature: (m,) the diagonal of P."""
        first = lifted[0, 1:]
        spread = 0.25 * (lifted[1:, 1:] - np.outer(first, first))
        z = np.clip(0.5 * (1.0 + first), LEAST_CHANGE, 1.0 - LEAST_CHANGE)
        moved = np.einsum("ij,ij->i", spread, spread)
        score = np.sqrt(z * (1.0 - z) * np.maximum(curvature, 0.0) * moved)
        return Prospects(columns, z, score + 1e-12 * (1.0 + score.max(initial=0.0)))

    def where(self, left: NDArray[np.bool_]) -> "Prospects":
        """Some of them."""
        return Prospects(self.columns[left], self.z[left], self.score[left])


class PseudoCosts:
    """What splits were seen to bring."""

    def __init__(self, n: int) -> None:
        self._sum, self._count = np.zeros((2, n)), np.zeros((2, n))

    def learn(self, split: Split, rise: float) -> None:
        """A split raised the bound."""
        if split.expected > 0.0:
            self._sum[split.side, split.column] += max(0.0, rise) / split.expected
            self._count[split.side, split.column] += 1.0

    def choose(self, among: Prospects) -> tuple[Split, Split]:
        """Both sides of the best column."""
        seen = float(self._count.sum())
        mean = float(self._sum.sum()) / seen if seen > 0.0 else 1.0
        own = (self._sum + IMAGINED * mean) / (self._count + IMAGINED)
        change = np.stack([among.z, 1.0 - among.z]) * among.score
        rises = own[:, among.columns] * change
        best = int(np.argmax(rises[0] * rises[1]))
        column = int(among.columns[best])
        return (
            Split(column, 0, float(change[0, best])),
            Split(column, 1, float(change[1, best])),
        )
