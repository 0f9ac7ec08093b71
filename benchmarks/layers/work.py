"""The work of bounding all rows of a layer, whatever its pattern.

Work goes in passes of growing cost (`benchmarks.layers.passes`): each is a run of one solver on
what is still open, in processes of their own; what a run claims is certified before it counts, and
of a run what is better than before is kept. Which parts a pass takes, in which order, and what is
kept of them is for the subclasses to say. One deadline covers all of it, compiling apart.

The state of the work is the proofs with their masks and the number of passes they have had: a later
call goes on from it. Work that is limited in runs goes pass by pass in an order that no clock has a
say in, and comes to the same end whether or not it was interrupted between runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from math import inf
from time import perf_counter
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from maskgap.benchmarks.layers.passes import DISTINCT_PASSES, Pass
from maskgap.benchmarks.layers.standing_rows import RowState, Total
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.judge import Judged, judge
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.runs.task import RunLimits, Task, wanted_of
from maskgap.benchmarks.verify.certificate import BoundKind, Certificate, Verdict, standing
from maskgap.benchmarks.verify.objective import Score
from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop

SUM_INTERVAL_S = 1.0
"""Time between looks at the sums: they take all rows."""

Aim = TypeVar("Aim")
"""What a run is for."""


class LayerWork(ABC):
    """The work on one layer: iterate to have it done; it yields when a run has ended.

    problem: its rows; its start masks, where it has some, are judged, not improved. limits: of all
    of it, with so many runs at a time as threads, and the relative gap at which a row is closed.
    runs: on a row, at most so many in all; None for no limit. held: proofs of an earlier call, by
    row, to go on from; what does not hold of them is not counted. executor: where runs take place;
    None: on this machine.

    enough: the relative gap of all rows together at which the work ends; None for no such end.

    weights: (rows, d_in), under refit, what has become of the weights that the start masks keep,
    which are judged as they are; None: the best there are.

    rejected: why proofs of an earlier call do not hold. judging: whether masks are given.
    under_way: in words, the run on all rows that goes on, if there is one.
    """

    def __init__(
        self,
        problem: Problem,
        limits: RunLimits,
        *,
        runs: int | None = None,
        held: Mapping[int, PartProof] | None = None,
        executor: Executor | None = None,
        weights: Matrix | None = None,
        enough: float | None = None,
    ) -> None:
        self.problem = replace(problem, layer=share(problem.layer))
        self.limits = limits
        self.weights = weights
        self.judging = problem.start is not None
        self.rejected: list[str] = []
        self.under_way = self._together = ""
        self._end = perf_counter() + limits.limit_s
        self._by_runs = runs is not None
        self._runs_left = inf if runs is None else runs
        self._enough, self._reached, self._summed = enough, False, -inf
        # modules are loaded once, before the first run: all that may be needed
        stages = list(islice(self._ladder(), DISTINCT_PASSES))
        targets = (registry.spec_of(stage.solver).target for stage in stages)
        self._pool = executor or Pool(limits.threads, 1)
        self._pool.preload(sorted({target.partition(":")[0] for target in targets}))
        objective = problem.objective.name
        self._pool.warm([wanted_of(one.solver, one.settings, objective) for one in stages])
        with _one_thread():
            self._begin(held or {})

    def __iter__(self) -> Iterator[object]:
        """Steps, as runs end, until the time, the runs or what is open come to an end."""
        with self._pool.watched(), _one_thread():  # between runs too
            self._end += self._pool.prepare()
            if self._is_enough():
                return
            for step in self._steps():
                if not self._pool.interrupted and self._is_enough():
                    self._reached = self._pool.interrupted = True  # ends the runs under way
                yield step

    def _is_enough(self) -> bool:
        """Whether the gap that was asked for is reached, by sums that are made now and then."""
        now = perf_counter()
        if self._enough is None or now - self._summed < SUM_INTERVAL_S:
            return False
        self._summed, gap = now, self.total.gap
        return gap is not None and gap <= self._enough

    def _steps(self) -> Iterator[object]:
        """Pass by pass."""
        for number, stage in enumerate(self._ladder(), start=1):
            if stage.looks_for_masks and self.judging:
                self._leave_out(number)
            elif not (yield from self._pass(number, stage)):
                return

    def watch(self, look: Callable[[], None]) -> None:
        """Have `look` called now and then while a run on all rows goes on."""
        if not isinstance(self._pool, Pool):
            return

        def progress(rows: int) -> None:
            self.under_way = f"{self._together}: {rows} rows" if self._together else ""
            look()

        self._pool.progress = progress

    @abstractmethod
    def _ladder(self) -> Iterator[Pass]:
        """The passes, without end."""

    @abstractmethod
    def _begin(self, held: Mapping[int, PartProof]) -> None:
        """Take up the start masks and what holds of an earlier call."""

    @abstractmethod
    def _leave_out(self, number: int) -> None:
        """Count a pass that is not needed."""

    @abstractmethod
    def _pass(self, number: int, stage: Pass) -> Generator[object, None, bool]:
        """Do a pass, unless an earlier call did; whether the work goes on after it."""

    @property
    @abstractmethod
    def total(self) -> Total:
        """The sums as they stand."""

    @property
    @abstractmethod
    def rows(self) -> list[RowState]:
        """Each row as it stands."""

    @abstractmethod
    def masks(self) -> Kept | None:
        """(rows, d_in) of the best masks; None while a row has none."""

    @abstractmethod
    def proofs(self) -> list[PartProof]:
        """The proofs as they stand, with masks and passes."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the work early."""
        return self._pool.interrupted and not self._reached

    @property
    def signal_number(self) -> int:
        """The signal that did."""
        return self._pool.signal_number

    def _over(self) -> bool:
        """Whether no run may begin any more."""
        return self._pool.interrupted or perf_counter() >= self._end

    def _threads_of(self, stage: Pass) -> int:
        """The threads of each run of a pass: all where it runs alone, else one, and many runs."""
        alone = self._alone(stage)
        self._together = stage.solver if alone else ""
        if alone:
            self._pool.jobs = 1
            return self._pool.threads(self.limits.threads)
        self._pool.jobs = self.limits.threads
        return 1

    def _alone(self, stage: Pass) -> bool:
        """Whether its runs are on many rows each, and one at a time: those of a device are."""
        batched = registry.spec_of(stage.solver).batched
        return batched and (stage.together or self.limits.device != "cpu")

    def _task(self, problem: Problem, stage: Pass, threads: int) -> Task:
        """A run in what is left of the time."""
        left = max(0.0, self._end - perf_counter())
        limits = replace(self.limits, limit_s=left, threads=threads)
        return Task(problem, stage.solver, stage.settings, limits)

    def _judged(
        self, aims: Iterable[Aim], task_of: Callable[[Aim], Task]
    ) -> Iterator[tuple[Aim, Judged]]:
        """Do a run for each aim while there is time; the aims with the answers as they come."""
        begun: list[tuple[Aim, Task]] = []

        def due() -> Iterator[Task]:
            for aim in aims:
                if self._over():
                    return
                begun.append((aim, task_of(aim)))
                yield begun[-1][1]

        for index, outcome in self._pool.outcomes(due()):
            aim, task = begun[index]
            for judged in judge(task, outcome):
                yield aim, judged

    def _starting_with(self, rows: range, masks: Kept) -> Kept:
        """(d_out, d_in) start masks of a problem of some rows. masks: (rows, d_in), of these."""
        start = Kept(np.ones(self.problem.layer.weight.shape, dtype=bool))
        start[rows.start : rows.stop] = masks
        return start

    def _certified(
        self,
        score: Score | None,
        bound: float,
        kind: BoundKind,
        wrong: str,
    ) -> Certificate:
        """The certificate of what stands. wrong: why an answer was, which is not forgotten."""
        found = standing(score, bound, kind, self.limits.gap)
        if wrong:
            found = replace(found, verdict=Verdict.WRONG, reason=wrong)
        return found


def _one_thread() -> AbstractContextManager[object]:
    """Certify on one thread: runs have the others, and on busy cores idle threads of BLAS spin."""
    found: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return found


def ended(judged: Judged) -> bool:
    """Whether a run came to its own end, so that the same again would give no more."""
    return judged.answer.stop not in (Stop.TIME, Stop.INTERRUPTED)
