"""A tree kept as a table, one node a row, put in the preorder of a proof.

Rows are nodes: `column` (split, or -1), `kept` and `pruned` (rows of the children), `point` (of a
leaf: the row of the witness that bounds it, -1 where at most one mask is left), `source` (the
number of its function). A node that is open is a leaf with its parent's point.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.objectives.protocol import RecordedTree

BYTES_A_ROW = 17


def recorded(
    column: NDArray[np.int32],
    kept: NDArray[np.int32],
    pruned: NDArray[np.int32],
    point: NDArray[np.int32],
    source: NDArray[np.int8],
    points: NDArray[np.float32],
) -> RecordedTree:
    """A tree given as a table, one node an entry, in preorder with what its leaves refer to."""
    branch, at, by = preorder(column, kept, pruned, point, source, len(column))
    needed, compact = np.unique(at, return_inverse=True)
    offset = int(np.searchsorted(needed, 0))
    return RecordedTree(
        branch=branch,
        function=np.where(at >= 0, by, -1).astype(np.int16),
        point=np.where(at >= 0, compact - offset, -1).astype(np.int32),
        points=points[needed[needed >= 0]],
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


def warm_up() -> None:
    """Compile the kernel, or load it."""
    none = np.full(1, -1, np.int32)
    preorder(none, none, none, none, np.zeros(1, np.int8), 1)
