"""The best mask of a search of one row: what was found, what was spent, what limits it.

A mask counts as found when its loss, summed in float64 from the mask alone, is lower.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.memetic.descent import (
    THRESHOLD,
    WIDTH,
    arrange,
    descend,
    sum_afresh,
)
from maskgap.solvers.local_search.terms import Terms

SLICE_WORK = 1e6
"""Swaps of a slice times n: a few milliseconds."""

EXACT_WORK = 1 << 24
"""Pairs of a slice by the exact rule, and swaps of it at most."""
EXACT_SWAPS = 8


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    mask: (n,). loss: of it, in the units of Q. swaps: made in all. finished:
    whether the last stage ended, or nothing can be better.
    """

    mask: Kept
    loss: float
    swaps: int
    finished: bool


class Spent(Exception):  # noqa: N818
    """The swaps or the time of a search are spent."""


class Best:
    """The best mask so far of Q (n, n), the swaps made, and what limits them."""

    def __init__(self, quad: Matrix, groups: BudgetGroups, terms: Terms) -> None:
        self._quad, self._diag = quad, quad.diagonal().copy()
        self._groups, self._terms = groups, terms
        self._slice = max(1, int(SLICE_WORK / groups.n))
        self._order = np.arange(groups.n, dtype=np.int32)
        self._c: Vector = np.zeros(groups.n)
        self.mask = Kept(np.ones(groups.n, dtype=bool))
        self.loss = np.inf
        self.swaps = 0
        start = terms.start
        if start is None:
            start = groups.prune_lowest(np.random.default_rng(terms.seed).random(groups.n))
        self.take(start)

    def take(self, mask: Kept) -> None:
        """Take a mask if its loss, summed afresh, is lower."""
        arrange(self._groups.size, pruned_of(mask), self._order)
        loss, _ = sum_afresh(
            self._quad, self._groups.size, self._groups.pruned, self._order, self._c
        )
        if loss < self.loss:
            self.mask, self.loss = mask, max(0.0, float(loss))
            self._terms.report(mask, self.loss)

    def settled(self) -> bool:
        """Whether no mask can be better."""
        pruned = self._groups.pruned
        if not 0 < pruned < self._groups.size:
            return True
        return self.loss <= THRESHOLD * float(self._diag[pruned_of(self.mask)].sum())

    def next_slice(self) -> int:
        """Swaps to make before the clock is looked at. Raises Spent."""
        most = self._terms.max_moves
        left = self._slice if most < 0 else min(self._slice, most - self.swaps)
        if left <= 0 or self._terms.expired():
            raise Spent
        return left

    def descend(self) -> None:
        """Descend from the best mask by the rule of a shortlist, then by the exact one."""
        self._descend(WIDTH, self._slice)
        self.polish()

    def polish(self) -> None:
        """Descend from the best mask by the exact rule, to a 1-swap optimum."""
        most = min(EXACT_SWAPS, EXACT_WORK // self._groups.n**2)
        self._descend(self._groups.total_pruned, max(1, most))

    def _descend(self, width: int, most: int) -> None:
        """By the best swap of a shortlist of some columns, in slices of `most` swaps."""
        groups, least = self._groups, np.inf
        arrange(groups.size, pruned_of(self.mask), self._order)
        try:
            while not self.settled():
                loss, swaps = descend(
                    self._quad, self._diag, groups.size, groups.pruned, self._order, self._c,
                    width, min(most, self.next_slice()),
                )  # fmt: skip
                self.swaps += swaps
                if swaps == 0 or loss >= least:
                    break
                least = loss
        finally:
            self.take(self._mask_of(self._order))

    def _mask_of(self, order: NDArray[np.int32]) -> Kept:
        mask = Kept(np.ones(self._groups.n, dtype=bool))
        mask[order.reshape(-1, self._groups.size)[:, : self._groups.pruned]] = False
        return mask
