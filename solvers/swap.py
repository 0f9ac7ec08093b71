"""1-swap local search (SparseSwaps, arXiv 2512.10922): the best exchange of every row, repeatedly.

From a warm start, each step of a row takes the pair of `solvers.swap_step` that lowers its loss
most. A row ends when no pair does (it is 1-swap optimal, which is not the optimum), or after
`max_swaps`. Rows are independent; those that have ended leave the batch.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from instances.errors import Refused
from instances.groups import Mask
from instances.layer import unit_exponent
from instances.problem import Problem
from solvers.base import Answer, Deadline, Limits, Stop, TracePoint
from solvers.scores import starting_masks
from solvers.swap_step import REFRESH_SWAPS, Rows

CPU_TILE = 1 << 22
"""Pairs formed at once on the CPU: 32 MB of float64."""

MEMORY_SHARE = 0.25
"""Share of a device's free memory that the pairs formed at once may take."""

BATCH_ROWS = 256


@dataclass(frozen=True)
class Swap:
    """warm_start: magnitude, wanda, ria, obs or random, unless the problem brings a mask.

    max_swaps: swaps per row at most; -1: to the end.
    """

    warm_start: str = "wanda"
    max_swaps: int = -1

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One answer a row, with its number of swaps and a trace of its loss.

        Raises Refused when the device cannot be used, InputError for an unknown warm start.
        """
        start = starting_masks(problem, self.warm_start, seed)
        if start is None:
            raise Refused("swap needs a start: magnitude, wanda, ria, obs, random or a mask")
        threads = torch.get_num_threads()
        torch.set_num_threads(limits.threads)
        try:
            return self._search(problem, start, limits)
        finally:
            torch.set_num_threads(threads)

    def _search(self, problem: Problem, start: Mask, limits: Limits) -> list[Answer]:
        with limits.journal.phase("warmup"):
            device = _device(limits.device)
        with limits.journal.phase("build"):
            gram, gram_exponent = problem.layer.gram_unit
            exponents = np.array([unit_exponent(float(np.abs(w).max())) for w in problem.weight])
            weight = np.ldexp(problem.weight, -exponents[:, None])
            on_device = torch.from_numpy(gram).to(device)
        answers: list[Answer] = []
        for first in range(0, len(problem), BATCH_ROWS):
            part = slice(first, first + BATCH_ROWS)
            rows = Rows.of(
                torch.from_numpy(weight[part]).to(device),
                on_device,
                torch.from_numpy(np.array(start[part])).to(device),
                problem.groups.size,
            )
            shifts = 2 * exponents[part] + gram_exponent
            answers += _descend(rows, shifts, self.max_swaps, limits.deadline, _tile(device))
        return answers


def _device(name: str) -> torch.device:
    """The device, set up by a first small operation. Raises Refused with one line."""
    try:
        device = torch.device(name)
        torch.zeros(2, dtype=torch.float64, device=device).sort()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(f"device '{name}' cannot be used: {first}") from None
    return device


def _tile(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_TILE
    free, _ = torch.cuda.mem_get_info(device)
    return max(CPU_TILE, int(free * MEMORY_SHARE) // 8)


def _descend(
    rows: Rows, shifts: np.ndarray, max_swaps: int, deadline: Deadline, tile: int
) -> list[Answer]:
    """Swap until every row has ended. shifts: (rows,) powers of two that scale the losses back."""
    begun = time.perf_counter()
    total = len(rows)
    final = rows.masks().cpu().numpy()
    swaps = np.zeros(total, dtype=int)
    stops = [Stop.FINISHED] * total
    traces: list[list[TracePoint]] = [[] for _ in range(total)]
    active = np.arange(total)
    step, note_at = 0, 0

    def note() -> None:
        now = time.perf_counter() - begun
        losses = np.ldexp(np.maximum(rows.losses().cpu().numpy(), 0.0), shifts[active])
        for row, loss in zip(active, losses, strict=True):
            if not traces[row] or loss < (traces[row][-1].objective or 0.0):
                traces[row].append(TracePoint(now, float(loss), None))

    def leave(ended: np.ndarray, why: Stop) -> None:
        """Take the rows at these places out of the batch."""
        nonlocal rows, active
        if not ended.any():
            return
        note()
        masks = rows.masks().cpu().numpy()
        for place in np.flatnonzero(ended):
            row = active[place]
            final[row], swaps[row], stops[row] = masks[place], step, why
        rest = torch.from_numpy(np.flatnonzero(~ended)).to(rows.weight.device)
        rows, active = rows.take(rest), active[~ended]

    if rows.pruned.shape[2] == 0 or rows.kept.shape[2] == 0:  # one legal mask
        leave(np.ones(total, dtype=bool), Stop.FINISHED)
    while len(active):
        if step == note_at:
            note()
            note_at = max(1, 2 * note_at)
        if deadline.expired():
            leave(np.ones(len(active), dtype=bool), deadline.stop())
            break
        if step == max_swaps:
            leave(np.ones(len(active), dtype=bool), Stop.ITERATIONS)
            break
        if step and step % REFRESH_SWAPS == 0:
            rows.refresh()
        delta, at_p, at_u = rows.best_swaps(tile)
        ended = (delta >= rows.threshold).cpu().numpy()
        if ended.any() and step % REFRESH_SWAPS:
            # a row ends on sums that carry no drift, whatever the others in its batch do
            place = torch.from_numpy(np.flatnonzero(ended)).to(rows.weight.device)
            again = rows.take(place)
            again.refresh()
            delta[place], at_p[place], at_u[place] = again.best_swaps(tile)
            rows.correlation[place] = again.correlation
            ended = (delta >= rows.threshold).cpu().numpy()
        if ended.any():
            going = torch.from_numpy(np.flatnonzero(~ended)).to(rows.weight.device)
            at_p, at_u = at_p[going], at_u[going]
            leave(ended, Stop.FINISHED)
        if len(active):
            rows.swap(at_p, at_u)
            step += 1
    return [
        Answer(
            final[row],
            stops[row],
            claimed_objective=traces[row][-1].objective if traces[row] else None,
            counters={"swaps": int(swaps[row])},
            trace=tuple(traces[row]),
        )
        for row in range(total)
    ]
