"""What a search over any set of masks keeps: open nodes, the record of its tree, pseudo-costs.

The record is that of `tree.record`, grown node by node: rows are nodes; `point` is -1 where
one mask is left, and otherwise the row of `points` that bounds the node, at first its parent's.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector
from maskgap.instances.formats.proof import ConvexFunction, Leaves
from maskgap.instances.masks.state import States
from maskgap.solvers.frank_wolfe.vertices import ActiveSet
from maskgap.solvers.tree.branching import IMAGINED
from maskgap.solvers.tree.record import BYTES_A_ROW, leaves_of

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


class OpenNodes:
    """Open nodes by bound, or the last first."""

    def __init__(self, depth_first: bool) -> None:
        self._depth_first = depth_first
        self._heap: list[tuple[float, int, Node]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Node]:
        return (node for _, _, node in self._heap)

    def put(self, node: Node) -> None:
        """Add a node."""
        self._count += 1
        key = float(-self._count) if self._depth_first else node.bound
        heapq.heappush(self._heap, (key, -self._count, node))

    def take(self) -> Node:
        """The next node; of equal bounds, the newest."""
        return heapq.heappop(self._heap)[2]

    def least_bound(self) -> float:
        """The least bound of an open node; +inf when there is none."""
        if self._heap and not self._depth_first:
            return self._heap[0][0]
        return min((node.bound for _, _, node in self._heap), default=np.inf)


class TreeRecord:
    """The tree of a search. recording: False once it would take more than `most_bytes`."""

    def __init__(self, n: int, most_bytes: int) -> None:
        self._n, self._most_bytes = n, most_bytes
        self._column, self._kept, self._pruned, self._point, self._source = ([-1] for _ in range(5))
        self._points: list[NDArray[np.float32]] = []
        self.recording = True

    def bounded(self, row: int, x: Vector, function: int) -> None:
        """A node is bounded by function at x."""
        if self.recording:
            self._point[row], self._source[row] = len(self._points), function
            self._points.append(x.astype(np.float32))
            size = len(self._points) * self._n * 4 + len(self._point) * BYTES_A_ROW
            if size > self._most_bytes:
                self.recording = False
                self._points.clear()

    def settled(self, row: int) -> None:
        """One mask is left in a node."""
        self._point[row] = -1

    def split(self, row: int, column: int) -> tuple[int, int]:
        """Rows of the kept and the pruned child of a node, bounded as it is."""
        kept = len(self._column)
        self._column[row], self._kept[row], self._pruned[row] = column, kept, kept + 1
        for _ in range(2):
            self._column.append(-1)
            self._kept.append(-1)
            self._pruned.append(-1)
            self._point.append(self._point[row])
            self._source.append(self._source[row])
        return kept, kept + 1

    def leaves(self, functions: tuple[ConvexFunction, ...]) -> Leaves:
        """The tree as a proof has it; every node must have been bounded, or its parent."""
        columns = (self._column, self._kept, self._pruned, self._point)
        column, kept, pruned, point = (np.array(values, np.int32) for values in columns)
        source = np.array(self._source, np.int8)
        return leaves_of(functions, column, kept, pruned, point, source, np.array(self._points))


class PseudoCosts:
    """Rises in bound seen for a unit of each column, by side."""

    def __init__(self, n: int) -> None:
        self._sums, self._seen = np.zeros((2, n)), np.zeros((2, n))

    def learn(self, node: Node, rise: float) -> None:
        """Note what a split has brought one of its children."""
        distance = 1.0 - node.share if node.side == PRUNED_SIDE else node.share
        if node.column >= 0 and distance > 1e-3 and np.isfinite(rise):
            self._sums[node.side, node.column] += max(0.0, rise) / distance
            self._seen[node.side, node.column] += 1.0

    def worth(self, x: Vector, curvature: Vector) -> Vector:
        """(n,) product of both children's expected rises, the curvature standing in for data."""
        rise = (self._sums + IMAGINED * curvature) / (self._seen + IMAGINED)
        return np.asarray(rise[KEPT_SIDE] * x * rise[PRUNED_SIDE] * (1.0 - x))
