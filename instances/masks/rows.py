"""A set of masks as rows of a linear system over its columns z (1 = pruned).

    Z = { z in {0,1}^n : lower <= A z <= upper,  z_j = 1 where s_j = PRUNED, 0 where s_j = KEPT }

for an integer matrix A, held sparse: rows of wide parts have few entries each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from maskgap.instances.masks.state import States


@dataclass(frozen=True, slots=True)
class Row:
    """One row lower <= a . z <= upper, with None for a side that every 0/1 vector meets.

    columns, values: of the entries that are not 0, in ascending order of columns.
    """

    columns: NDArray[np.int64]
    values: NDArray[np.int64]
    lower: int | None
    upper: int | None

    @property
    def is_equality(self) -> bool:
        """Whether lower = upper."""
        return self.lower is not None and self.lower == self.upper


@dataclass(frozen=True, eq=False)
class LinearRows:
    """A system: (rows, n) sparse int64, lower and upper (rows,) int64; state (n,) int8."""

    system: scipy.sparse.csr_matrix
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    state: States

    @property
    def matrix(self) -> NDArray[np.int64]:
        """A (rows, n) int64, dense, made anew at each call."""
        dense: NDArray[np.int64] = self.system.toarray()
        return dense

    def equalities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The rows with lower = upper as (E (m, n), k (m,)) float64: E z = k on every mask."""
        chosen = self.lower == self.upper
        return (
            self.system[np.flatnonzero(chosen)].toarray().astype(np.float64),
            self.lower[chosen].astype(np.float64),
        )

    def as_rows(self) -> Iterator[Row]:
        """The rows one by one, as models take them; those that say nothing are left out."""
        for i, (lower, upper) in enumerate(zip(self.lower, self.upper, strict=True)):
            entries = slice(self.system.indptr[i], self.system.indptr[i + 1])
            columns, values = self.system.indices[entries], self.system.data[entries]
            least, most = int(values[values < 0].sum()), int(values[values > 0].sum())
            low = int(lower) if lower > least or lower == upper else None
            high = int(upper) if upper < most or lower == upper else None
            if low == high and (low is None or least == most == low):
                continue
            yield Row(columns.astype(np.int64), values, low, high)
