"""Bounding all rows of a layer: the best mask found and a checked lower bound, row by row.

The loss of a layer is the sum of its rows' losses L_i, so with a checked bound B_i for each row

    gap = (sum L_i - sum B_i) / sum L_i,

and time is best spent where it lowers sum (L_i - B_i) most. A pass takes the rows that are still
open, the widest L_i - B_i first, so that when time ends in the middle of a pass the rows that weigh
most have had it. A row keeps the best mask and the best checked bound it ever had.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from maskgap.benchmarks.layers.passes import Pass, believed, ladder, refit_ladder
from maskgap.benchmarks.layers.standing_rows import RowState, Total
from maskgap.benchmarks.layers.work import LayerWork, ended
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.runs.task import Task
from maskgap.benchmarks.verify.certificate import (
    BoundKind,
    Verdict,
    certify_part,
    gap_of,
    summed,
    width_for,
)
from maskgap.benchmarks.verify.objective import scores_of
from maskgap.instances.arrays import Kept
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers import registry


class LayerBound(LayerWork):
    """The work on a layer of independent rows, a row at a time. A step is the state of a row."""

    def _ladder(self) -> Iterator[Pass]:
        n = self.problem.layer.d_in
        return refit_ladder(n) if self.problem.objective.refits else ladder(n)

    def _begin(self, held: Mapping[int, PartProof]) -> None:
        self._rows = [self._state(part, held.get(part.row)) for part in self.problem]
        self._settle()

    def _state(self, part: Part, proof: PartProof | None) -> RowState:
        """What an earlier call knew of a row: nothing of a proof counts that does not hold."""
        found = certify_part(part, None, proof=proof)
        if found.bound_kind is not BoundKind.CHECKED:
            proof = None
        if proof is not None and not proof.evidence.proves:
            found = replace(found, bound_kind=BoundKind.TRIVIAL)
        elif proof is None and found.reason:
            self.rejected.append(f"row {part.row}: {found.reason}")
        mask = part.start if self.judging or proof is None else proof.mask
        passes = 0 if proof is None else believed(proof, self._ladder())
        held = None if found.bound_kind is BoundKind.TRIVIAL else proof
        return RowState(part, mask, held, passes, found)

    def _settle(self) -> None:
        """Recompute the losses of all masks together, so that their bits depend on the masks alone.

        In one product with the Gram, the last bits of a row depend on the rows beside it.
        """
        masks = Kept(np.ones((len(self._rows), self.problem.layer.d_in), dtype=bool))
        for place, state in enumerate(self._rows):
            if state.mask is not None:
                masks[place] = state.mask
        scores = scores_of(self.problem, masks, width_for(self.limits.gap), self.weights)
        for state, score in zip(self._rows, scores, strict=True):
            if state.mask is not None:
                bound, kind = state.certificate.bound, state.certificate.bound_kind
                state.certificate = self._certified(score, bound, kind, state.wrong)
                state.least = min(state.least, score.loss.high)

    @property
    def rows(self) -> list[RowState]:
        """Each row as it stands."""
        return self._rows

    @property
    def total(self) -> Total:
        """The sums as they stand."""
        sums = summed([state.certificate for state in self._rows])
        return Total.of(sums, sum(self._closed(state) for state in self._rows), len(self._rows))

    def proofs(self) -> list[PartProof]:
        """The proofs of all rows, each with the row's mask and passes; of some, the trivial one."""
        return [
            replace(
                state.proof or trivial_proof(state.problem), mask=state.mask, passes=state.passes
            )
            for state in self._rows
        ]

    def masks(self) -> Kept | None:
        """(rows, d_in) of the best masks; None while a row has none."""
        masks = [state.mask for state in self._rows if state.mask is not None]
        return Kept(np.stack(masks)) if len(masks) == len(self._rows) else None

    def _over(self) -> bool:
        return super()._over() or self._runs_left <= 0

    def _closed(self, state: RowState) -> bool:
        """Whether the bound has come as near to a mask as is asked for: to the best one seen."""
        gap = gap_of(state.least, state.certificate.bound)
        return gap is not None and gap <= self.limits.gap

    def _done(self, state: RowState) -> bool:
        """Whether no work can change what is known of a row."""
        loss = state.certificate.loss
        return self._closed(state) or (loss is not None and loss.unresolved)

    def _open(self, number: int) -> list[RowState]:
        """The rows that a pass is for."""
        return [s for s in self._rows if s.passes < number and not self._done(s)]

    def _leave_out(self, number: int) -> None:
        for state in self._open(number):
            state.passes = number

    def _pass(self, number: int, stage: Pass) -> Generator[RowState, None, bool]:
        batched = registry.spec_of(stage.solver).batched
        threads = self._threads_of(batched)
        # stable: equal ones in row order
        todo = sorted(self._open(number), key=lambda state: -state.width)
        states = {state.problem.row: state for state in todo}

        def task_of(rows: range) -> Task:
            self._runs_left -= len(rows)
            masks = [mask for row in rows if (mask := states[row].mask) is not None]
            start = None
            if stage.takes_masks and len(masks) == len(rows):
                start = self._starting_with(rows, Kept(np.stack(masks)))
            return self._task(replace(self.problem, rows=rows, start=start), stage, threads)

        aims = _ranges(states) if batched else [range(row, row + 1) for row in states]
        for _, judged in self._judged(aims, task_of):
            state = states[judged.problem.row]
            self._keep(state, judged)
            if ended(judged):
                state.passes = number
            yield state
        self._settle()
        return not (self._over() or all(self._done(state) for state in self._rows))

    def _keep(self, state: RowState, judged: Judged) -> None:
        """Keep of a run what is better than what the row has."""
        held, found = state.certificate, judged.certificate
        score = held.score
        bound, kind = held.bound, held.bound_kind
        better = found.loss is not None and (score is None or found.loss.value < score.loss.value)
        if better and not self.judging:
            state.mask = judged.answer.mask
            score = found.score
        if found.loss is not None:
            state.least = min(state.least, found.loss.high)
        higher = state.proof is None or found.bound > bound
        if found.bound_kind is BoundKind.CHECKED and higher:
            state.proof = judged.answer.proof
            bound, kind = found.bound, found.bound_kind
        if found.verdict is Verdict.WRONG:
            state.wrong = state.wrong or found.reason
        state.certificate = self._certified(score, bound, kind, state.wrong)


def _ranges(rows: Iterable[int]) -> list[range]:
    """The rows as ranges of neighbours: what batched solvers are given."""
    found: list[range] = []
    for row in sorted(rows):
        if found and found[-1].stop == row:
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found
