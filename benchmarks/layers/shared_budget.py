"""Bounding a layer whose rows share one budget (`layer:P%`), by a multiplier over its rows.

The rows are coupled by the sum of their pruned columns alone. So masks are searched for row by row
at the budgets that the rows have, and budgets move between rows by exchanges (`swap` on the layer).
A bound for each row under every budget gives one for the layer (`benchmarks.verify.budget_curve`):

    bound = sum over rows of  min over k of (b_r(k) - t k)  +  t K,

and the gap of the layer is the sum over rows of L_r - t k_r less that minimum. Passes of growing
cost (`benchmarks.layers.passes`) take the rows in the order of their part in the gap. What a pass
proves of a row is for the budget at which its minimum lies, so each pass raises the curve where it
is lowest; a row keeps the proofs whose curves are the highest anywhere.

Multiplier and budgets are fixed when a pass begins, from the passes before it. A limit on runs ends
the work between passes, so that a later call goes on as if there had been no interruption.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from math import inf

import numpy as np

from maskgap.benchmarks.layers.passes import Pass, believed, refit_shared_ladder, shared_ladder
from maskgap.benchmarks.layers.shared_row import SharedRow
from maskgap.benchmarks.layers.standing_rows import RowState, Total
from maskgap.benchmarks.layers.work import LayerWork, ended
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.runs.task import Task
from maskgap.benchmarks.verify.budget_curve import BudgetShare, share_budget
from maskgap.benchmarks.verify.certificate import (
    BoundKind,
    Certificate,
    Verdict,
    certify_part,
    gap_of,
    standing,
    width_for,
)
from maskgap.benchmarks.verify.form import row_under
from maskgap.benchmarks.verify.objective import Loss, Score, loss_of, total_loss
from maskgap.benchmarks.verify.shared_budget import row_bounds
from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.row_patterns import RowKeep
from maskgap.instances.problem import Part, Problem


class SharedBudgetBound(LayerWork):
    """The work on a layer of one budget, a run at a time. A step is a row.

    part: all rows. wrong: why an answer of a run was; empty when none was. passes: how many of the
    ladder it has had. Of the proofs of an earlier call, the one of the whole layer is gone on from.
    """

    part: Part
    wrong: str
    passes: int

    def _ladder(self) -> Iterator[Pass]:
        if self.problem.objective.refits:
            return refit_shared_ladder()
        return shared_ladder(self.problem.layer.d_in)

    def _begin(self, held: Mapping[int, PartProof]) -> None:
        (self.part,) = self.problem
        self.wrong, self.passes = "", 0
        self._n = self.problem.layer.d_in
        self._rows = [SharedRow(row) for row in self.problem.rows]
        if self.part.start is not None:
            self._take(self.part.start)
        if self.part.row in held:
            self._go_on_from(held[self.part.row])

    def _go_on_from(self, held: PartProof) -> None:
        """Take up the mask, the passes and the proofs of an earlier call, those that hold."""
        found = certify_part(self.part, None, proof=held)
        if found.bound_kind is not BoundKind.CHECKED:
            self.rejected.append(found.reason)
            return
        self.passes = believed(held, self._ladder())
        if held.mask is not None and not self.judging:
            self._take(held.mask)
        if isinstance(held.evidence, SharedBudget):
            for own in held.evidence.rows:
                self._add(self._rows[own.proof.row - self.part.row], own)

    def _add(self, row: SharedRow, proof: RowProof) -> None:
        """Add a proof that was checked, with its curve; one of several leaves has none."""
        with suppress(ProofError):
            row.proofs.append((proof, row_bounds(self.part, proof)))

    def _row_of(self, row: SharedRow, budget: int, start: Kept | None = None) -> Problem:
        keep = self._n - budget
        rows = range(row.row, row.row + 1)
        masks = None if start is None else self._starting_with(rows, start)
        pattern = RowKeep(f"keep={keep}", keep)
        return Problem(self.problem.layer, pattern, rows, masks, self.problem.objective)

    def _take(self, mask: Kept) -> None:
        """Take a mask (n,) of all rows as theirs."""
        masks = mask.reshape(len(self._rows), -1)
        for state, own in zip(self._rows, masks, strict=True):
            self._give(state, Kept(own.copy()))

    def _give(self, row: SharedRow, mask: Kept) -> None:
        """Make a mask (n,) that of a row."""
        part = row_under(self.part, row.row, int(pruned_of(mask).sum()))
        row.mask, row.loss = mask, loss_of(part, mask, width_for(self.limits.gap))

    @property
    def loss(self) -> Loss | None:
        """The loss of the masks, of which no better were seen; None while a row has none."""
        losses = [row.loss for row in self._rows if row.loss is not None]
        return total_loss(losses) if len(losses) == len(self._rows) else None

    @property
    def mask(self) -> Kept | None:
        """(n,) of all rows end to end, None while a row has none."""
        masks = [row.mask for row in self._rows if row.mask is not None]
        return Kept(np.concatenate(masks)) if len(masks) == len(self._rows) else None

    def masks(self) -> Kept | None:
        """(rows, d_in) of the masks; None while a row has none."""
        mask = self.mask
        return None if mask is None else Kept(mask.reshape(len(self._rows), -1))

    def _shared(self) -> BudgetShare:
        return share_budget(
            [row.curve(self._n) for row in self._rows], self.part.legal.total_pruned
        )

    @property
    def certificate(self) -> Certificate:
        """Of the mask and the proofs as they stand."""
        bound = self._shared().bound
        kind = BoundKind.CHECKED if bound > 0.0 else BoundKind.TRIVIAL
        mask, loss, held_out = self.mask, self.loss, self.problem.layer.gram_eval
        score = None
        if mask is not None and loss is not None:
            score = Score(loss, None if held_out is None else self.part.loss(mask, held_out))
        return self._certified(score, bound, kind, self.wrong)

    @property
    def total(self) -> Total:
        """The certificate as the sums of a layer."""
        found = self.certificate
        closed = len(self._rows) if found.verdict is Verdict.PROVED else 0
        return Total.of(found, closed, len(self._rows))

    @property
    def rows(self) -> list[RowState]:
        """Each row as it stands: its bound is its share of the whole, min b(k) - t k, plus t k_r.

        These sum to the bound of the whole, and each bounds the row under the budget of its mask.
        """
        shared, whole = self._shared(), self.certificate
        held_out = self.problem.layer.gram_eval
        found = []
        for place, row in enumerate(self._rows):
            own = 0 if row.mask is None else int(pruned_of(row.mask).sum())
            part = row_under(self.part, row.row, own)
            bound = max(0.0, float(shared.parts[place]) + shared.multiplier * own)
            score = None
            if row.mask is not None and row.loss is not None:
                seen = None if held_out is None else part.loss(row.mask, held_out)
                score = Score(row.loss, seen)
            certificate = standing(
                score,
                bound if row.mask is not None else 0.0,
                whole.bound_kind,
                self.limits.gap,
            )
            found.append(RowState(part, row.mask, None, self.passes, certificate))
        return found

    def proofs(self) -> list[PartProof]:
        """One proof of the whole, with the rows' proofs that it rests on.

        Its stated bound is the one that they give; a row without a proof has the bound 0.
        """
        return [
            PartProof(
                self.part.row,
                self.part.digest,
                self._shared().bound,
                self.mask,
                SharedBudget(tuple(proof for row in self._rows for proof, _ in row.proofs)),
                passes=self.passes,
                height=self.part.height,
            )
        ]

    def _leave_out(self, number: int) -> None:
        self.passes = max(self.passes, number)

    def _pass(self, number: int, stage: Pass) -> Generator[SharedRow, None, bool]:
        if number <= self.passes:
            return True
        if self._over() or self._runs_left < len(self._rows):
            return False
        if stage.solver == "swap":
            whole = yield from self._exchange(stage)
        else:
            whole = yield from self._row_by_row(stage)
        for row in self._rows:
            row.prune()
        if not whole:
            return False
        self.passes = number
        loss = self.loss
        gap = gap_of(None if loss is None else loss.high, self._shared().bound)
        return gap is None or gap > self.limits.gap

    def _exchange(self, stage: Pass) -> Generator[SharedRow, None, bool]:
        """Search the whole layer, exchanges between rows included, from the mask there is."""
        masks = self.masks()
        start = None if masks is None else self._starting_with(self.part.rows, masks)
        threads = self._threads_of(stage)
        whole = False
        tasks = [self._task(replace(self.problem, start=start), stage, threads)]
        for _, judged in self._judged(tasks, lambda task: task):
            if judged.certificate.objective is not None and judged.answer.mask is not None:
                known = self.loss
                if known is None or judged.certificate.objective < known.value:
                    self._take(judged.answer.mask)
                whole = ended(judged)
            yield self._rows[0]
        return whole

    def _row_by_row(self, stage: Pass) -> Generator[SharedRow, None, bool]:
        """One run on each row at the budget that decides its part, the largest parts first."""
        self._runs_left -= len(self._rows)
        threads = self._threads_of(stage)
        shared = self._shared()
        order = sorted(range(len(self._rows)), key=lambda i: -self._width(i, shared))

        def task_of(place: int) -> Task:
            row = self._rows[place]
            own = None if row.mask is None else int(pruned_of(row.mask).sum())
            if stage.looks_for_masks and own is not None:
                problem = self._row_of(row, own, row.mask)
            else:
                problem = self._row_of(row, self._budget(row, place, shared, own))
            return self._task(problem, stage, threads)

        # a search at fixed budgets begins from masks
        aims = [i for i in order if not stage.looks_for_masks or self._rows[i].mask is not None]
        count = 0
        for place, judged in self._judged(aims, task_of):
            count += ended(judged)
            self._keep(self._rows[place], judged)
            yield self._rows[place]
        return count == len(order)

    def _budget(self, row: SharedRow, place: int, shared: BudgetShare, own: int | None) -> int:
        """Where the row's curve decides its part; without one, the budget of its mask."""
        if row.proofs or own is None:
            return min(self._n - 1, max(1, int(shared.budgets[place])))
        return own

    def _width(self, place: int, shared: BudgetShare) -> float:
        """The row's part in the gap."""
        row = self._rows[place]
        if row.mask is None or row.loss is None:
            return inf
        own = int(pruned_of(row.mask).sum())
        return row.loss.value - shared.multiplier * own - float(shared.parts[place])

    def _keep(self, row: SharedRow, judged: Judged) -> None:
        """Keep of a run what is better than what the row has, or new."""
        found, mask, proof = judged.certificate, judged.answer.mask, judged.answer.proof
        if found.verdict is Verdict.WRONG:
            self.wrong = self.wrong or found.reason
        if (
            mask is not None
            and row.mask is not None
            and row.loss is not None
            and found.objective is not None
            and found.objective < row.loss.value
            # a run that bounds may be about another budget than that of the row's mask
            and pruned_of(mask).sum() == pruned_of(row.mask).sum()
        ):
            self._give(row, mask)
        if proof is not None and found.bound_kind is BoundKind.CHECKED:
            # a row's own bound is no part of what is proved: its curve is
            budget = judged.problem.legal.total_pruned
            self._add(row, RowProof(budget, replace(proof, bound=0.0)))
