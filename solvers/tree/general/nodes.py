"""The open nodes of a general search."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from maskgap.instances.masks.state import States
from maskgap.solvers.frank_wolfe.pool import ActiveSet

KEPT_SIDE, PRUNED_SIDE = 0, 1


@dataclass(eq=False, slots=True)
class Node:
    """An open node.

    state: (n,) forced columns. bound: inherited. active: vertices of its parent's x. row: in the
    record. function: number of the one that its parent was bounded by. column, side, share: the
    split that made it and x of the column then; column -1 at the root. depth: splits above it.
    """

    state: States
    bound: float
    active: ActiveSet
    row: int
    function: int
    column: int = -1
    side: int = KEPT_SIDE
    share: float = 0.0
    depth: int = 0


class Bounded(Protocol):
    """What open nodes are ordered by."""

    bound: float


Kind = TypeVar("Kind", bound=Bounded)


class OpenNodes(Generic[Kind]):
    """Open nodes by bound, or the last first."""

    def __init__(self, depth_first: bool) -> None:
        self._depth_first = depth_first
        self._heap: list[tuple[float, int, Kind]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Kind]:
        return (node for _, _, node in self._heap)

    def put(self, node: Kind) -> None:
        """Add a node."""
        self._count += 1
        key = float(-self._count) if self._depth_first else node.bound
        heapq.heappush(self._heap, (key, -self._count, node))

    def take(self) -> Kind:
        """The next node; of equal bounds, the newest."""
        return heapq.heappop(self._heap)[2]

    def least_bound(self) -> float:
        """The least bound of an open node; +inf when there is none."""
        if self._heap and not self._depth_first:
            return self._heap[0][0]
        return min((node.bound for _, _, node in self._heap), default=np.inf)
