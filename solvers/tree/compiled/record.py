"""The record of a compiled search: its tree as a table (`tree.recorded`), written by several.

Rows and points are handed to workers in blocks, so that several may write at once and a node can
change hands.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.objectives.protocol import RecordedTree
from maskgap.solvers.tree.recorded import BYTES_A_ROW, Table, recorded

ROW, ROW_END, POINT, POINT_END = 0, 1, 2, 3
"""Entries of `Block`: the next of each and where a worker's block ends."""

FIRST_ROWS, FIRST_POINTS = 1 << 10, 1 << 8

Block = NDArray[np.int64]


class Record:
    """The table that all workers write to, and where its next free rows and points are.

    Its points are one row, unused, when nothing is kept.
    most_bytes: a record that would take more is given up (`recording` is False from then on).
    """

    def __init__(self, n: int, most_bytes: int) -> None:
        self.n, self.most_bytes = n, most_bytes
        self.recording = True
        column, kept, pruned, point = np.full((4, FIRST_ROWS), -1, np.int32)
        source, points = np.zeros(FIRST_ROWS, np.int8), np.zeros((FIRST_POINTS, n), np.float32)
        self.table = Table(column, kept, pruned, point, source, points)
        self._rows, self._points = 1, 0  # row 0 is the root

    def refill(self, block: Block, nodes: int) -> None:
        """Give a worker a new block of what could not serve some of its next `nodes` nodes.

        A node takes one point and at most 2 n + 4 rows, mostly far fewer.
        """
        most_rows = 2 * self.n + 4
        if self.recording and block[ROW_END] - block[ROW] < 2 * most_rows:
            block[ROW], block[ROW_END] = self._rows, self._rows + 16 * most_rows
            self._rows += 16 * most_rows
        if self.recording and block[POINT_END] - block[POINT] < -(-nodes // 4):
            block[POINT], block[POINT_END] = self._points, self._points + 4 * nodes
            self._points += 4 * nodes
        if self.recording:
            self._grow()

    def _grow(self) -> None:
        too_large = self._points * self.n * 4 + self._rows * BYTES_A_ROW > self.most_bytes
        try:
            if not too_large:
                self.table = _enlarged(self.table, self._rows, self._points)
        except MemoryError:
            too_large = True
        if too_large:
            self.recording = False
            self.table = self.table._replace(points=np.zeros((1, self.n), np.float32))

    def tree(self) -> RecordedTree:
        """The tree in preorder with the points and functions that its leaves refer to."""
        return recorded(self.table._replace(column=self.table.column[: self._rows]))


def _enlarged(table: Table, rows: int, points: int) -> Table:
    """The table with at least so many rows and points, at least doubling what is too small."""
    have = len(table.column)
    if rows > have:
        size = max(2 * have, rows) - have
        grown = {
            name: np.concatenate([old, np.full(size, -1, old.dtype)])
            for name, old in table._asdict().items()
            if name != "points"
        }
        table = table._replace(**grown)
    have = len(table.points)
    if points > have:
        more = np.zeros((max(2 * have, points) - have, table.points.shape[1]), np.float32)
        table = table._replace(points=np.concatenate([table.points, more]))
    return table
