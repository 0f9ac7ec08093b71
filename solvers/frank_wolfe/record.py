"""The record of a search: its tree as a table, the points that bound its leaves, and the proof.

Rows are nodes: `column` (split, or -1), `kept` and `pruned` (rows of the children), `point` (of a
leaf: the index of its x, -1 where at most one mask is left), `source` (its function). A node that
is open is a leaf with its parent's point. Rows and points are handed to workers in blocks, so that
several may write at once and a node can change hands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from instances.proof import ConvexFunction, Leaves
from solvers.frank_wolfe.node import strict

ROW, ROW_END, POINT, POINT_END = 0, 1, 2, 3
"""Entries of `Block`: the next of each and where a worker's block ends."""

FIRST_ROWS, FIRST_POINTS = 1 << 10, 1 << 8

Block = NDArray[np.int64]


class Table(NamedTuple):
    """What all workers write to. points: (room, n) float32, or one row when nothing is kept."""

    column: NDArray[np.int32]
    kept: NDArray[np.int32]
    pruned: NDArray[np.int32]
    point: NDArray[np.int32]
    source: NDArray[np.int8]
    points: NDArray[np.float32]


class Record:
    """Table, and where its next free rows and points are.

    most_bytes: a record that would take more is given up (`recording` is False from then on).
    """

    def __init__(self, n: int, most_bytes: int) -> None:
        self.n, self.most_bytes = n, most_bytes
        self.recording = True
        column, kept, pruned, point = np.full((4, FIRST_ROWS), -1, np.int32)
        source, points = np.zeros(FIRST_ROWS, np.int8), np.zeros((FIRST_POINTS, n), np.float32)
        self.table = Table(column, kept, pruned, point, source, points)
        self._rows, self._points = 1, 0  # row 0 is the root

    def refill(self, block: Block, rows: int, points: int) -> None:
        """Give a worker a new block of what has fewer than `rows` or `points` left."""
        if not self.recording:
            return
        if block[ROW_END] - block[ROW] < rows:
            block[ROW], block[ROW_END] = self._rows, self._rows + rows
            self._rows += rows
        if block[POINT_END] - block[POINT] < points:
            block[POINT], block[POINT_END] = self._points, self._points + points
            self._points += points
        self._grow()

    def _grow(self) -> None:
        table = self.table
        rows, points = len(table.column), len(table.points)
        if self._points * self.n * 4 + self._rows * 17 > self.most_bytes:
            self.recording = False
            self.table = table._replace(points=np.zeros((1, self.n), np.float32))
            return
        if self._rows > rows:
            size = max(2 * rows, self._rows)
            grown = {
                name: np.concatenate([old, np.full(size - rows, -1, old.dtype)])
                for name, old in table._asdict().items()
                if name != "points"
            }
            self.table = self.table._replace(**grown)
        if self._points > points:
            more = np.zeros((max(2 * points, self._points) - points, self.n), np.float32)
            self.table = self.table._replace(points=np.concatenate([table.points, more]))

    def leaves(self, functions: tuple[ConvexFunction, ...]) -> Leaves:
        """The tree in preorder with the points and functions that its leaves refer to."""
        table = self.table
        branch, point, source = preorder(
            table.column, table.kept, table.pruned, table.point, table.source, self._rows
        )
        needed, compact = np.unique(point, return_inverse=True)
        offset = int(np.searchsorted(needed, 0))
        return Leaves(
            functions=functions,
            branch=branch,
            function=np.where(point >= 0, source, -1).astype(np.int16),
            point=np.where(point >= 0, compact - offset, -1).astype(np.int32),
            points=table.points[needed[needed >= 0]],
        )


@strict
def preorder(column, kept, pruned, point, source, rows):  # type: ignore[no-untyped-def]
    """The tree from its root as (branch, point and function of each leaf), kept side first."""
    branch = np.empty(rows, np.int32)
    leaf, function = np.empty(rows, np.int32), np.empty(rows, np.int8)
    stack = np.empty(rows + 1, np.int32)
    stack[0] = 0
    top, nodes, leaves = 1, 0, 0
    while top > 0:
        top -= 1
        node = stack[top]
        branch[nodes] = column[node]
        nodes += 1
        if column[node] < 0:
            leaf[leaves], function[leaves] = point[node], source[node]
            leaves += 1
        else:
            stack[top] = pruned[node]
            stack[top + 1] = kept[node]
            top += 2
    return branch[:nodes].copy(), leaf[:leaves].copy(), function[:leaves].copy()
