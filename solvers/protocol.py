"""What a solver is given and what it returns.

A solver minimises the scaled loss z^T Q z of a row over legal masks, or where it takes the
objective refit, the loss of re-optimised weights, under one absolute deadline that covers building
the model too. It knows no file, no plot and no clock but that deadline. It returns an `Answer`
whose numbers are claims: only the certificate makes numbers that are reported. Row solvers work in
the units of `Part.scaled_loss`; batch solvers in those of the layer's loss.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.kernels.cache import COMPILING, clock


class Stop(StrEnum):
    """Why a run ended. None of these says that an answer is optimal."""

    FINISHED = "finished"
    GAP = "gap"
    TIME = "time"
    NODES = "nodes"
    ITERATIONS = "iterations"
    MEMORY = "memory"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    CRASHED = "crashed"


class Deadline:
    """An absolute end on the monotonic clock, shared by all stages; an interrupt moves it up.

    Time in which kernels are compiled does not count (`solvers.kernels.cache.clock`).
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.interrupted = False
        self.restart()

    def restart(self) -> None:
        """Start the clock now; an interrupt that has come stays."""
        self._end = clock() + self._seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if self.interrupted else max(0.0, self._end - clock())

    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.remaining() <= 0.0

    def interrupt(self) -> None:
        """End the run at its next look at the deadline."""
        self.interrupted = True

    def stop(self) -> Stop:
        """The reason to give when this deadline ended the run."""
        return Stop.INTERRUPTED if self.interrupted else Stop.TIME


@dataclass(frozen=True, slots=True)
class TracePoint:
    """A moment of a run: seconds since its start, best objective and bound claimed by then.

    swaps: exchanges made by then, from a solver that counts them; else None.
    """

    seconds: float
    objective: float | None
    bound: float | None
    swaps: int | None = None


class Journal:
    """What a run notes while it goes on: incumbents, bounds, counters and the time of each phase.

    `listener` is called with each improving mask and objective, and with each bound (mask None),
    so that what a killed run had found is kept. `progress` is called with the number of rows that a
    batch solver has done so far, and `rows` with answers of its rows from a place on, for the same
    end; they may be called from any thread.
    """

    def __init__(
        self,
        listener: Callable[[Kept | None, float], None] | None = None,
        progress: Callable[[int], None] | None = None,
        rows: Callable[[int, "Sequence[Answer]"], None] | None = None,
    ) -> None:
        self._start = clock()
        self._listener, self._progress, self._answers = listener, progress, rows
        self._rows, self._lock = 0, threading.Lock()
        self.points: list[TracePoint] = []
        self.phases: dict[str, float] = {}

    def _last(self) -> TracePoint:
        return self.points[-1] if self.points else TracePoint(0.0, None, None)

    def _note(self, objective: float | None, bound: float | None) -> None:
        self.points.append(TracePoint(clock() - self._start, objective, bound))

    def incumbent(self, mask: Kept, objective: float) -> None:
        """Note a legal mask; kept only when it improves on the last."""
        last = self._last()
        if last.objective is None or objective < last.objective:
            self._note(objective, last.bound)
            if self._listener is not None:
                self._listener(mask, objective)

    def bound(self, bound: float) -> None:
        """Note a lower bound; kept only when it improves on the last."""
        last = self._last()
        if last.bound is None or bound > last.bound:
            self._note(last.objective, bound)
            if self._listener is not None:
                self._listener(None, bound)

    def rows_done(self, count: int) -> None:
        """Note that a batch solver is through with some more rows."""
        with self._lock:
            self._rows += count
            if self._progress is not None:
                self._progress(self._rows)

    def answered(self, first: int, answers: "Sequence[Answer]") -> None:
        """Note the answers of the parts from the 0-based `first` on, and that they are done."""
        if self._answers is not None:
            self._answers(first, answers)
        self.rows_done(len(answers))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a phase: 'build' (scaling, SDP, model) or 'warmup'.

        Compilation of kernels belongs to 'warmup' wherever it takes place.
        """
        start = clock()
        try:
            yield
        finally:
            spent = clock() - start
            self.phases[name] = self.phases.get(name, 0.0) + spent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use.

    deadline: absolute, for all stages. gap: relative gap at which a proving solver may stop.
    threads: at most so many. device: a torch device. journal: where the run reports. log: whether
    the solver writes its own log to standard output.
    """

    deadline: Deadline
    gap: float = 1e-6
    threads: int = 1
    device: str = "cpu"
    log: bool = False
    journal: Journal = field(default_factory=Journal)


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """What a solver says.

    mask: (n,), or None when it has none. claimed_objective, claimed_bound: its own words, or None.
    counters: nodes, swaps, oracle_calls where they apply. notes: facts for the record (damping
    used, native status). proof: a proof of its bound, or None. weights: under refit, (n,) float64,
    what the solver made of the weights that stay, in units of the layer's, 0 where pruned; None
    where it leaves that to others.
    """

    mask: Kept | None
    stop: Stop
    claimed_objective: float | None = None
    claimed_bound: float | None = None
    counters: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str | float] = field(default_factory=dict)
    proof: PartProof | None = None
    weights: Vector | None = None
    trace: tuple[TracePoint, ...] = ()
    build_s: float = 0.0
    warmup_s: float = 0.0
    solve_s: float = 0.0

    def __repr__(self) -> str:
        if self.mask is None:
            return f"Answer(no mask, {self.stop})"
        pruned = int(pruned_of(self.mask).sum())
        return f"Answer(mask of {self.mask.size}, {pruned} pruned, {self.stop})"


class Solver(Protocol):
    """Solves one row. One with compiled kernels is a `Compiled` too."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Answer in the units of `problem.scaled_loss`.

        Raises Refused for a problem it does not take.
        """
        ...


ROWS_ON_CPU = 4
"""Rows that are best solved together there: more gain little, and give no answers meanwhile."""


class BatchSolver(Protocol):
    """Solves all rows of a problem at once."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One answer a row, in units of the layer's loss. Raises Refused."""
        ...


@runtime_checkable
class Compiled(Protocol):
    """A solver with compiled kernels, which are compiled off every clock before it is called.

    A solver called without that compiles them when it comes to them, and its deadline stands still.
    """

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """Functions that compile the kernels a solver with these settings calls, no others.

        objective: what it minimises. Each loads what is kept compiled already. They do not need
        each other, so that several processes may have a share each; what takes longest comes first.
        """
        ...


def warm_up(solver: object, objective: ObjectiveName) -> None:
    """Compile the kernels of a solver, or load them; nothing for one without kernels."""
    for compile_or_load in solver.warm_ups(objective) if isinstance(solver, Compiled) else ():
        compile_or_load()


def solve_part(solver: Solver, problem: Part, limits: Limits, seed: int) -> Answer:
    """Run a row solver, time its phases, and scale its claims back once."""
    start, compiled = clock(), COMPILING.seconds()
    answer = solver.solve(problem, limits, seed)
    spent, compiled = clock() - start, COMPILING.seconds() - compiled

    def back(value: float | None) -> float | None:
        return None if value is None else problem.rescale(value)

    return replace(
        _timed(answer, limits.journal, spent, compiled),
        claimed_objective=back(answer.claimed_objective),
        claimed_bound=back(answer.claimed_bound),
        trace=tuple(
            TracePoint(p.seconds, back(p.objective), back(p.bound)) for p in limits.journal.points
        ),
    )


def solve_batch(solver: BatchSolver, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
    """Run a batch solver; the times of the batch are repeated in each of its rows."""
    start, compiled = clock(), COMPILING.seconds()
    answers = solver.solve_rows(problem, limits, seed)
    spent, compiled = clock() - start, COMPILING.seconds() - compiled
    return [_timed(answer, limits.journal, spent, compiled) for answer in answers]


def _timed(answer: Answer, journal: Journal, spent: float, compiled: float) -> Answer:
    """The answer with its times. spent: seconds in all but those of compilation (compiled)."""
    build, warmup = journal.phases.get("build", 0.0), journal.phases.get("warmup", 0.0)
    return replace(
        answer,
        build_s=build,
        warmup_s=warmup + compiled,
        solve_s=max(0.0, spent - build - warmup),
    )
