"""The record of a general search: its tree as a table (`tree.recorded`), grown node by node."""

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.objectives.protocol import RecordedTree
from maskgap.solvers.tree.recorded import BYTES_A_ROW, Table, recorded


class TreeRecord:
    """The tree of a search. recording: False once it would take more than `most_bytes`.

    witness_bytes: what one witness takes.
    """

    def __init__(self, witness_bytes: int, most_bytes: int) -> None:
        self._witness_bytes, self._most_bytes = witness_bytes, most_bytes
        self._column, self._kept, self._pruned, self._point, self._source = ([-1] for _ in range(5))
        self._points: list[NDArray[np.floating]] = []
        self.recording = True

    def bounded(self, row: int, witness: NDArray[np.floating], function: int) -> None:
        """A node is bounded by a minorant of a function, of which its witness is kept."""
        if self.recording:
            self._point[row], self._source[row] = len(self._points), function
            self._points.append(witness)
            size = len(self._points) * self._witness_bytes + len(self._point) * BYTES_A_ROW
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

    def tree(self) -> RecordedTree | None:
        """The tree as a proof has it, None where it was given up; the root has been bounded.

        Splits whose sides have nothing of their own, as those of open nodes, are left out.
        """
        if not self.recording:
            return None
        columns = (self._column, self._kept, self._pruned, self._point, self._source)
        merged = _merged(*(list(values) for values in columns))
        column, kept, pruned, point = (np.array(values, np.int32) for values in merged[:4])
        source = np.array(merged[4], np.int8)
        return recorded(Table(column, kept, pruned, point, source, np.array(self._points)))


def _merged(
    column: list[int], kept: list[int], pruned: list[int], point: list[int], source: list[int]
) -> tuple[list[int], ...]:
    """The lists, changed: splits into two leaves of one witness are leaves.

    The least of both bounds is that of the two together. Children come after their parents.
    """
    for row in range(len(column) - 1, -1, -1):
        one, other = kept[row], pruned[row]
        if column[row] < 0 or column[one] >= 0 or column[other] >= 0 or point[one] < 0:
            continue
        if (point[one], source[one]) == (point[other], source[other]):
            column[row], point[row], source[row] = -1, point[one], source[one]
    return column, kept, pruned, point, source
