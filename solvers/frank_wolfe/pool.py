"""Vertices that a search has met, and convex combinations of them: x = sum of w_a v_a.

All vertices ever met are stored, so that a node of a search begins with those of its ancestors that
it has not cut off.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.state import KEPT, PRUNED, States

NEGLIGIBLE = 1e-12
"""A weight below this leaves the active set."""

MOST_STORED = 2048
"""Most vertices stored; the oldest go first."""


class Pool:
    """Vertices met so far, each once and numbered as they came; the oldest are given up."""

    def __init__(self, n: int) -> None:
        self._rows = np.zeros((64, n))
        self._count = 0
        self._gone = 0  # number of the first that is still there
        self._number: dict[bytes, int] = {}

    def add(self, vertex: Vector) -> tuple[int, bool]:
        """Store a vertex: its number, and whether it is new."""
        key = vertex.tobytes()
        known = self._number.get(key)
        if known is not None:
            return known, False
        if self._count == MOST_STORED:
            self._forget(MOST_STORED // 4)
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = vertex
        self._number[key] = self._gone + self._count
        self._count += 1
        return self._gone + self._count - 1, True

    def _forget(self, many: int) -> None:
        for row in self._rows[:many]:
            del self._number[row.tobytes()]
        self._rows[: self._count - many] = self._rows[many : self._count]
        self._count, self._gone = self._count - many, self._gone + many

    def fitting(self, state: States) -> tuple[Matrix, NDArray[np.int64]]:
        """Those that respect the forced columns of a node, and their numbers, increasing."""
        held = self._rows[: self._count]
        missed = (held[:, state == PRUNED] < 1.0).any(axis=1)
        missed |= (held[:, state == KEPT] > 0.0).any(axis=1)
        chosen = np.flatnonzero(~missed)
        return held[chosen], chosen + self._gone

    def within(self, lower: Vector, upper: Vector) -> tuple[Matrix, NDArray[np.int64]]:
        """Those with lower <= v <= upper, (n,), and their numbers, increasing."""
        held = self._rows[: self._count]
        chosen = np.flatnonzero((held >= lower).all(axis=1) & (held <= upper).all(axis=1))
        return held[chosen], chosen + self._gone


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Vertices by their numbers in a pool (a,) int64, and positive weights (a,) that sum to 1."""

    numbers: NDArray[np.int64]
    weights: Vector

    @staticmethod
    def empty() -> "ActiveSet":
        """No vertices."""
        return ActiveSet(np.zeros(0, dtype=np.int64), np.zeros(0))

    def on(self, numbers: NDArray[np.int64]) -> Vector:
        """Weights of the vertices so numbered (increasing), scaled to sum 1; at first one of 1."""
        weight = np.zeros(len(numbers))
        if len(numbers):
            place = np.minimum(np.searchsorted(numbers, self.numbers), len(numbers) - 1)
            there = numbers[place] == self.numbers
            weight[place[there]] = self.weights[there]
            if weight.sum() < NEGLIGIBLE:
                weight[:] = 0.0
                weight[-1] = 1.0
            weight /= weight.sum()
        return weight
