"""Masks that meet integer rows, checked from the rows alone.

Leaves are bounded by `benchmarks.verify.leaf_minimum`. A leaf without a function must have all its
columns forced. An enumeration looks at every 0/1 vector of the free columns, so that none can be
missing. A column can be in several equality rows, whose entries are whole numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maskgap.benchmarks.verify.checked_set import RowTerms
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.leaf_minimum import WHOLE, LeafMinimum
from maskgap.instances.arrays import Flags, Matrix, Pruned, Vector
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.groups import ENUMERATION_COLUMNS
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States

LOOKED_AT = 1 << 16
"""0/1 vectors looked at at once."""


@dataclass(frozen=True, eq=False)
class IntegerRows:
    """The set. where: the row, for errors."""

    legal: MaskSet
    where: str

    @cached_property
    def _rows(self) -> LinearRows:
        return self.legal.linear_rows()

    @cached_property
    def _equalities(self) -> tuple[Matrix, Vector]:
        return equality_rows(self.legal)

    @cached_property
    def _minimum(self) -> LeafMinimum:
        return LeafMinimum.of(self._rows, self.legal.integral)

    @property
    def equalities(self) -> int:
        """As `CheckedSet.equalities`."""
        return len(self._equalities[1])

    def terms(self, alpha: Matrix, state: States) -> RowTerms:
        """As `CheckedSet.terms`."""
        (whole, k), free, gone = self._equalities, state == FREE, state == PRUNED
        if gone.any():
            if not float((np.abs(whole).sum(axis=1) + np.abs(k)).max(initial=0.0)) < WHOLE:
                raise ProofError(f"{self.where}: rows with numbers that float64 does not hold")
            k = k - whole[:, gone].sum(axis=1)  # whole numbers: exact
        rows, alpha = whole[:, free], alpha[:, free]
        meeting = max(0, int((rows != 0.0).sum(axis=0).max(initial=0)) - 1)
        wide, size = np.abs(rows), np.abs(alpha)
        return RowTerms(rows.T @ alpha, wide.T @ size, k @ alpha, np.abs(k) @ size, meeting)

    def least(self, gradient: Matrix, states: States, clock: Clock) -> Vector:
        """As `CheckedSet.least`."""
        return self._minimum.bounds(gradient, states == PRUNED, states == KEPT, clock)

    def pruned_by_all(self, states: States) -> Flags:
        """As `CheckedSet.pruned_by_all`."""
        return self._minimum.tied(states == PRUNED)

    def last_masks(self, states: States) -> tuple[Pruned, Flags]:
        """As `CheckedSet.last_masks`."""
        pruned = (states == PRUNED) | (self._rows.state == PRUNED)
        kept = (states == KEPT) | (self._rows.state == KEPT)
        if not bool((pruned | kept).all()):
            raise ProofError(
                f"{self.where}: a leaf without a function has columns that are not forced"
            )
        return Pruned(pruned), ~self._meets(pruned) | (pruned & kept).any(axis=1)

    def every_mask(self, clock: Clock) -> Iterator[Pruned]:
        """As `CheckedSet.every_mask`."""
        free = np.flatnonzero(self._rows.state == FREE)
        if len(free) > ENUMERATION_COLUMNS:
            raise ProofError(
                f"{self.where}: an enumeration over {len(free)} free columns is more than "
                f"{ENUMERATION_COLUMNS}"
            )
        every = 1 << len(free)
        for start in range(0, every, LOOKED_AT):
            clock.look(f"{self.where}: {start} of {every} vectors are")
            codes = np.arange(start, min(start + LOOKED_AT, every), dtype=np.int64)
            pruned = np.tile(self._rows.state == PRUNED, (len(codes), 1))
            pruned[:, free] = (codes[:, None] >> np.arange(len(free), dtype=np.int64)) & 1
            chosen = pruned[self._meets(pruned)]
            if len(chosen):
                yield Pruned(chosen)

    @cached_property
    def _matrix(self) -> Matrix:
        return self._rows.matrix.T.astype(np.float64)

    def _meets(self, pruned: Flags) -> Flags:
        """Which pruned sets (masks, n) meet all rows."""
        sums = pruned @ self._matrix  # whole numbers: exact
        met = (self._rows.lower <= sums) & (sums <= self._rows.upper)
        return np.asarray(met.all(axis=1))
