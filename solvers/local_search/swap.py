"""1-swap local search (SparseSwaps, arXiv 2512.10922): the best exchange of every row, repeatedly.

From a warm start, each step of a row takes the pair of `solvers.local_search.one_swap.rule` that
lowers its loss most. A row ends when no pair does (it is 1-swap optimal, which is not the optimum),
or after `max_swaps`. Rows are independent, and a row's mask is the same in any batch, with any
number of threads, and on any device, but for exact ties that a device's loss sums decide (whether a
search that gets no better has ended).

Weights and Gram are divided by powers of two, so the masks do not depend on their scale; losses
are multiplied back once. The loss claimed for a mask is summed afresh from the mask.

On the processor each thread has blocks of rows of its own, and nothing but a few vectors a row is
allocated beyond W and G. On another device rows swap in step, as many together as a share of its
free memory takes.

Under objective refit a swap is judged by the loss of re-optimised weights, exactly
(`solvers.local_search.refit_swap`): a row then has a matrix of its own, an exchange costs n^2, and
a row's mask may differ with its device where losses tie to rounding.

Patterns that couple rows or have side constraints are searched part by part on the processor, each
by the moves that keep its masks legal (`solvers.local_search.neighbours`): a swap is then one such
move. Rows that share one budget exchange within and between them
(`solvers.local_search.one_swap.shared_budget`).
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import Refused
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import unit_rows
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.local_search.neighbours.answer import search_part
from maskgap.solvers.local_search.one_swap import between, block
from maskgap.solvers.local_search.one_swap.course import Course
from maskgap.solvers.local_search.one_swap.engine import Engine
from maskgap.solvers.local_search.one_swap.shared_budget import descend_part
from maskgap.solvers.local_search.refit_swap import walker
from maskgap.solvers.local_search.terms import Loss, Terms, masks_of
from maskgap.solvers.one_shot.scores import starting_masks
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import Limit, WarmStart, settings


@settings
class Swap:
    """The best exchange of every row, repeatedly."""

    warm_start: WarmStart = "wanda"
    """Score of the mask to start from, unless one is given."""
    max_swaps: Limit = -1
    """Swaps per row at most; -1: to the end; 0: none, and the loss is not summed."""
    loss: Loss = "objective"
    """What swaps go by under objective refit: its loss, or that of a mask whose weights stay."""
    precision: Literal["float64", "float32"] = "float64"
    """Numbers that a device begins with under objective refit; it ends with float64."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        if objective is ObjectiveName.MASK or self.loss == "mask":
            return block.warm_up, improve.warm_up, cycles.warm_up, between.warm_up
        return (walker.warm_up,)

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One answer a row, with its number of swaps and a trace of its loss.

        Rows whose turn has not come when the deadline ends keep their start and claim nothing.
        Raises Refused without a start, or when the device cannot be used.
        """
        if problem.objective.refits and self.loss == "mask":
            return masks_of(self, problem, limits, seed)
        begun = time.perf_counter()
        start = starting_masks(problem, self.warm_start, seed)
        if start is None:
            raise Refused("swap needs a start: magnitude, wanda, ria, obs, random or a mask")
        if not problem.pattern.equal_rows:
            return self._parts(problem, start, limits, seed, begun)
        if not self.max_swaps and not problem.objective.refits:
            nothing = [Answer(Kept(mask), Stop.ITERATIONS, counters={"swaps": 0}) for mask in start]
            limits.journal.answered(0, nothing)
            return nothing
        with limits.journal.phase("warmup"):
            engine = self._engine(problem, limits)
        return self._search(engine, problem, start, limits, begun)

    def _engine(self, problem: Problem, limits: Limits) -> Engine:
        """The engine of a device, compiled or opened by a small search. Raises Refused."""
        processor, refits = limits.device == "cpu", problem.objective.refits
        if refits and processor:
            from maskgap.solvers.local_search.refit_swap import rows

            return rows.Processor(limits.threads)
        if refits:
            from maskgap.solvers.local_search.refit_swap import batch as refit_batch

            return refit_batch.Device(limits.device, self.precision)
        if processor:
            from maskgap.solvers.local_search.one_swap import block

            return block.Processor(limits.threads)
        from maskgap.solvers.local_search.one_swap import batch

        return batch.Device(limits.device)

    def _search(
        self, engine: Engine, problem: Problem, start: Kept, limits: Limits, begun: float
    ) -> list[Answer]:
        with limits.journal.phase("build"):
            objective = problem.objective
            gram, gram_exponent = (
                Hessian.of(problem.layer, objective.ridge).unit
                if objective.refits
                else problem.layer.gram_unit
            )
            weight, exponents = unit_rows(problem.weight)
            shifts = 2 * exponents + gram_exponent
            height = engine.load(gram, problem.groups, len(problem))
        deadline = limits.deadline

        def descend(part: slice) -> list[Answer]:
            if deadline.expired():
                stop = deadline.stop()
                return [
                    Answer(Kept(mask), stop, counters={"swaps": 0}) for mask in start[part].copy()
                ]
            course = Course(shifts[part], begun)
            answers = engine.descend(
                weight[part], Kept(start[part].copy()), course, self.max_swaps, deadline
            )
            limits.journal.answered(part.start, answers)
            return answers

        parts = [slice(first, first + height) for first in range(0, len(problem), height)]
        with ThreadPoolExecutor(engine.workers) as pool:
            return [answer for answers in pool.map(descend, parts) for answer in answers]

    def _parts(
        self, problem: Problem, start: Kept, limits: Limits, seed: int, begun: float
    ) -> list[Answer]:
        """One answer a part; see `solve_rows`."""
        if limits.device != "cpu":
            raise Refused(
                f"swap takes '{problem.pattern.text}' on the processor only, not on {limits.device}"
            )
        if problem.pattern.one_budget and not problem.objective.refits:
            (whole,) = problem
            return [descend_part(whole, Kept(start[0]), limits, self.max_swaps)]

        def go(part: Part, own: Kept) -> Answer:
            terms = Terms(own, [seed, part.row], 1, self.max_swaps)
            answer = search_part(part, terms, limits.deadline, begun)
            limits.journal.rows_done(part.height)
            return answer

        with ThreadPoolExecutor(max(1, min(limits.threads, len(problem)))) as pool:
            return list(pool.map(go, problem, start))
