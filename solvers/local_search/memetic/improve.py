"""Memetic search of one row: tabu walks with kicks, then populations that grow.

A *chain* walks (`tabu`) from a mask, then again and again from the best mask of the chain after a
kick of up to KICK random swaps among the columns that walks have touched, until many kicks in a row
found nothing. Few columns are ever touched (a sixth at 1536 columns), and a walk after a kick costs
some hundred swaps of two rows of Q, so that a row of 4096 columns tries thousands a second.

A search is a chain from the start; then populations (`population`) of FIRST_POPULATION members and
each further one of twice as many. A stage begins with the best mask of the one before; its other
members are short chains from that mask after a large kick. It ends when it has converged. The best
mask of each stage descends by the exact rule in float64, so a search that was not cut short ends
1-swap optimal. A loss that is zero to rounding, or a single legal mask, ends it at once.

Rows of more than EXACT_COLUMNS are walked in float32. A mask counts as found when its loss, summed
in float64, is lower.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.memetic.best import Best, Found, Spent
from maskgap.solvers.local_search.memetic.kicks import hammer, leap
from maskgap.solvers.local_search.memetic.population import (
    MEMBERS,
    admit,
    converged,
    evolve,
    new_population,
)
from maskgap.solvers.local_search.memetic.tabu import (
    DONE,
    GAIN,
    LEAST,
    LOSS,
    Numbers,
    by_group,
    depart,
    go,
    new_walk,
    save,
    stand,
)
from maskgap.solvers.local_search.terms import Terms

FIRST_STAGE = 16
"""Members of the first population of searches by other moves."""

FIRST_POPULATION = 8

VAIN = 4
"""Populations in a row without gain that end a search."""

NARROW = 768
"""Rows up to here have members that start at random, and short walks: many find more than good
ones. At random, wider rows end far above the best mask known."""

SHORT_WALK = 10
SHORT_WALK_OF_CHILD = 3
"""Patience of the walks of members and children of narrow rows."""

EXACT_COLUMNS = 256
"""Rows up to here are walked in float64: their matrix is small, and small losses matter."""

LARGE_KICK = 0.1
LARGE_KICK_OF_GROUPS = 0.3
"""Swaps of the kick that a member of a wide row begins with, as a share of the columns: of a row
with one budget, and with groups that have their own."""

TELL = 8
"""Swaps of a chain before its best mask is summed in float64 again, per pruned column."""

AFRESH = 1 << 14
"""Swaps of a chain before c is summed afresh: each adds rounding."""


def improve(quad: Matrix, groups: BudgetGroups, terms: Terms) -> Found:
    """Search from a legal start, or from a random one. quad: Q (n, n).

    Population 1 is a descent to a 1-swap optimum.
    """
    best, finished = Best(quad, groups, terms), True
    try:
        if terms.population == 1:
            best.descend()
        elif not best.settled():
            _Search(quad, groups, terms, best).run()
    except Spent:
        finished = False
    return Found(best.mask, best.loss, best.swaps, finished)


class _Search:
    """A chain, then populations, with one walk that goes on for all of them."""

    def __init__(self, quad: Matrix, groups: BudgetGroups, terms: Terms, best: Best) -> None:
        n = groups.n
        self._groups, self._terms, self._best = groups, terms, best
        self._places = by_group(groups)
        ordered = quad if groups.count == 1 else quad[np.ix_(self._places, self._places)]
        self._quad: Numbers = np.ascontiguousarray(ordered)
        if n > EXACT_COLUMNS:
            self._quad = ordered.astype(np.float32, order="C")
        self._walk = new_walk(self._quad, terms.seed)
        self._patience = max(30, min(100, n // 10))
        self._lowest, self._told = np.inf, 0
        self._unsaid: NDArray[np.bool_] | None = None

    def run(self) -> None:
        """Search until it has converged. Raises Spent, with the best mask taken."""
        n, best, size, vain = self._groups.n, self._best, 1, 0
        try:
            self._stand(pruned_of(best.mask)[self._places])
            self._chain(max(24, n // 16), min(1000, 100 + n))
            best.polish()
            while vain < VAIN and size < self._terms.population and not best.settled():
                before = best.loss
                size = min(max(FIRST_POPULATION, 2 * size), self._terms.population)
                filled = self._population(size)
                best.polish()
                vain = 0 if best.loss < before * (1.0 - GAIN) else vain + 1
                if not filled:
                    break
        except Spent:
            save(self._walk)
            self._note()  # of the walk under way
            self._tell(0)
            raise

    def _population(self, size: int) -> bool:
        """Search a population of some members until it has converged; whether there were as many.

        Where starts end in fewer different masks, a larger one would have no more.
        """
        groups, walk = self._groups, self._walk
        population = new_population(groups.n, size, self._quad.dtype)
        self._stand(pruned_of(self._best.mask)[self._places])
        admit(population, walk)
        base, among = self._base(), self._likely()
        random = np.random.default_rng([*self._terms.seed, size])
        for _ in range(2 * size):
            if population.numbers[MEMBERS] == size:
                break
            if groups.n <= NARROW:
                start = groups.prune_lowest(random.random(groups.n))
                self._stand(pruned_of(start)[self._places])
                self._go(SHORT_WALK)
                self._stand(walk.best)
            else:
                share = LARGE_KICK if groups.count == 1 else LARGE_KICK_OF_GROUPS
                leap(self._quad, groups.count, walk, base, among, int(share * groups.n))
                self._chain(groups.n // 160, self._patience)
            admit(population, walk)
            self._note()
            self._tell(0)
        patience = SHORT_WALK_OF_CHILD if groups.n <= NARROW else self._patience
        while not converged(population):
            most = self._best.next_slice()
            self._best.swaps += evolve(self._quad, groups.count, population, walk, patience, most)
            if walk.numbers[DONE]:
                self._note()
                self._tell(0)
        return int(population.numbers[MEMBERS]) == size

    def _chain(self, idle: int, patience: int) -> None:
        """Walk on, then kick from the best; it ends with the walk standing at its best mask.

        idle: kicks without gain that end it. patience: of the first walk.
        """
        walk, since, left = self._walk, self._best.swaps, idle
        self._go(patience)
        self._stand(walk.best)
        self._note()
        self._tell(0)
        base, among = self._base(), np.flatnonzero(walk.touched)
        walk.numbers[DONE] = 1
        while len(among):
            most = self._best.next_slice()
            made, left = hammer(
                self._quad, self._groups.count, walk, base, among, left, self._patience, most
            )
            self._best.swaps += made
            if not walk.numbers[DONE]:
                continue
            if not walk.values[LEAST] < base[2][0] - GAIN * abs(base[2][0]):
                break
            left = idle
            if self._best.swaps - since > AFRESH:
                since = self._best.swaps
                self._stand(walk.best)
                walk.numbers[DONE] = 1
            base, among = self._base(), np.flatnonzero(walk.touched)
            self._note()
            self._tell(TELL * self._groups.total_pruned)
        walk.pruned[:], walk.c[:], walk.values[LOSS] = base[0], base[1], base[2][0]
        depart(walk)
        self._note()
        self._tell(0)

    def _base(self) -> tuple[NDArray[np.bool_], Numbers, Vector]:
        """The best mask of the walk, its Q z and loss."""
        walk = self._walk
        return walk.best.copy(), walk.best_c.copy(), walk.values[LEAST : LEAST + 1].copy()

    def _stand(self, pruned: NDArray[np.bool_]) -> None:
        """Let the walk depart from a mask, its loss summed afresh."""
        self._walk.pruned[:] = pruned
        stand(self._quad, self._walk)
        depart(self._walk)

    def _likely(self) -> NDArray[np.int64]:
        """Columns for a large kick: of a single group, without the kept ones of the larger b."""
        walk = self._walk
        if self._groups.count > 1:
            return np.arange(self._groups.n)
        b = np.where(walk.pruned, -np.inf, walk.diag + 2.0 * walk.c)
        return np.flatnonzero(b <= np.median(b[~walk.pruned]))

    def _mask_at(self, pruned: NDArray[np.bool_]) -> Kept:
        """The mask of columns by group."""
        mask = Kept(np.empty(self._groups.n, dtype=bool))
        mask[self._places] = ~pruned
        return mask

    def _go(self, patience: int) -> None:
        """Walk to the end, or raise Spent."""
        walk = self._walk
        while not walk.numbers[DONE]:
            most = self._best.next_slice()
            self._best.swaps += go(self._quad, self._groups.count, walk, patience, most)

    def _note(self) -> None:
        """Note the best mask of the walk if it is the lowest."""
        if self._walk.values[LEAST] < self._lowest:
            self._lowest = float(self._walk.values[LEAST])
            self._unsaid = self._walk.best.copy()

    def _tell(self, after: int) -> None:
        """Take the lowest mask, if that was not done yet and so many swaps were made since."""
        if self._unsaid is not None and self._best.swaps - self._told >= after:
            self._best.take(self._mask_at(self._unsaid))
            self._unsaid, self._told = None, self._best.swaps


def warm_up() -> None:
    """Compile the kernels, or load them."""
    quad, groups = np.eye(4) + 0.1, BudgetGroups(4, 4, 2)
    improve(quad, groups, Terms(None, [0], 1))
    kinds: list[Numbers] = [quad, quad.astype(np.float32)]
    for numbers in kinds:
        walk, population = new_walk(numbers, [0]), new_population(4, 2, numbers.dtype)
        walk.pruned[:2] = True
        stand(numbers, walk)
        depart(walk)
        go(numbers, 1, walk, 1, 1)
        save(walk)
        base = walk.best.copy(), walk.best_c.copy(), walk.values[:1].copy()
        among = np.arange(4)
        leap(numbers, 1, walk, base, among, 1)
        hammer(numbers, 1, walk, base, among, 1, 1, 1)
        admit(population, walk)
        converged(population)
        evolve(numbers, 1, population, walk, 1, 1)
