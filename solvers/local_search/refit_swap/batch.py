"""Refit swaps of many rows in step, on a torch device.

As many rows together as a share of its free memory takes have their tableaus there
(`refit_swap.tensors`), some n^2 numbers each. Rows that have ended do nothing, and leave when they
are half of all. A row ends when no exchange improves a freshly made tableau, so a batch, like a
walker, ends 1-swap optimal. Where a device begins in float32, steps take half the time, and rows go
on from there in float64.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap.batch import ASSUMED_MEMORY, LARGEST_TILE, MEMORY_SHARE
from maskgap.solvers.local_search.one_swap.course import Course, next_mark
from maskgap.solvers.local_search.one_swap.probe import try_out, usable
from maskgap.solvers.local_search.refit_swap import quadratic
from maskgap.solvers.local_search.refit_swap.tensors import Exchange, Tableaus, exact_losses
from maskgap.solvers.local_search.refit_swap.walker import THRESHOLD
from maskgap.solvers.protocol import Answer, Deadline, Stop

REFRESH_STEPS = 256
"""Exchanges of a row after which its tableau is made afresh."""

TABLES = 5
"""Tableaus' worth of memory that a row takes at most: its own, and what a fresh one is made of."""

COARSE = {torch.float64: THRESHOLD, torch.float32: 1e-5}
"""Share of the loss by which an exchange must lower it, by type of the numbers."""


FLOOR = {torch.float64: quadratic.FLOOR, torch.float32: 1e-10}
"""Share of the loss of pruning everything, likewise: where the loss is rounding, so are changes."""

_DTYPES = {"float64": torch.float64, "float32": torch.float32}

Counts = NDArray[np.int64]
"""(rows,) exchanges made."""


class _Batch:
    """Rows on a device in one type of numbers. swaps: (rows,) exchanges made, goes on.

    owner: the row of each tableau. live: which of these go on. least: losses when last made afresh.
    ended: why each row has ended.
    """

    def __init__(
        self, tables: Tableaus, kept: Tensor, swaps: Counts, course: Course, tile: int
    ) -> None:
        self.tables, self.kept, self.swaps, self.course = tables, kept, swaps, course
        self.tile = tile
        self.owner = np.arange(len(swaps))
        self.live = np.ones(len(swaps), dtype=bool)
        self.least = torch.full_like(tables.losses(), torch.inf)
        self.age = 0
        self.ended: dict[int, Stop] = {}

    def run(self, max_swaps: int, deadline: Deadline) -> dict[int, Stop]:
        """Exchange until every row has ended."""
        while self.live.any():
            places = np.flatnonzero(self.live)
            rows = self.owner[places]
            self._note(places, rows)
            best, stuck = self._choose(self._tensor(places))
            limit = Stop.ITERATIONS
            over = self.swaps[rows] == max_swaps
            if deadline.expired():
                limit, over = deadline.stop(), np.ones_like(over)
            for row, ended in zip(rows[stuck | over].tolist(), stuck[stuck | over], strict=True):
                self.ended[row] = Stop.FINISHED if ended else limit
            rest = ~(stuck | over)
            self._leave(places[~rest])
            if rest.any():
                index = self._shrink(self._tensor(places[rest]))
                chosen = best.take(self._tensor(np.flatnonzero(rest)))
                self.tables.exchange(index, chosen.j, chosen.i)
                self.swaps[rows[rest]] += 1
                self.age += 1
                if self.age == REFRESH_STEPS:
                    self.tables.refresh(index)
                    self.age = 0
        return self.ended

    def _tensor(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self.kept.device)

    def _note(self, places: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        losses = self.tables.losses()
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            swaps = int(self.swaps[row])
            if swaps == 0 or swaps == next_mark(swaps - 1):
                self.course.note(row, float(losses[place]), swaps)

    def _choose(self, index: Tensor) -> tuple[Exchange, NDArray[np.bool_]]:
        """The best exchange of each row, and which rows have none that improves.

        A row ends by a fresh tableau. One whose loss has not fallen from one to the next ends too,
        so that rounding leads it in no circles.
        """
        tables = self.tables
        best = tables.best(index, self.tile)
        stuck = best.change >= self._limits(index)
        if self.age and bool(stuck.any()):
            again = index[stuck]
            tables.refresh(again)
            new = tables.best(again, self.tile)
            for old, fresh in ((best.change, new.change), (best.j, new.j), (best.i, new.i)):
                old[stuck] = fresh
            losses = tables.losses()[again]
            none = (new.change >= self._limits(again)) | (losses >= self.least[again])
            self.least[again] = losses
            stuck[stuck.clone()] = none
        elif not self.age:
            losses = tables.losses()[index]
            stuck |= losses >= self.least[index]
            self.least[index] = losses
        return best, stuck.cpu().numpy()

    def _limits(self, index: Tensor) -> Tensor:
        """(rows,) changes below which an exchange improves."""
        tables = self.tables
        largest = ((tables.target[index] @ tables.hessian) * tables.target[index]).sum(dim=1)
        share = COARSE[tables.table.dtype]
        return -share * tables.losses()[index].abs() - FLOOR[tables.table.dtype] * largest

    def _leave(self, places: NDArray[np.int64]) -> None:
        """Keep the masks of rows that have ended."""
        if len(places):
            self.kept[self._tensor(self.owner[places])] = self.tables.kept[self._tensor(places)]
            self.live[places] = False

    def _shrink(self, index: Tensor) -> Tensor:
        """Leave out the tableaus of ended rows where they are half of all; the others' places."""
        if 2 * len(index) > len(self.tables):
            return index
        self.tables.take(index)
        self.least, self.owner = self.least[index], self.owner[index.cpu().numpy()]
        self.live = np.ones(len(index), dtype=bool)
        return torch.arange(len(index), device=index.device)


class Device:
    """The engine (`one_swap.engine`) of a torch device. precision: of what rows begin with."""

    workers = 1

    def __init__(self, name: str, precision: str = "float64") -> None:
        self._name, self._dtype = name, _DTYPES[precision]
        with usable(name):
            self._device = torch.device(name)
            try_out(self)

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """See `Engine`; gram: H, scaled. Raises Refused where there is no room for one row."""
        self._groups = groups
        free = ASSUMED_MEMORY
        try:
            self._hessian = torch.from_numpy(gram).to(self._device)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
                free, _ = torch.cuda.mem_get_info(self._device)
        except torch.OutOfMemoryError:
            raise self._too_little() from None
        share = int(free * 2 * MEMORY_SHARE) // 8
        self._tile = min(LARGEST_TILE, int(free * MEMORY_SHARE) // 8 // 2)
        return max(1, min(rows, share // (TABLES * (len(gram) + 1) ** 2)))

    def descend(
        self, weight: Matrix, mask: Kept, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """See `Engine`."""
        try:
            target, kept = (torch.from_numpy(a.copy()).to(self._device) for a in (weight, mask))
            swaps: Counts = np.zeros(len(mask), dtype=np.int64)
            single = not 0 < self._groups.pruned < self._groups.size
            ended = dict.fromkeys(range(len(mask)), Stop.FINISHED)
            for dtype in () if single else dict.fromkeys((self._dtype, torch.float64)):
                hessian, own = self._hessian.to(dtype), target.to(dtype)
                tables = Tableaus(hessian, own, kept.clone(), self._groups.size)
                batch = _Batch(tables, kept, swaps, course, self._tile)
                ended = batch.run(max_swaps, deadline)
                del tables, batch
            losses = exact_losses(self._hessian, target, kept).tolist()
        except torch.OutOfMemoryError:
            raise self._too_little() from None
        for row, (found, loss) in enumerate(zip(kept.cpu().numpy(), losses, strict=True)):
            course.end(row, Kept(found), ended[row], loss, int(swaps[row]))
        return course.answers()

    def _too_little(self) -> Refused:
        return Refused(f"device '{self._name}' has too little memory for {self._groups.n} columns")
