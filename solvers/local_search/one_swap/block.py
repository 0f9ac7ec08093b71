"""1-swap search of a block of rows on one thread, with the compiled kernels.

A row makes its swaps in calls that end where something is due: a sum afresh, a point of the trace,
the limit of swaps, a look at the clock. Sums are taken for all rows of the block that are due, so
that G is read once for them; a row's bits do not depend on its neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap import rule
from maskgap.solvers.local_search.one_swap.compiled import (
    descend,
    group_blocks,
    in_groups,
    losses,
    norms_and_reach,
    sum_afresh,
)
from maskgap.solvers.local_search.one_swap.course import Course, next_mark
from maskgap.solvers.protocol import Answer, Deadline, Stop

BLOCK_ROWS = 16
"""Rows of a block at most."""

CALL_PAIRS = 1 << 28
"""Pairs considered in one call, about: the clock is looked at between calls."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What all rows of a layer share.

    gram: (n, n). blocks: (n, size), see `group_blocks`. diagonal, norms, reach: (n,), G_jj, d, rho.
    """

    gram: Matrix
    blocks: Matrix
    diagonal: Vector
    norms: Vector
    reach: Vector

    @staticmethod
    def of(gram: Matrix, groups: BudgetGroups) -> "Tables":
        """Costs one pass over G."""
        norms, reach = norms_and_reach(gram)
        blocks = group_blocks(gram, groups.size)
        return Tables(gram, blocks, gram.diagonal().copy(), norms, reach)


class Block:
    """Rows under search. weight: (rows, n) float64, scaled. mask: (rows, n) bool, changed."""

    def __init__(self, tables: Tables, weight: Matrix, mask: Kept, course: Course) -> None:
        self.tables, self.weight, self.mask, self.course = tables, weight, mask, course
        count, self.n = weight.shape
        size = tables.blocks.shape[1]
        self.square = weight**2 * tables.diagonal
        self.r, self.t = np.abs(weight) * tables.norms, 2.0 * np.abs(weight) * tables.reach
        self.by_r, self.by_t = in_groups(self.r, size), in_groups(self.t, size)
        self.correlation = np.zeros_like(weight)
        self.losses, self.threshold = np.zeros(count), np.zeros(count)
        self.least = np.full(count, np.inf)
        self.swaps = np.zeros(count, dtype=np.int64)
        pruned = int(pruned_of(Kept(mask[0, :size])).sum())
        self.call_swaps = max(1, CALL_PAIRS // max(1, pruned * (size - pruned) * (self.n // size)))

    def descend(self, max_swaps: int, deadline: Deadline) -> list[Answer]:
        """Swap until every row has ended; one answer a row. max_swaps: -1 for no limit."""
        limit = max_swaps if max_swaps >= 0 else np.iinfo(np.int64).max
        pruned = pruned_of(self.mask)
        active = np.arange(len(self.mask))
        share = pruned.mean(axis=1)
        nothing_to_swap = (share == 0) | (share == 1)
        while len(active):
            self._sum_afresh(active)
            rest = []
            for row in active.tolist():
                why = self._why_ended(row, limit, deadline)
                if why is None and (nothing_to_swap[row] or self._go_on(row, limit, deadline)):
                    why = Stop.FINISHED
                if why is None:
                    rest.append(row)
                else:
                    swaps = int(self.swaps[row])
                    self.course.end(row, Kept(self.mask[row]), why, float(self.losses[row]), swaps)
            active = np.array(rest, dtype=np.int64)
        return self.course.answers()

    def _sum_afresh(self, rows: NDArray[np.int64]) -> None:
        """Sum c and with it the losses and thresholds of some rows from their masks alone."""
        weight, mask, c = self.weight[rows], self.mask[rows], np.empty((len(rows), self.n))
        sum_afresh(weight, self.tables.gram, mask, c)
        self.correlation[rows], self.losses[rows] = c, losses(weight, mask, c)
        scale = np.where(mask, 0.0, self.square[rows]).sum(axis=1)
        self.threshold[rows] = -rule.IMPROVEMENT * scale

    def _why_ended(self, row: int, limit: int, deadline: Deadline) -> Stop | None:
        """Why a row whose c has just been summed makes no further swap, or None.

        A search whose freshly summed losses fall never comes back to a mask, so it ends whatever
        rounding does to single steps.
        """
        swaps, loss = self.swaps[row], self.losses[row]
        if swaps and swaps % rule.REFRESH_SWAPS == 0 and loss >= self.least[row]:
            return Stop.FINISHED
        if swaps % rule.REFRESH_SWAPS == 0:
            self.least[row] = loss
        if swaps == 0:
            self.course.note(row, float(loss), 0)
        if swaps >= limit:
            return Stop.ITERATIONS
        return deadline.stop() if deadline.expired() else None

    def _go_on(self, row: int, limit: int, deadline: Deadline) -> bool:
        """Swap until c is to be summed again; whether no pair improves on freshly summed c."""
        fresh = self.swaps[row]
        refresh = (fresh // rule.REFRESH_SWAPS + 1) * rule.REFRESH_SWAPS
        weight, mask, c = self.weight[row], self.mask[row], self.correlation[row]
        while True:
            swaps = int(self.swaps[row])
            ahead = min(next_mark(swaps), refresh, limit) - swaps
            made, ended = descend(
                weight,
                self.tables.gram,
                self.tables.blocks,
                self.square[row],
                self.r[row],
                self.t[row],
                self.by_r[row],
                self.by_t[row],
                mask,
                c,
                min(ahead, self.call_swaps),
                self.threshold[row],
            )
            self.swaps[row] = swaps = swaps + made
            if made and swaps == next_mark(swaps - 1):
                loss = losses(weight[None], mask[None], c[None])[0]
                self.course.note(row, float(loss), swaps)
            if ended:
                return bool(swaps == fresh)
            if swaps in (refresh, limit) or deadline.expired():
                return False


class Processor:
    """The engine (`one_swap.engine`) that searches a block of rows on each thread."""

    def __init__(self, threads: int) -> None:
        self.workers = max(1, threads)

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """See `Engine`."""
        self._tables = Tables.of(gram, groups)
        each = -(-rows // self.workers)  # as many blocks for every thread, of one height
        return max(1, -(-each // -(-each // BLOCK_ROWS)))

    def descend(
        self, weight: Matrix, mask: Kept, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """See `Engine`."""
        return Block(self._tables, weight, mask, course).descend(max_swaps, deadline)


def warm_up() -> None:
    """Compile the kernels, or load them."""
    engine = Processor(1)
    height = engine.load(np.eye(2), BudgetGroups(2, 2, 1), 1)
    course = Course(np.zeros(height, dtype=np.int64), 0.0)
    weight, mask = np.array([[2.0, 1.0]]), Kept(np.array([[False, True]]))
    engine.descend(weight, mask, course, -1, Deadline(60.0))
