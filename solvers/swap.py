"""1-swap local search (SparseSwaps, arXiv 2512.10922): the best exchange of every row, repeatedly.

From a warm start, each step of a row takes the pair of `solvers.swap_step` that lowers its loss
most. A row ends when no pair does (it is 1-swap optimal, which is not the optimum), or after
`max_swaps`. Rows are independent; those that have ended leave the batch.

Weights and Gram are divided by powers of two, so the masks do not depend on their scale; losses
are multiplied back once. The loss claimed for a mask is summed afresh from the mask.

On the CPU each thread has batches of rows of its own: a row's bits do not depend on its batch, and
many small operations in a shared pool would spend their time at its barriers.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from instances.errors import Refused
from instances.groups import Mask
from instances.layer import unit_exponent
from instances.problem import Problem
from solvers.base import Answer, Deadline, Limits, Stop, TracePoint
from solvers.scores import starting_masks
from solvers.swap_step import REFRESH_SWAPS, Rows

CPU_TILE = 1 << 19
"""Pairs formed at once on the CPU: 4 MB of float64."""

CUDA_TILE = 1 << 28
"""Pairs formed at once on a CUDA device, at most: 2 GB of float64."""

MEMORY_SHARE = 0.25
"""Share of a device's free memory that the pairs formed at once may take."""

CPU_STEP = 1 << 27
CUDA_STEP = 1 << 34
"""Pairs of one step of a batch, at most; the deadline is looked at once a step."""

BATCH_ROWS = 1024


@dataclass(frozen=True)
class Swap:
    """warm_start: magnitude, wanda, ria, obs or random, unless the problem brings a mask.

    max_swaps: swaps per row at most; -1: to the end.
    """

    warm_start: str = "wanda"
    max_swaps: int = -1

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One answer a row, with its number of swaps and a trace of its loss.

        Rows whose turn has not come when the deadline ends keep their start and claim nothing.
        Raises Refused when the device cannot be used, InputError for an unknown warm start.
        """
        begun = time.perf_counter()
        start = starting_masks(problem, self.warm_start, seed)
        if start is None:
            raise Refused("swap needs a start: magnitude, wanda, ria, obs, random or a mask")
        threads = torch.get_num_threads()
        try:
            return self._search(problem, start, limits, begun)
        except torch.OutOfMemoryError:
            raise Refused(
                f"device '{limits.device}' has too little memory for {problem.layer.d_in} columns"
            ) from None
        finally:
            torch.set_num_threads(threads)

    def _search(self, problem: Problem, start: Mask, limits: Limits, begun: float) -> list[Answer]:
        torch.set_num_threads(1)
        with limits.journal.phase("warmup"):
            device = _device(limits.device)
        with limits.journal.phase("build"):
            gram_unit, gram_exponent = problem.layer.gram_unit
            exponents = np.array([unit_exponent(float(np.abs(w).max())) for w in problem.weight])
            weight = np.ldexp(problem.weight, -exponents[:, None])
            gram = torch.from_numpy(gram_unit).to(device)
        groups, tile, deadline = problem.groups, _tile(device), limits.deadline

        def descend(part: slice) -> list[Answer]:
            if deadline.expired():
                stop = deadline.stop()
                return [Answer(mask, stop, counters={"swaps": 0}) for mask in start[part].copy()]
            rows = Rows.of(
                torch.from_numpy(weight[part]).to(device),
                gram,
                torch.from_numpy(start[part].copy()).to(device),
                groups.size,
                tile,
            )
            batch = _Batch(rows, 2 * exponents[part] + gram_exponent, tile, begun)
            return batch.descend(self.max_swaps, deadline)

        workers = 1 if device.type == "cuda" else max(1, limits.threads)
        step_pairs = CUDA_STEP if device.type == "cuda" else CPU_STEP
        most = step_pairs // max(1, groups.total_pruned * groups.kept)
        height = max(1, min(BATCH_ROWS, most, -(-len(problem) // workers)))
        parts = [slice(first, first + height) for first in range(0, len(problem), height)]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return [answer for answers in pool.map(descend, parts) for answer in answers]


def _device(name: str) -> torch.device:
    """The device, set up by a small search. Raises Refused with one line."""
    try:
        device = torch.device(name)
        weight = torch.ones((1, 2), dtype=torch.float64, device=device)
        gram = torch.eye(2, dtype=torch.float64, device=device)
        mask = torch.tensor([[True, False]], device=device)
        rows = Rows.of(weight, gram, mask, 2, 1)
        _, p, u = rows.best_swaps(1)
        rows.swap(p, u)
        rows.losses().cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(f"device '{name}' cannot be used: {first}") from None
    return device


def _tile(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_TILE
    free, _ = torch.cuda.mem_get_info(device)
    return max(CPU_TILE, min(CUDA_TILE, int(free * MEMORY_SHARE) // 8))


class _Batch:
    """Rows that swap in step, and what is known of each.

    shifts: (rows,) powers of two that scale the losses back. begun: start of the run on the clock.
    """

    def __init__(self, rows: Rows, shifts: NDArray[np.int64], tile: int, begun: float) -> None:
        self.rows, self.shifts, self.tile, self.begun = rows, shifts, tile, begun
        self.active = np.arange(len(rows))
        self.step = 0
        self.least = torch.full_like(rows.threshold, torch.inf)
        self.traces: list[list[tuple[float, float]]] = [[] for _ in range(len(rows))]
        self.answers: dict[int, Answer] = {}

    def descend(self, max_swaps: int, deadline: Deadline) -> list[Answer]:
        """Swap until every row has ended; one answer a row."""
        note_at = 0
        self._leave(self.rows.mask.all(dim=1) | ~self.rows.mask.any(dim=1), Stop.FINISHED)
        while len(self.active):
            if self.step % REFRESH_SWAPS == 0:
                self._end_circles()
                if not len(self.active):
                    break
            if self.step == note_at:
                self._note(self.active, self._losses(self.rows, self.active))
                note_at = max(1, 2 * note_at)
            if self.step == max_swaps or deadline.expired():
                why = Stop.ITERATIONS if self.step == max_swaps else deadline.stop()
                self._leave(torch.ones_like(self.least, dtype=torch.bool), why)
                break
            p, u, ended = self._choose()
            self._leave(ended, Stop.FINISHED)
            self.rows.swap(p[~ended], u[~ended])
            self.step += 1
        return [self.answers[row] for row in range(len(self.traces))]

    def _end_circles(self) -> None:
        """Sum afresh; end the rows whose loss has not fallen since that was last done.

        A search whose freshly summed losses fall never comes back to a mask, so it ends whatever
        rounding does to single steps.
        """
        if self.step:
            self.rows.refresh(self.tile)
        losses = self.rows.losses()
        stuck = losses >= self.least
        self.least = losses
        self._leave(stuck, Stop.FINISHED)

    def _choose(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best pair (p, u) of each row, and which rows have no pair that improves.

        A row ends on freshly summed c, whatever the other rows of its batch do.
        """
        rows = self.rows
        change, p, u = rows.best_swaps(self.tile)
        if bool((change >= rows.threshold).any()):
            place = (change >= rows.threshold).nonzero()[:, 0]
            again = rows.take(place)
            again.refresh(self.tile)
            change[place], p[place], u[place] = again.best_swaps(self.tile)
            rows.correlation[place], rows.threshold[place] = again.correlation, again.threshold
        return p, u, change >= rows.threshold

    def _leave(self, ended: torch.Tensor, why: Stop) -> None:
        """Take rows out of the batch; their claimed loss is one of freshly summed c."""
        if not bool(ended.any()):
            return
        gone = self.rows.take(ended.nonzero()[:, 0])
        if why is not Stop.FINISHED:  # those have just been summed
            gone.refresh(self.tile)
        flags = ended.cpu().numpy()
        numbers = self.active[flags]
        losses = self._losses(gone, numbers)
        self._note(numbers, losses)
        for row, mask, loss in zip(numbers, gone.mask.cpu().numpy(), losses, strict=True):
            self.answers[int(row)] = Answer(
                mask,
                why,
                claimed_objective=float(loss),
                counters={"swaps": self.step},
                trace=tuple(TracePoint(s, value, None) for s, value in self.traces[row]),
            )
        rest = (~ended).nonzero()[:, 0]
        self.rows, self.least = self.rows.take(rest), self.least[rest]
        self.active = self.active[~flags]

    def _losses(self, rows: Rows, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Losses in units of the layer's loss."""
        losses: NDArray[np.float64] = rows.losses().clamp_(min=0.0).cpu().numpy()
        scaled: NDArray[np.float64] = np.ldexp(losses, self.shifts[numbers])
        return scaled

    def _note(self, numbers: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Add a point to the traces, in place of those that drift had put below it."""
        now = time.perf_counter() - self.begun
        for row, loss in zip(numbers, losses, strict=True):
            trace = self.traces[row]
            while trace and trace[-1][1] <= loss:
                trace.pop()
            trace.append((now, float(loss)))
