"""Bounding all rows of a layer: the best mask found and a checked lower bound, row by row.

The loss of a layer is the sum of its rows' losses L_i, so with a checked bound B_i for each row

    gap = (sum L_i - sum B_i) / sum L_i,

and time is best spent where it lowers sum (L_i - B_i) most. First come the passes that take all
rows together, so that none is left without a mask and a bound; then each run is the one from which
most is expected a second, by what passes brought to other rows (`benchmarks.layers.next_run`).
Limited in runs, work goes pass by pass instead, the widest L_i - B_i first. A row keeps the best
mask and the best checked bound it ever had.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np

from maskgap.benchmarks.layers.aims import CHUNK_ROWS, NEAR, Aim, ranges
from maskgap.benchmarks.layers.next_run import Gains
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
from maskgap.benchmarks.verify.check import Checked, checked_together
from maskgap.benchmarks.verify.objective import scores_of, scores_of_parts
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers import registry
from maskgap.solvers.protocol import ROWS_ON_CPU


class LayerBound(LayerWork):
    """The work on a layer of independent rows, a row at a time. A step is the state of a row."""

    def _ladder(self) -> Iterator[Pass]:
        n = self.problem.layer.d_in
        return refit_ladder(n) if self.problem.objective.refits else ladder(n)

    @cached_property
    def _rest(self) -> Iterator[Pass]:
        return self._ladder()

    @cached_property
    def _stages(self) -> list[Pass]:
        return []

    def _begin(self, held: Mapping[int, PartProof]) -> None:
        parts = list(self.problem)
        proofs = [held.get(part.row) for part in parts]
        known = checked_together(parts, proofs)
        self._rows = [
            self._state(part, proof, known.get(place))
            for place, (part, proof) in enumerate(zip(parts, proofs, strict=True))
        ]
        self._gains = Gains()
        self._moved = True
        self._settle()

    def _state(
        self, part: Part, proof: PartProof | None, known: Checked | ProofError | None
    ) -> RowState:
        """What an earlier call knew of a row: nothing of a proof counts that does not hold.

        known: what checking the proof gave, where it was checked with others.
        """
        found = certify_part(part, None, proof=proof, checked=known)
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
        masked = [state for state in self._rows if state.mask is not None]
        if not self._moved or not masked:
            return
        self._moved = False
        masks = [mask for state in masked if (mask := state.mask) is not None]
        width = width_for(self.limits.gap)
        if self.weights is None:
            scores = scores_of_parts([state.problem for state in masked], masks, width)
        else:  # of masks that are given, of every row
            scores = scores_of(self.problem, Kept(np.stack(masks)), width, self.weights)
        for state, score in zip(masked, scores, strict=True):
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
        """The rows that a pass is for, in the order in which it takes them."""
        return [s for s in self._candidates() if s.passes < number and not self._done(s)]

    def _candidates(self) -> list[RowState]:
        """The rows, the widest first and equal ones in row order."""
        return sorted(self._rows, key=lambda state: -state.width)

    def _leave_out(self, number: int) -> None:
        for state in self._open(number):
            state.passes = number

    def _steps(self) -> Iterator[object]:
        """See the module's docstring."""
        if self._by_runs:
            yield from super()._steps()
            return
        for number, stage in enumerate(self._ladder(), start=1):
            if not stage.together:
                break
            if stage.looks_for_masks and self.judging:
                self._leave_out(number)
            elif not (yield from self._pass(number, stage)):
                return
        while not self._over() and (yield from self._best_runs()):
            pass
        self._settle()

    def _pass(self, number: int, stage: Pass) -> Generator[RowState, None, bool]:
        numbers = [state.problem.row for state in self._open(number)]
        if self._alone(stage):
            aims = [Aim(number, stage, rows) for rows in ranges(numbers)]
        else:
            aims = [Aim(number, stage, range(row, row + 1)) for row in numbers]
        settled = stage.together and all(state.mask is None for state in self._rows)
        yield from self._runs(aims)
        if settled:  # all masks are of one run, whose losses were computed together
            self._moved = False
        self._settle()
        return not (self._over() or all(self._done(state) for state in self._rows))

    def _best_runs(self) -> Generator[RowState, None, bool]:
        """The best run there is, again and again, while rows are free; whether there was any."""
        busy: set[int] = set()

        def aims() -> Iterator[Aim]:
            while (aim := self._best(busy)) is not None:
                busy.update(aim.rows)
                yield aim

        some = False
        for state in self._runs(aims()):
            some = True
            busy.discard(state.problem.row)
            yield state
        return some

    def _best(self, busy: set[int]) -> Aim | None:
        """The run that lowers the total gap most per second, on rows that none is on."""
        free = [
            state
            for state in self._rows
            if state.problem.row not in busy
            and not self._done(state)
            and self._stage(self._next(state)) is not None
        ]
        if not free:
            return None
        rates = {number: self._gains.rate(number) for number in {self._next(s) for s in free}}
        worth = [state.width * rates[self._next(state)] for state in free]
        most = max(worth)
        best = free[worth.index(most)]
        number = self._next(best)
        stage = self._stage(number)
        assert stage is not None
        rows = range(best.problem.row, best.problem.row + 1)
        if registry.spec_of(stage.solver).batched:
            most_rows = CHUNK_ROWS if self._alone(stage) else ROWS_ON_CPU
            near = [
                state.problem.row
                for state, own in zip(free, worth, strict=True)
                if self._next(state) == number and own >= NEAR * most
            ]
            rows = next(found for found in ranges(near) if best.problem.row in found)
            top = max(rows.start, min(best.problem.row, rows.stop - most_rows))
            rows = range(top, min(rows.stop, top + most_rows))
        return Aim(number, stage, rows)

    def _next(self, state: RowState) -> int:
        """The number of the pass that a row is to have next."""
        number = state.passes + 1
        while self.judging and (stage := self._stage(number)) and stage.looks_for_masks:
            number += 1
        return number

    def _stage(self, number: int) -> Pass | None:
        """A pass of the ladder by its number, from 1; None past its end."""
        self._stages.extend(islice(self._rest, max(0, number - len(self._stages))))
        return self._stages[number - 1] if number <= len(self._stages) else None

    def _runs(self, aims: Iterable[Aim]) -> Iterator[RowState]:
        """Do a run for each aim; the rows as they are certified."""

        def task_of(aim: Aim) -> Task:
            self._runs_left -= len(aim.rows)
            states = [self._rows[row - self.problem.rows.start] for row in aim.rows]
            masks = [mask for state in states if (mask := state.mask) is not None]
            start = None
            if aim.stage.takes_masks and len(masks) == len(states):
                start = self._starting_with(aim.rows, Kept(np.stack(masks)))
            minorants = None
            if aim.stage.takes_minorants:
                minorants = {s.problem.row: own for s in states if (own := s.minorant)}
            problem = replace(self.problem, rows=aim.rows, start=start, minorants=minorants)
            return self._task(problem, aim.stage, self._threads_of(aim.stage))

        for aim, judged in self._judged(aims, task_of):
            state = self._rows[judged.problem.row - self.problem.rows.start]
            before = state.width
            self._keep(state, judged)
            if ended(judged):
                state.passes = aim.number
            answer = judged.answer
            seconds = (answer.build_s + answer.solve_s) / len(aim.rows) + judged.check_s
            self._gains.note(aim.number, before, state.width, seconds)
            yield state

    def _keep(self, state: RowState, judged: Judged) -> None:
        """Keep of a run what is better than what the row has."""
        held, found = state.certificate, judged.certificate
        score = held.score
        bound, kind = held.bound, held.bound_kind
        better = found.loss is not None and (score is None or found.loss.value < score.loss.value)
        if better and not self.judging:
            state.mask = judged.answer.mask
            score, self._moved = found.score, True
        if found.loss is not None:
            state.least = min(state.least, found.loss.high)
        higher = state.proof is None or found.bound > bound
        if found.bound_kind is BoundKind.CHECKED and higher:
            state.proof = judged.answer.proof
            bound, kind = found.bound, found.bound_kind
        if found.verdict is Verdict.WRONG:
            state.wrong = state.wrong or found.reason
        state.certificate = self._certified(score, bound, kind, state.wrong)
