"""Masks of equal budget groups, checked by closed forms.

The least linear function over a leaf takes, in each group, what is forced and then the smallest of
the free columns. An enumeration is complete when the masks listed are legal, distinct, and as many
as there are in all. Each column is in one equality row, the indicator of its group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.benchmarks.verify.checked_set import RowTerms
from maskgap.benchmarks.verify.clock import Clock
from maskgap.instances.arrays import Flags, Matrix, Pruned, Vector, kept_of
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, PRUNED, States

ENUMERATED = 5_000_000
"""Most legal masks that an enumeration proof may ask the checker to list."""

FAR = 1e300
"""Above any gradient; finite, so that times 0 it is 0."""

Counts = NDArray[np.float32]
"""Numbers of columns, exact: they are far below 2^24. A product counts faster than a sum."""


@dataclass(frozen=True, slots=True)
class EqualGroups:
    """The set. where: the row, for errors."""

    groups: BudgetGroups
    where: str

    @property
    def equalities(self) -> int:
        """As `CheckedSet.equalities`."""
        return self.groups.count

    def terms(self, alpha: Matrix, state: States) -> RowTerms:
        """As `CheckedSet.terms`."""
        groups, free = self.groups, np.flatnonzero(state == FREE)
        alpha, group = alpha[:, free], free // groups.size
        gone = (state == PRUNED).reshape(groups.count, groups.size).sum(axis=1)
        size, k = np.abs(alpha), (groups.pruned - gone).astype(np.float64)
        return RowTerms(alpha[group], size[group], k @ alpha, np.abs(k) @ size, 0)

    def least(self, gradient: Matrix, states: States, clock: Clock) -> Vector:
        """As `CheckedSet.least`."""
        groups = self.groups
        left, free = self._still_open(states)
        keys = np.where(states == FREE, gradient, FAR).reshape(-1, groups.count, groups.size)
        keys.sort(axis=2)
        lowest = np.arange(groups.size, dtype=np.float32) < left[:, :, None]
        taken = np.einsum("ij,ij->i", lowest.reshape(states.shape), keys.reshape(states.shape))
        forced = np.einsum("ij,ij->i", states == PRUNED, gradient)
        empty = ((left < 0) | (left > free)).any(axis=1)
        return np.where(empty, np.inf, forced + taken)

    def pruned_by_all(self, states: States) -> Flags:
        """As `CheckedSet.pruned_by_all`."""
        left, free = self._still_open(states)
        rest = np.repeat(left >= free, self.groups.size, axis=1) & (states == FREE)
        return np.asarray((states == PRUNED) | rest)

    def last_masks(self, states: States) -> tuple[Pruned, Flags]:
        """As `CheckedSet.last_masks`."""
        left, free = self._still_open(states)
        empty = ((left < 0) | (left > free)).any(axis=1)
        single = ((left == 0) | (left == free)).all(axis=1)
        if not bool((single | empty).all()):
            raise ProofError(f"{self.where}: a leaf without a function has more than one mask left")
        rest = np.repeat(left > 0, self.groups.size, axis=1) & (states == FREE)
        return Pruned((states == PRUNED) | rest), np.asarray(empty)

    def every_mask(self, clock: Clock) -> Iterator[Pruned]:
        """As `CheckedSet.every_mask`."""
        groups = self.groups
        if groups.masks > ENUMERATED:
            raise ProofError(f"{self.where}: an enumeration of more than {ENUMERATED} masks")
        seen: list[NDArray[np.uint64]] = []
        try:
            for pruned in groups.enumerate_pruned():
                clock.look(f"{self.where}: {len(seen)} blocks of {groups.masks} masks are")
                if not groups.is_legal(kept_of(pruned)):
                    raise ProofError(f"{self.where}: an illegal mask was listed")
                seen.append(_words(pruned))
                yield pruned
        except InputError as error:
            raise ProofError(f"{self.where}: {error}") from None
        words = np.concatenate(seen)
        distinct = len(np.unique(words[:, 0] if words.shape[1] == 1 else words, axis=0))
        if not len(words) == distinct == groups.masks:
            raise ProofError(f"{self.where}: {distinct} of {groups.masks} legal masks were listed")

    def _still_open(self, states: States) -> tuple[Counts, Counts]:
        """Per leaf and group: columns still to prune, and free columns."""
        groups = self.groups
        grouped = states.reshape(len(states), groups.count, groups.size)
        ones = np.ones(groups.size, dtype=np.float32)
        free, pruned = ((grouped == state).astype(np.float32) @ ones for state in (FREE, PRUNED))
        return groups.pruned - pruned, free


def _words(pruned: Pruned) -> NDArray[np.uint64]:
    packed = np.packbits(pruned, axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
