"""A tree kept as a table, one node a row, put in the preorder of a proof.

A node that is open is a leaf with its parent's point.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.objectives.protocol import RecordedTree

BYTES_A_ROW = 17


class Table(NamedTuple):
    """Nodes and witnesses of a tree; row 0 is the root.

    column: (nodes,) what a node is split by, -1 for a leaf. kept, pruned: (nodes,) rows of its
    children. point: (nodes,) of a leaf: the row of the witness that bounds it, -1 where at most one
    mask is left. source: (nodes,) the number of its function. points: (witnesses, n).
    """

    column: NDArray[np.int32]
    kept: NDArray[np.int32]
    pruned: NDArray[np.int32]
    point: NDArray[np.int32]
    source: NDArray[np.int8]
    points: NDArray[np.floating]


def recorded(table: Table) -> RecordedTree:
    """The tree of a table in preorder, with the witnesses that its leaves refer to."""
    nodes = table.column, table.kept, table.pruned, table.point, table.source
    branch, at, by = preorder(*nodes, len(table.column))
    needed, compact = np.unique(at, return_inverse=True)
    offset = int(np.searchsorted(needed, 0))
    return RecordedTree(
        branch=branch,
        function=np.where(at >= 0, by, -1).astype(np.int16),
        point=np.where(at >= 0, compact - offset, -1).astype(np.int32),
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


def warm_up() -> None:
    """Compile the kernel, or load it."""
    none = np.full(1, -1, np.int32)
    preorder(none, none, none, none, np.zeros(1, np.int8), 1)
