"""1-swap local search of rows that share one budget (`layer:P%`).

The neighbours of a mask exchange one pruned and one kept weight anywhere in the layer. Exchanges
within a row are those of the search of single rows, at the budget that the row has; those between
rows move the budget (`solvers.local_search.one_swap.between`). They take turns until neither finds
any: the mask is then 1-swap optimal for the layer. Losses of different rows are compared, so all
weights are divided by one power of two.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, pruned_of
from maskgap.instances.layer import unit_exponent
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part
from maskgap.solvers.local_search.one_swap import rule
from maskgap.solvers.local_search.one_swap.between import exchange, total_loss
from maskgap.solvers.local_search.one_swap.block import Processor
from maskgap.solvers.local_search.one_swap.compiled import sum_afresh
from maskgap.solvers.local_search.one_swap.course import Course
from maskgap.solvers.protocol import Answer, Limits, Stop, TracePoint

CALL_EXCHANGES = 4096
"""Exchanges in one call: the clock is looked at and c summed afresh between calls."""


def descend_part(part: Part, start: Kept, limits: Limits, max_swaps: int) -> Answer:
    """Search from a legal mask (n,) of all rows; one answer, in units of the layer's loss.

    max_swaps: exchanges per row at most, in all; -1 for no limit.
    """
    begun = time.perf_counter()
    engine = Processor(limits.threads)
    with limits.journal.phase("build"):
        gram, gram_exponent = part.layer.gram_unit
        exponent = unit_exponent(float(np.abs(part.weight).max()))
        weight = np.ldexp(part.weight, -exponent).reshape(part.height, -1)
        height = engine.load(gram, BudgetGroups(len(gram), len(gram), 0), part.height)
    shift = 2 * exponent + gram_exponent
    mask = Kept(start.reshape(weight.shape).copy())
    most = np.iinfo(np.int64).max if max_swaps < 0 else max_swaps * part.height
    search = _Search(engine, height, weight, gram, limits)
    trace: list[TracePoint] = []

    def note() -> float:
        value = float(np.ldexp(max(0.0, search.loss), shift))
        trace.append(TracePoint(time.perf_counter() - begun, value, None, search.swaps))
        limits.journal.incumbent(Kept(mask.reshape(-1).copy()), value)
        return value

    stop = search.run(mask, most, note)
    return Answer(
        Kept(mask.reshape(-1)),
        stop,
        claimed_objective=note(),
        counters={"swaps": search.swaps},
        trace=tuple(trace),
    )


class _Search:
    """Turns of exchanges within rows and between them. loss: scaled, of the mask. swaps: made."""

    def __init__(
        self, engine: Processor, height: int, weight: Matrix, gram: Matrix, limits: Limits
    ) -> None:
        self.engine, self.height, self.weight, self.gram = engine, height, weight, gram
        self.deadline, self.journal = limits.deadline, limits.journal
        self.square = weight**2 * gram.diagonal()
        self.correlation = np.empty_like(weight)
        self.loss, self.swaps = np.inf, 0

    def run(self, mask: Kept, most: int, note: Callable[[], float]) -> Stop:
        """Search until no exchange improves or a limit ends it; mask (rows, n) is changed."""
        self._sum(mask)
        while True:
            note()
            if self.swaps >= most:
                return Stop.ITERATIONS
            if self.deadline.expired():
                return self.deadline.stop()
            before = self.loss
            self._within(mask, (most - self.swaps) // len(mask))
            between = self._between(mask, most)
            if between == 0 or not self.loss < before:
                if self.deadline.expired():
                    return self.deadline.stop()
                return Stop.FINISHED if self.swaps < most else Stop.ITERATIONS

    def _sum(self, mask: Kept) -> None:
        sum_afresh(self.weight, self.gram, mask, self.correlation)
        self.loss = total_loss(self.weight, mask, self.correlation)

    def _within(self, mask: Kept, most: int) -> None:
        """Each row to its end, `most` swaps at most."""
        limit = -1 if most > 1 << 40 else most

        def descend(part: slice) -> int:
            if self.deadline.expired():
                return 0
            weight = self.weight[part]
            course = Course(np.zeros(len(weight), dtype=np.int64), 0.0)
            own = Kept(mask[part].copy())
            answers = self.engine.descend(weight, own, course, limit, self.deadline)
            mask[part] = own
            return sum(answer.counters["swaps"] for answer in answers)

        parts = [slice(top, top + self.height) for top in range(0, len(self.weight), self.height)]
        with ThreadPoolExecutor(self.engine.workers) as pool:
            self.swaps += sum(pool.map(descend, parts))
        self._sum(mask)

    def _between(self, mask: Kept, most: int) -> int:
        """Exchanges between rows until none is left; how many."""
        made = 0
        while not self.deadline.expired() and self.swaps < most:
            before = self.loss
            size = float(self.square[pruned_of(mask)].sum())
            count = exchange(
                self.weight,
                self.gram,
                self.square,
                mask,
                self.correlation,
                threshold=-rule.IMPROVEMENT * size,
                most=min(CALL_EXCHANGES, most - self.swaps),
            )
            self.swaps += count
            made += count
            self._sum(mask)
            if count == 0 or not self.loss < before:
                break
        return made
