"""A row with blocks and forced columns as a smaller problem: one variable a free block.

With E (n, m) repeating each variable over its block, p the columns forced to be pruned and the free
blocks alone kept as variables y,

    z = p + E y,   z^T Q z = p^T Q p + y^T (E^T Q E + Diag(2 E^T Q p)) y      as y_b^2 = y_b,

and rows lower <= A z <= upper become lower - A p <= (A E) y <= upper - A p. A budget of the
columns, all blocks being of one size, is a number of blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Pruned, Vector
from maskgap.instances.masks.blocks import contract
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.rows import Row
from maskgap.instances.masks.state import FREE, PRUNED


@dataclass(frozen=True, eq=False)
class Reduced:
    """The smaller problem.

    quad: (m, m). offset: loss of the forced columns alone. pruned: variables that go. rows: (r, m)
    int64, all but the budget, with lower and upper (r,), +-inf where there is no side. size: of a
    block. free: (m,) numbers of the free blocks. forced: (n,) columns forced to be pruned.
    """

    quad: Matrix
    offset: float
    pruned: int
    rows: NDArray[np.int64]
    lower: Vector
    upper: Vector
    size: int
    free: NDArray[np.int64]
    forced: Pruned

    @staticmethod
    def of(quad: Matrix, legal: MaskSet) -> "Reduced":
        """The smaller problem of Q (n, n) and a set of one row."""
        size, n, whole = legal.block, legal.n, legal.linear_rows()
        system = whole if size == 1 else contract(whole, size)  # rows that tie a block say nothing
        states = whole.state.reshape(-1, size)
        gone = (states == PRUNED).any(axis=1)
        free = np.flatnonzero(~gone & (states == FREE).all(axis=1))
        forced = Pruned(np.repeat(gone, size))
        summed = quad.reshape(n // size, size, n // size, size).sum(axis=(1, 3))
        small = summed[np.ix_(free, free)].copy()
        small[np.diag_indices(len(free))] += 2.0 * summed[np.ix_(free, gone)].sum(axis=1)
        rows = [row for row in system.as_rows() if not _is_budget(row, n // size)]
        matrix = np.zeros((len(rows), n // size), dtype=np.int64)
        for line, row in zip(matrix, rows, strict=True):
            line[row.columns] = row.values
        paid = matrix[:, gone].sum(axis=1)
        lower = [-np.inf if row.lower is None else float(row.lower) for row in rows]
        upper = [np.inf if row.upper is None else float(row.upper) for row in rows]
        return Reduced(
            small,
            float(quad[np.ix_(forced, forced)].sum()),
            legal.total_pruned // size - int(gone.sum()),
            matrix[:, free],
            np.array(lower) - paid,
            np.array(upper) - paid,
            size,
            free,
            forced,
        )

    def shrink(self, pruned: Pruned) -> Pruned:
        """The variables (m,) of a legal pruned set (n,)."""
        return Pruned(pruned.reshape(-1, self.size)[self.free, 0])

    def lift(self, small: Pruned) -> Pruned:
        """The pruned set (n,) of variables (m,)."""
        blocks = self.forced.reshape(-1, self.size).copy()
        blocks[self.free] = small[:, None]
        return Pruned(blocks.reshape(-1))


def _is_budget(row: Row, n: int) -> bool:
    """Whether a row is an equality with one value on every variable."""
    return row.is_equality and len(row.columns) == n and bool((row.values == row.values[0]).all())
