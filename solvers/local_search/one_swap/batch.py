"""1-swap search of many rows in step, on a torch device. Rows that have ended leave the batch."""

from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap import rule
from maskgap.solvers.local_search.one_swap.block import Tables
from maskgap.solvers.local_search.one_swap.course import Course, next_mark
from maskgap.solvers.local_search.one_swap.probe import try_out, usable
from maskgap.solvers.local_search.one_swap.tensors import Kernels, Plain, Rows, Shared
from maskgap.solvers.protocol import Answer, Deadline, Stop

MEMORY_SHARE = 0.25
"""Share of a device's free memory for the rows of a batch, and again for what a step forms."""

ASSUMED_MEMORY = 1 << 31
"""Bytes taken to be free on a device that does not say."""

ROW_VECTORS = 24
"""Vectors of n float64 that a row takes, about: its state twice, and what a step makes of it."""

LARGEST_TILE = 1 << 28
"""Numbers formed at once, at most."""


class Batch:
    """Rows that swap in step, and what is known of each. tile: numbers formed at once."""

    def __init__(self, rows: Rows, course: Course, tile: int) -> None:
        self.rows, self.course, self.tile = rows, course, tile
        self.active: NDArray[np.int64] = np.arange(len(rows))
        self.step = 0
        self.least = torch.full_like(rows.threshold, torch.inf)

    def descend(self, max_swaps: int, deadline: Deadline) -> list[Answer]:
        """Swap until every row has ended; one answer a row. max_swaps: -1 for no limit."""
        self._leave(self.rows.mask.all(dim=1) | ~self.rows.mask.any(dim=1), Stop.FINISHED)
        while len(self.active):
            if self.step % rule.REFRESH_SWAPS == 0:
                self._end_circles()
            if self.step == 0 or self.step == next_mark(self.step - 1):
                for row, loss in zip(self.active, self.rows.losses().tolist(), strict=True):
                    self.course.note(int(row), loss, self.step)
            if self.step == max_swaps or deadline.expired():
                why = Stop.ITERATIONS if self.step == max_swaps else deadline.stop()
                self._leave(torch.ones_like(self.least, dtype=torch.bool), why)
                break
            if not len(self.active):
                break
            p, u, ended = self._choose()
            if self._leave(ended, Stop.FINISHED):
                p, u = p[~ended], u[~ended]
            self.rows.swap(p, u)
            self.step += 1
        return self.course.answers()

    def _end_circles(self) -> None:
        """Sum afresh; end the rows whose loss has not fallen since that was last done.

        A search whose freshly summed losses fall never comes back to a mask, so it ends whatever
        rounding does to single steps.
        """
        if self.step:
            self.rows.refresh()
        losses = self.rows.losses()
        stuck = losses >= self.least
        self.least = losses
        self._leave(stuck, Stop.FINISHED)

    def _choose(self) -> tuple[Tensor, Tensor, Tensor]:
        """The best pair (p, u) of each row, and which rows have no pair that improves.

        A row ends on freshly summed c, whatever the other rows of its batch do.
        """
        rows = self.rows
        change, p, u = rows.best_swaps(self.tile)
        place = (change >= rows.threshold).nonzero()[:, 0]
        if len(place):
            again = rows.take(place)
            again.refresh()
            change[place], p[place], u[place] = again.best_swaps(self.tile)
            rows.correlation[place], rows.threshold[place] = again.correlation, again.threshold
        return p, u, change >= rows.threshold

    def _leave(self, ended: Tensor, why: Stop) -> bool:
        """Take rows out of the batch; their claimed loss is one of freshly summed c."""
        if not bool(ended.any()):
            return False
        gone = self.rows.take(ended.nonzero()[:, 0])
        if why is not Stop.FINISHED:  # those have just been summed
            gone.refresh()
        flags = ended.cpu().numpy()
        masks, losses = gone.mask.cpu().numpy(), gone.losses().tolist()
        for row, mask, loss in zip(self.active[flags].tolist(), masks, losses, strict=True):
            self.course.end(row, Kept(mask), why, loss, self.step)
        rest = (~ended).nonzero()[:, 0]
        self.rows, self.least = self.rows.take(rest), self.least[rest]
        self.active = self.active[~flags]
        return True


class Device:
    """The engine (`one_swap.engine`) that searches batches on a torch device."""

    workers = 1

    def __init__(self, name: str) -> None:
        self._name = name
        with usable(name):
            self._device = torch.device(name)
            self._kernels = _kernels(self._device)
            try_out(self)

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """See `Engine`."""
        tables = Tables.of(gram, groups)
        try:
            self._shared = Shared.of(tables, self._device)
        except torch.OutOfMemoryError:
            raise self._too_little(len(gram)) from None
        free = ASSUMED_MEMORY
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(self._device)
        share = int(free * MEMORY_SHARE) // 8
        self._tile = min(LARGEST_TILE, share)
        return max(1, min(rows, share // (ROW_VECTORS * len(gram))))

    def descend(
        self, weight: Matrix, mask: Kept, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """See `Engine`."""
        try:
            tensors = (torch.from_numpy(array).to(self._device) for array in (weight, mask))
            rows = Rows.of(self._shared, self._kernels, *tensors)
            return Batch(rows, course, self._tile).descend(max_swaps, deadline)
        except torch.OutOfMemoryError:
            raise self._too_little(weight.shape[1]) from None

    def _too_little(self, columns: int) -> Refused:
        return Refused(f"device '{self._name}' has too little memory for {columns} columns")


def _kernels(device: torch.device) -> Kernels:
    if device.type == "cuda" and find_spec("triton") is not None:
        from maskgap.solvers.local_search.one_swap.fused import Fused

        return Fused()
    return Plain()
