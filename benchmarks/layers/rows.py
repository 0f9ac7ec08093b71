"""Bounding all rows of a layer: the best mask found and a checked lower bound, row by row.

The loss of a layer is the sum of its rows' losses L_i, so with a checked bound B_i for each row

    gap = (sum L_i - sum B_i) / sum L_i,

and time is best spent where it lowers sum (L_i - B_i) most. Work goes in passes of growing cost
(`benchmarks.layers.passes`): each takes the rows that are still open, the widest L_i - B_i first,
so that when time ends in the middle of a pass the rows that weigh most have had it. A pass is a run
of one solver on each row, in processes of their own; what it claims is certified before it counts,
and a row keeps the best mask and the best checked bound it ever had.

The state of the work is the proofs with their masks and the number of passes each row has had: a
later call goes on from it, and one that is limited in runs rather than seconds
comes to the same end whether or not it was interrupted between them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from math import inf
from time import perf_counter

import numpy as np

from maskgap.benchmarks.layers.passes import DISTINCT_PASSES, Pass, ladder
from maskgap.benchmarks.runs.child import Task
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.judge import Judged, judge
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.verify.certificate import (
    BoundKind,
    Certificate,
    Verdict,
    certify_part,
    gap_of,
    standing,
    summed,
    width_for,
)
from maskgap.benchmarks.verify.objective import Loss, losses_of
from maskgap.instances.arrays import Mask
from maskgap.instances.formats.proof import PartProof, ProofKind, trivial_proof
from maskgap.instances.problem import Part, Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop


@dataclass(eq=False)
class RowState:
    """What is known of a row. mask: the best, or the one to be judged; None before there is one.

    proof: of the highest bound, or None. passes: how many of the ladder it has had. certificate:
    of mask and proof. least: loss of the best mask seen, which no bound can pass; infinite without.
    wrong: why an answer of a run on it was wrong; empty when none was.
    """

    problem: Part
    mask: Mask | None
    proof: PartProof | None
    passes: int
    certificate: Certificate
    least: float = inf
    wrong: str = ""

    @property
    def width(self) -> float:
        """By how much the bound may still rise, as far as is known; infinite without a mask."""
        return self.least - self.certificate.bound


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over rows as a certificate has them. closed: how many rows are within the tolerance."""

    objective: float | None
    objective_low: float | None
    objective_high: float | None
    objective_eval: float | None
    bound: float
    bound_kind: BoundKind
    gap: float | None
    verdict: Verdict
    closed: int
    rows: int

    @staticmethod
    def of(sums: Certificate, closed: int, rows: int) -> "Total":
        """What a certificate of all rows together says."""
        return Total(
            sums.objective,
            sums.objective_low,
            sums.objective_high,
            sums.objective_eval,
            sums.bound,
            sums.bound_kind,
            sums.gap,
            sums.verdict,
            closed,
            rows,
        )


MOST_PASSES = 64
"""Passes of an earlier call that are believed: nothing proves that there were so many."""


def believed(proof: PartProof, stages: Iterator[Pass]) -> int:
    """How many passes a row may have had by its proof: of those that bound, none without a bound.

    A file can say anything, and a row that had them all would never be worked on.
    """
    bounds = proof.leaves is not None or proof.shared is not None or bool(proof.rows)
    if bounds or proof.kind is ProofKind.ENUMERATION:
        return min(proof.passes, MOST_PASSES)
    searches = sum(1 for _ in takewhile(lambda stage: stage.looks_for_masks, stages))
    return min(proof.passes, searches if proof.mask is not None else 0)


class LayerBound:
    """The work on one layer: iterate to have it done, a row at a time.

    problem: its rows; its start masks, where it has some, are judged, not improved. seconds: for
    all of it. threads: runs at a time. tolerance: relative gap at which a row is closed. runs: at
    most so many, None for no limit. held: proofs of an earlier call, by row, to go on from; what
    does not hold of them is not counted. executor: where runs take place; None: on this machine.
    """

    def __init__(
        self,
        problem: Problem,
        seconds: float,
        threads: int,
        device: str = "cpu",
        tolerance: float = 1e-6,
        seed: int = 0,
        runs: int | None = None,
        held: Mapping[int, PartProof] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.problem = replace(problem, layer=share(problem.layer))
        self.judging = problem.start is not None
        self.threads, self.device, self.tolerance, self.seed = threads, device, tolerance, seed
        self._end = perf_counter() + seconds
        self._runs_left = inf if runs is None else runs
        # modules are loaded once, before the first run: all that may be needed
        stages = list(islice(ladder(problem.layer.d_in), DISTINCT_PASSES))
        targets = (registry.spec_of(stage.solver).target for stage in stages)
        self._pool = executor or Pool(threads, 1)
        self._pool.preload(sorted({target.partition(":")[0] for target in targets}))
        self._pool.warm([(stage.solver, stage.settings) for stage in stages])
        self.rejected: list[str] = []  # why proofs of an earlier call do not hold
        self.rows = [self._state(row, (held or {}).get(row.row)) for row in self.problem]
        self._settle()

    def _state(self, row: Part, proof: PartProof | None) -> RowState:
        """What an earlier call knew of a row: nothing of a proof counts that does not hold."""
        found = certify_part(row, None, proof=proof)
        if found.bound_kind is not BoundKind.CHECKED:
            proof = None
        if proof is not None and proof.kind is ProofKind.TRIVIAL:
            found = replace(found, bound_kind=BoundKind.TRIVIAL)
        elif proof is None and found.reason:
            self.rejected.append(f"row {row.row}: {found.reason}")
        mask = row.start if self.judging or proof is None else proof.mask
        passes = 0 if proof is None else believed(proof, ladder(self.problem.layer.d_in))
        held = None if found.bound_kind is BoundKind.TRIVIAL else proof
        return RowState(row, mask, held, passes, found)

    def _settle(self) -> None:
        """Recompute the losses of all masks together, so that their bits depend on the masks alone.

        In one product with the Gram, the last bits of a row depend on the rows beside it.
        """
        masks = np.ones((len(self.rows), self.problem.layer.d_in), dtype=bool)
        for place, state in enumerate(self.rows):
            if state.mask is not None:
                masks[place] = state.mask
        held_out = self.problem.layer.gram_eval
        losses = losses_of(self.problem, masks, width_for(self.tolerance))
        losses_eval = None if held_out is None else self.problem.losses(masks, held_out)
        for place, state in enumerate(self.rows):
            if state.mask is not None:
                objective_eval = None if losses_eval is None else float(losses_eval[place])
                bound, kind = state.certificate.bound, state.certificate.bound_kind
                self._stand(state, losses[place], objective_eval, bound, kind)
                state.least = min(state.least, losses[place].high)

    @property
    def total(self) -> Total:
        """The sums as they stand."""
        sums = summed([state.certificate for state in self.rows])
        return Total.of(sums, sum(self._closed(state) for state in self.rows), len(self.rows))

    def proofs(self) -> list[PartProof]:
        """The proofs of all rows, each with the row's mask and passes; of some, the trivial one."""
        return [
            replace(
                state.proof or trivial_proof(state.problem), mask=state.mask, passes=state.passes
            )
            for state in self.rows
        ]

    def masks(self) -> Mask | None:
        """(rows, n) of the best masks, True = kept; None while a row has none."""
        masks = [state.mask for state in self.rows if state.mask is not None]
        return np.stack(masks) if len(masks) == len(self.rows) else None

    def __iter__(self) -> Iterator[RowState]:
        """Rows as runs on them end, until the time, the runs or the open rows come to an end."""
        with self._pool.watched():  # between runs too
            self._end += self._pool.prepare()
            yield from self._passes()

    def _passes(self) -> Iterator[RowState]:
        for number, stage in enumerate(ladder(self.problem.layer.d_in), start=1):
            todo = [s for s in self.rows if s.passes < number and not self._done(s)]
            if stage.looks_for_masks and self.judging:
                for state in todo:
                    state.passes = number
                continue
            todo.sort(key=lambda state: -state.width)  # stable: equal ones in row order
            yield from self._pass(stage, number, todo)
            self._settle()
            if self._over() or all(self._done(state) for state in self.rows):
                return

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the work early."""
        return self._pool.interrupted

    @property
    def signal_number(self) -> int:
        """The signal that did."""
        return self._pool.signal_number

    def _over(self) -> bool:
        return self.interrupted or perf_counter() >= self._end or self._runs_left <= 0

    def _closed(self, state: RowState) -> bool:
        """Whether the bound has come as near to a mask as is asked for: to the best one seen."""
        gap = gap_of(state.least, state.certificate.bound)
        return gap is not None and gap <= self.tolerance

    def _done(self, state: RowState) -> bool:
        """Whether no work can change what is known of a row."""
        loss = state.certificate.loss
        return self._closed(state) or (loss is not None and loss.unresolved)

    def _pass(self, stage: Pass, number: int, todo: list[RowState]) -> Iterator[RowState]:
        spec = registry.spec_of(stage.solver)
        at_once = self._pool.threads(self.threads)
        self._pool.jobs, threads = (1, at_once) if spec.batched else (self.threads, 1)
        states = {state.problem.row: state for state in todo}
        parts = _ranges(states) if spec.batched else [range(row, row + 1) for row in states]
        tasks: list[Task] = []

        def due() -> Iterator[Task]:
            for rows in parts:
                if self._over():
                    return
                self._runs_left -= len(rows)
                tasks.append(self._task(stage, rows, states, threads))
                yield tasks[-1]

        for index, outcome in self._pool.outcomes(due()):
            for judged in judge(tasks[index], outcome):
                state = states[judged.problem.row]
                self._keep(state, judged)
                if judged.answer.stop not in (Stop.TIME, Stop.INTERRUPTED):
                    state.passes = number
                yield state

    def _task(self, stage: Pass, rows: range, states: Mapping[int, RowState], threads: int) -> Task:
        start = None
        if stage.takes_masks and all(states[row].mask is not None for row in rows):
            start = np.ones(self.problem.layer.weight.shape, dtype=bool)
            for row in rows:
                start[row] = states[row].mask
        return Task(
            replace(self.problem, rows=rows, start=start),
            stage.solver,
            stage.settings,
            self.seed,
            max(0.0, self._end - perf_counter()),
            self.tolerance,
            threads,
            self.device,
        )

    def _keep(self, state: RowState, judged: Judged) -> None:
        """Keep of a run what is better than what the row has."""
        held, found = state.certificate, judged.certificate
        loss, held_out = held.loss, held.objective_eval
        bound, kind = held.bound, held.bound_kind
        better = found.loss is not None and (loss is None or found.loss.value < loss.value)
        if better and not self.judging:
            state.mask = judged.answer.mask
            loss, held_out = found.loss, found.objective_eval
        if found.loss is not None:
            state.least = min(state.least, found.loss.high)
        higher = state.proof is None or found.bound > bound
        if found.bound_kind is BoundKind.CHECKED and higher:
            state.proof = judged.answer.proof
            bound, kind = found.bound, found.bound_kind
        if found.verdict is Verdict.WRONG:
            state.wrong = state.wrong or found.reason
        self._stand(state, loss, held_out, bound, kind)

    def _stand(
        self,
        state: RowState,
        loss: Loss | None,
        objective_eval: float | None,
        bound: float,
        kind: BoundKind,
    ) -> None:
        """Certify what the row has; a wrong answer is not forgotten for what comes after it."""
        found = standing(loss, objective_eval, bound, kind, self.tolerance)
        if state.wrong:
            found = replace(found, verdict=Verdict.WRONG, reason=state.wrong)
        state.certificate = found


def _ranges(rows: Iterable[int]) -> list[range]:
    """The rows as ranges of neighbours: what batched solvers are given."""
    found: list[range] = []
    for row in sorted(rows):
        if found and found[-1].stop == row:
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found
