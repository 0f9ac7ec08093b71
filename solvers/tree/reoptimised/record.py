"""The record of a search whose functions hold in subtrees, and the proof's tree made of it.

Rows are nodes, row 0 the root, children after their parents. A leaf is bounded by a point and a
function, which holds from a row on; or it has one mask left; or the whole tree that another engine
made of it is grafted there.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.masks.state import PRUNED
from maskgap.solvers.objectives.protocol import RecordedTree
from maskgap.solvers.objectives.reduced_row import ReducedRow

ONE_MASK = -1
"""The function of a leaf with one mask left."""

UNBOUNDED = -2
"""Of a leaf that nothing bounds yet: no relaxation on its way from the root was above 0."""

MOST_FUNCTIONS = 32_000
"""Functions of a tree: a proof numbers them in 16 bits, and a few may be under way."""

BYTES_A_ROW = 160
"""Of a row in lists."""


@dataclass(frozen=True, eq=False, slots=True)
class Graft:
    """A tree on the free columns of a node. functions: numbers of those that its leaves name."""

    row: ReducedRow
    tree: RecordedTree
    functions: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Memory of it in the proof."""
        return len(self.tree.points) * 4 * len(self.row.state) + self.tree.branch.nbytes * 3


@dataclass(eq=False, slots=True)
class _Made:
    """A tree in preorder while it grows."""

    branch: list[NDArray[np.int32]] = field(default_factory=list)
    function: list[NDArray[np.int32]] = field(default_factory=list)
    point: list[NDArray[np.int32]] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    held: int = 0

    def leaf(self, function: int, point: int) -> None:
        self.branch.append(np.array([-1], np.int32))
        self.function.append(np.array([function], np.int32))
        self.point.append(np.array([point], np.int32))

    def graft(self, graft: Graft) -> None:
        tree, row = graft.tree, graft.row
        free = row.free.astype(np.int32)
        self.branch.append(np.where(tree.branch >= 0, free[tree.branch], np.int32(-1)))
        numbers = np.array([*graft.functions, ONE_MASK], np.int32)  # the last is that of -1
        self.function.append(numbers[tree.function])
        self.point.append(np.where(tree.point >= 0, tree.point + self.held, -1).astype(np.int32))
        fixed = (row.state == PRUNED).astype(np.float32)  # where an ancestor's function has them
        points = np.repeat(fixed[None, :], len(tree.points), axis=0)
        points[:, row.free] = tree.points
        self.add(points)

    def add(self, points: NDArray[np.float32]) -> None:
        self.points.append(points)
        self.held += len(points)


class SubtreeRecord:
    """The tree of a search. recording: False once it would take more than `most_bytes`."""

    def __init__(self, n: int, most_bytes: int) -> None:
        self.n, self._most_bytes, self._bytes = n, most_bytes, 0
        self.recording = True
        self._column, self._kept, self._pruned = [-1], [-1], [-1]
        self._function, self._point = [UNBOUNDED], [-1]
        self._points: list[NDArray[np.float32]] = []
        self._functions: list[ConvexFunction] = []  # holds: a row
        self._grafts: dict[int, Graft] = {}

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._bytes > self._most_bytes and self.recording:
            self.give_up()

    def give_up(self) -> None:
        """Keep nothing from here on: there will be no proof."""
        self.recording = False
        self._points.clear()
        self._functions.clear()
        self._grafts.clear()

    @property
    def full(self) -> bool:
        """Whether it has as many functions as a tree may have."""
        return len(self._functions) >= MOST_FUNCTIONS

    def function(self, row: int, function: ConvexFunction) -> int:
        """The number of a function that holds from a row on."""
        if self.recording:
            self._functions.append(replace(function, holds=row))
            self._count(24 * len(function.triangles) + 16 * self.n)
            return len(self._functions) - 1
        return ONE_MASK

    def bounded(self, row: int, point: NDArray[np.float32], function: int) -> None:
        """A node is bounded by a function at a point (n,)."""
        if self.recording:
            self._function[row], self._point[row] = function, len(self._points)
            self._points.append(point)
            self._count(point.nbytes)

    def settled(self, row: int) -> None:
        """At most one mask is left in a node."""
        self._function[row], self._point[row] = ONE_MASK, -1

    def grafted(self, row: int, graft: Graft) -> None:
        """A node is searched by another engine, perhaps once more."""
        if self.recording:
            old = self._grafts.get(row)
            self._grafts[row] = graft
            self._count(graft.nbytes - (0 if old is None else old.nbytes))

    def split(self, row: int, column: int) -> tuple[int, int]:
        """Rows of the kept and the pruned child of a node, bounded as it is."""
        kept = len(self._column)
        self._column[row], self._kept[row], self._pruned[row] = column, kept, kept + 1
        for _ in range(2):
            for values in (self._column, self._kept, self._pruned):
                values.append(-1)
            self._function.append(self._function[row])
            self._point.append(self._point[row])
        self._count(2 * BYTES_A_ROW)
        return kept, kept + 1

    def leaves(self) -> Leaves | None:
        """The proof's tree, None where it was given up or nothing bounds some leaf."""
        if not self.recording:
            return None
        self._merge()
        made, place, where = _Made(), {}, 0
        stack = [0]
        points: dict[int, int] = {}
        while stack:
            row = stack.pop()
            place[row] = where
            graft = self._grafts.get(row)
            if graft is not None:
                made.graft(graft)
                where += len(graft.tree.branch)
                continue
            where += 1
            if self._column[row] >= 0:
                made.branch.append(np.array([self._column[row]], np.int32))
                stack += [self._pruned[row], self._kept[row]]
                continue
            if self._function[row] == UNBOUNDED:
                return None
            at = self._point[row]
            if at >= 0 and at not in points:
                points[at] = made.held
                made.add(self._points[at][None, :])
            made.leaf(self._function[row], points.get(at, -1))
        return self._compact(made, place)

    def _compact(self, made: _Made, place: dict[int, int]) -> Leaves:
        """With the functions that leaves use and no others."""
        function = np.concatenate(made.function)
        used, number = np.unique(function[function >= 0], return_inverse=True)
        function[function >= 0] = number
        chosen = [self._functions[i] for i in used.tolist()]
        none = np.zeros((0, self.n), np.float32)
        return Leaves(
            tuple(replace(one, holds=place[one.holds]) for one in chosen),
            np.concatenate(made.branch),
            function.astype(np.int16),
            np.concatenate(made.point),
            np.concatenate([none, *made.points]),
        )

    def _merge(self) -> None:
        """Splits into two leaves of one point and function become leaves, as those of open nodes.

        The least of both bounds is that of the two together.
        """
        for row in range(len(self._column) - 1, -1, -1):
            one, other = self._kept[row], self._pruned[row]
            if self._column[row] < 0 or self._column[one] >= 0 or self._column[other] >= 0:
                continue
            if one in self._grafts or other in self._grafts or self._point[one] < 0:
                continue
            bounded = self._point[one], self._function[one]
            if bounded == (self._point[other], self._function[other]):
                self._column[row], self._point[row], self._function[row] = -1, *bounded
