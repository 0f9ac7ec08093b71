"""Blocks of consecutive columns that are kept or pruned together: a set over fewer columns.

With one variable y_b a block of `size` columns, the rows A z of a system are A E y, where E repeats
each y_b over its block, and < g, z > is the sum of (sum of g over block b) y_b. So a rule over the
blocks is one over the columns.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Pruned, Vector
from maskgap.instances.masks.linear import Rule
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States


def contract(rows: LinearRows, size: int) -> LinearRows:
    """The rows over blocks of `size` columns, with none of these forced."""
    n = len(rows.state)
    repeat = scipy.sparse.csr_matrix(
        (np.ones(n, dtype=np.int64), (np.arange(n), np.arange(n) // size)), shape=(n, n // size)
    )
    system = scipy.sparse.csr_matrix(rows.system @ repeat)
    return LinearRows(system, rows.lower, rows.upper, np.full(n // size, FREE, dtype=np.int8))


@dataclass(frozen=True, eq=False)
class BlockRule:
    """The oracle of blocks. size: columns of each; inner: the rule over them; rows: theirs."""

    size: int
    inner: Rule
    rows: LinearRows

    @property
    def error(self) -> float:
        """As `Rule.error`; a block's cost is at most `size` times that of a column."""
        return self.size * self.inner.error

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`."""
        grouped = state.reshape(-1, self.size)
        ones, zeros = (grouped == PRUNED).any(axis=1), (grouped == KEPT).any(axis=1)
        if (ones & zeros).any():
            return None
        states = np.full(len(grouped), FREE, dtype=np.int8)
        states[ones], states[zeros] = PRUNED, KEPT
        sums = gradient.reshape(-1, self.size).sum(axis=1)
        pruned = self.inner.minimise(self.rows, sums, states)
        return None if pruned is None else Pruned(np.repeat(pruned, self.size))
