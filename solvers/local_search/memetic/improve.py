"""Memetic search of one row, in stages of growing populations.

The first stage is a descent from the start; the next has FIRST_STAGE members, and each further one
twice as many. A stage begins with the best mask of the one before, otherwise afresh, and ends when
it has converged. Doubling costs less than twice the last stage, gives good masks early, and found
better ones than the last stage alone. The best mask of each stage descends by the exact rule, so a
search that was not cut short ends 1-swap optimal. A loss that is zero to rounding, or a single
legal mask, ends it at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.memetic.descent import THRESHOLD, arrange, descend, sum_afresh
from maskgap.solvers.local_search.memetic.population import DONE, evolve, new_population
from maskgap.solvers.local_search.terms import Terms

FIRST_STAGE = 16

SLICE_WORK = 1e6
"""Swaps of a slice times n: a few milliseconds."""

POLISH_SLICE = 8
"""Swaps of a slice by the exact rule, which looks at more pairs."""


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


def improve(quad: Matrix, groups: BudgetGroups, terms: Terms) -> Found:
    """Search from a legal start, or from a random one. quad: Q (n, n)."""
    search = _Search(quad, groups, terms)
    search.start()
    size = 1
    while search.stage(size) and size < terms.population:
        size = min(max(FIRST_STAGE, 2 * size), terms.population)
    return Found(search.mask, search.loss, search.swaps, search.finished)


class _Search:
    """The best mask so far, the swaps made, and what limits them."""

    def __init__(self, quad: Matrix, groups: BudgetGroups, terms: Terms) -> None:
        self._quad, self._diag = quad, quad.diagonal().copy()
        self._groups, self._terms = groups, terms
        self._slice = max(1, int(SLICE_WORK / groups.n))
        self._order = np.arange(groups.n, dtype=np.int32)
        self._c: Vector = np.zeros(groups.n)
        self.mask = Kept(np.ones(groups.n, dtype=bool))
        self.loss = np.inf
        self.swaps = 0
        self.finished = False

    def start(self) -> None:
        """Take the start as the best mask so far."""
        start = self._terms.start
        if start is None:
            random = np.random.default_rng(self._terms.seed)
            start = self._groups.prune_lowest(random.random(self._groups.n))
        self._take(start)

    def stage(self, size: int) -> bool:
        """Search a population that begins with the best mask; whether it converged."""
        if self._settled():
            self.finished = True
            return False
        self.finished = False
        groups, seen = self._groups, self.loss
        population = new_population(groups.n, size, [*self._terms.seed, size])
        arrange(groups.size, pruned_of(self.mask), population.order)
        while not population.numbers[DONE]:
            if self._spent():
                self._take(self._mask_of(population.order))  # of the child under way
                return False
            self.swaps += evolve(
                self._quad, self._diag, groups.size, groups.pruned, population, self._next_slice()
            )
            best = population.loss.argmin()
            if population.loss[best] < seen:
                seen = float(population.loss[best])
                self._take(kept_of(Pruned(population.pruned[best])))
        self._polish()
        self.finished = not self._spent()
        return self.finished and not self._settled()

    def _next_slice(self) -> int:
        return min(self._slice, self._left())

    def _left(self) -> int:
        most = self._terms.max_moves
        return self._slice if most < 0 else most - self.swaps

    def _spent(self) -> bool:
        return self._left() <= 0 or self._terms.expired()

    def _settled(self) -> bool:
        """Whether no mask can be better."""
        pruned = self._groups.pruned
        if not 0 < pruned < self._groups.size:
            return True
        return self.loss <= THRESHOLD * float(self._diag[pruned_of(self.mask)].sum())

    def _take(self, mask: Kept) -> None:
        """Take a mask if its loss, summed afresh, is lower."""
        arrange(self._groups.size, pruned_of(mask), self._order)
        loss, _ = sum_afresh(
            self._quad, self._groups.size, self._groups.pruned, self._order, self._c
        )
        if loss < self.loss:
            self.mask, self.loss = mask, max(0.0, float(loss))
            self._terms.report(mask, self.loss)

    def _polish(self) -> None:
        """Descend from the best mask by the exact rule."""
        groups, least = self._groups, np.inf
        arrange(groups.size, pruned_of(self.mask), self._order)
        while not self._spent():
            loss, swaps = descend(
                self._quad, self._diag, groups.size, groups.pruned, self._order, self._c,
                groups.total_pruned, min(POLISH_SLICE, self._left()),
            )  # fmt: skip
            self.swaps += swaps
            if swaps == 0 or loss >= least:
                break
            least = loss
        self._take(self._mask_of(self._order))

    def _mask_of(self, order: NDArray[np.int32]) -> Kept:
        mask = Kept(np.ones(self._groups.n, dtype=bool))
        mask[order.reshape(-1, self._groups.size)[:, : self._groups.pruned]] = False
        return mask


def warm_up() -> None:
    """Compile the kernels, or load them."""
    improve(np.eye(4) + 0.1, BudgetGroups(4, 4, 2), Terms(None, [0], 2))
