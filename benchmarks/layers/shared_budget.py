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

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter

import numpy as np

from maskgap.benchmarks.layers.passes import Pass, shared_ladder
from maskgap.benchmarks.layers.rows import RowState, Total, believed
from maskgap.benchmarks.runs.child import Task
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.judge import judge
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.verify.budget_curve import SharedBudget, row_bounds, share_budget
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
from maskgap.benchmarks.verify.objective import Loss, loss_of, total_loss
from maskgap.instances.arrays import Mask, Vector
from maskgap.instances.formats.proof import PartProof, ProofKind
from maskgap.instances.masks.patterns import RowKeep
from maskgap.instances.problem import Part, Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop


@dataclass(eq=False)
class SharedRow:
    """What is known of a row. mask: (n,), or None. loss: of it, None without one.

    proofs: with their curves b(k) (n + 1,).
    """

    row: int
    mask: Mask | None = None
    loss: Loss | None = None
    proofs: list[tuple[PartProof, Vector]] = field(default_factory=list)

    def curve(self, n: int) -> Vector:
        """(n + 1,) the highest of its proofs' bounds under each budget; 0 without any."""
        curves = [np.zeros(n + 1), *(curve for _, curve in self.proofs)]
        return np.asarray(np.max(curves, axis=0))

    def prune(self) -> None:
        """Leave out the proofs whose curve is nowhere the highest."""
        if len(self.proofs) > 1:
            best = np.argmax([curve for _, curve in self.proofs], axis=0)
            self.proofs = [self.proofs[i] for i in sorted(set(best.tolist()))]


class SharedBudgetBound:
    """The work on one layer: iterate to have it done, a run at a time.

    The arguments are those of `benchmarks.layers.rows.LayerBound`. held: proofs of an earlier call,
    of which the one of the whole layer is gone on from.
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
        held: PartProof | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.problem = replace(problem, layer=share(problem.layer))
        (self.part,) = self.problem
        self.judging = problem.start is not None
        self.threads, self.tolerance, self.seed = threads, tolerance, seed
        self._end = perf_counter() + seconds
        self._runs_left = inf if runs is None else runs
        self.wrong = ""
        self.rejected: list[str] = []  # why the proof of an earlier call does not hold
        self.passes = 0
        self._n = problem.layer.d_in
        self._pool = executor or Pool(threads, 1)
        names = ("swap", "search", "sdp-bound")
        targets = {registry.spec_of(name).target for name in names}
        self._pool.preload(sorted({target.partition(":")[0] for target in targets}))
        self._pool.warm([(name, {}) for name in names])
        self._rows = [SharedRow(row) for row in self.problem.rows]
        if self.part.start is not None:
            self._take(self.part.start)
        if held is not None:
            self._go_on_from(held)

    def _go_on_from(self, held: PartProof) -> None:
        """Take up the mask, the passes and the proofs of an earlier call, those that hold."""
        found = certify_part(self.part, None, proof=held)
        if found.bound_kind is not BoundKind.CHECKED:
            self.rejected.append(found.reason)
            return
        self.passes = believed(held, shared_ladder())
        if held.mask is not None and not self.judging:
            self._take(held.mask)
        for proof in held.rows:
            self._add(self._rows[proof.row - self.part.row], proof)

    def _add(self, row: SharedRow, proof: PartProof) -> None:
        """Add a proof that was checked, with its curve."""
        row.proofs.append((proof, row_bounds(self.part, proof)))

    def _row_of(self, row: SharedRow, budget: int, start: Mask | None = None) -> Problem:
        keep = self._n - budget
        masks = None
        if start is not None:
            masks = np.ones(self.problem.layer.weight.shape, dtype=bool)
            masks[row.row] = start
        rows = range(row.row, row.row + 1)
        return Problem(self.problem.layer, RowKeep(f"keep={keep}", keep), rows, masks)

    def _take(self, mask: Mask) -> None:
        """Take a mask (n,) of all rows as theirs."""
        masks = mask.reshape(len(self._rows), -1)
        for state, own in zip(self._rows, masks, strict=True):
            self._give(state, own.copy())

    def _give(self, row: SharedRow, mask: Mask) -> None:
        """Make a mask (n,) that of a row."""
        problem = row_under(self.part, row.row, int((~mask).sum()))
        row.mask, row.loss = mask, loss_of(problem, mask, width_for(self.tolerance))

    @property
    def loss(self) -> Loss | None:
        """The loss of the masks, of which no better were seen; None while a row has none."""
        losses = [row.loss for row in self._rows if row.loss is not None]
        return total_loss(losses) if len(losses) == len(self._rows) else None

    @property
    def mask(self) -> Mask | None:
        """(n,) of all rows end to end, None while a row has none."""
        masks = [row.mask for row in self._rows if row.mask is not None]
        return np.concatenate(masks) if len(masks) == len(self._rows) else None

    def masks(self) -> Mask | None:
        """(rows, d_in) of the masks, True = kept; None while a row has none."""
        return None if self.mask is None else self.mask.reshape(len(self._rows), -1)

    def _shared(self) -> SharedBudget:
        return share_budget(
            [row.curve(self._n) for row in self._rows], self.part.legal.total_pruned
        )

    @property
    def certificate(self) -> Certificate:
        """Of the mask and the proofs as they stand."""
        bound = self._shared().bound
        kind = BoundKind.CHECKED if bound > 0.0 else BoundKind.TRIVIAL
        mask, held_out = self.mask, self.problem.layer.gram_eval
        objective_eval = (
            None if mask is None or held_out is None else self.part.loss(mask, held_out)
        )
        found = standing(self.loss, objective_eval, bound, kind, self.tolerance)
        if self.wrong:
            found = replace(found, verdict=Verdict.WRONG, reason=self.wrong)
        return found

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
            own = 0 if row.mask is None else int((~row.mask).sum())
            problem = row_under(self.part, row.row, own)
            bound = max(0.0, float(shared.parts[place]) + shared.multiplier * own)
            certificate = standing(
                row.loss,
                None if row.mask is None or held_out is None else problem.loss(row.mask, held_out),
                bound if row.mask is not None else 0.0,
                whole.bound_kind,
                self.tolerance,
            )
            found.append(RowState(problem, row.mask, None, self.passes, certificate))
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
                ProofKind.SHARED_BUDGET,
                passes=self.passes,
                height=self.part.height,
                rows=tuple(proof for row in self._rows for proof, _ in row.proofs),
            )
        ]

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the work early."""
        return self._pool.interrupted

    @property
    def signal_number(self) -> int:
        """The signal that did."""
        return self._pool.signal_number

    def __iter__(self) -> Iterator[SharedRow]:
        """Rows as runs on them end, until the time, the runs or the gap come to an end."""
        with self._pool.watched():  # between runs too
            self._end += self._pool.prepare()
            yield from self._passes()

    def _passes(self) -> Iterator[SharedRow]:
        for number, stage in enumerate(shared_ladder(), start=1):
            if number <= self.passes:
                continue
            if stage.looks_for_masks and self.judging:
                self.passes = number
                continue
            if self._over() or self._runs_left < len(self._rows):
                return
            if stage.solver == "swap":
                whole = yield from self._exchange(stage)
            else:
                whole = yield from self._pass(stage)
            for row in self._rows:
                row.prune()
            if not whole:
                return
            self.passes = number
            loss = self.loss
            gap = gap_of(None if loss is None else loss.high, self._shared().bound)
            if gap is not None and gap <= self.tolerance:
                return

    def _over(self) -> bool:
        return self.interrupted or perf_counter() >= self._end

    def _exchange(self, stage: Pass) -> Generator[SharedRow, None, bool]:
        """Search the whole layer, exchanges between rows included, from the mask there is."""
        mask = self.mask
        start = None
        if mask is not None:
            start = np.ones(self.problem.layer.weight.shape, dtype=bool)
            start[self.part.row : self.part.row + self.part.height] = self.masks()
        at_once = self._pool.threads(self.threads)
        task = self._task(replace(self.problem, start=start), stage, at_once)
        self._pool.jobs = 1
        whole = False
        for _, outcome in self._pool.outcomes([task]):
            (judged,) = judge(task, outcome)
            if judged.certificate.objective is not None and judged.answer.mask is not None:
                known = self.loss
                if known is None or judged.certificate.objective < known.value:
                    self._take(judged.answer.mask)
                whole = judged.answer.stop not in (Stop.TIME, Stop.INTERRUPTED)
            yield self._rows[0]
        return whole

    def _task(self, problem: Problem, stage: Pass, threads: int = 1) -> Task:
        left = max(0.0, self._end - perf_counter())
        return Task(problem, stage.solver, stage.settings, self.seed, left, self.tolerance, threads)

    def _pass(self, stage: Pass) -> Generator[SharedRow, None, bool]:
        """One run on each row at the budget that decides its part, the largest parts first."""
        self._runs_left -= len(self._rows)
        shared = self._shared()
        order = sorted(range(len(self._rows)), key=lambda i: -self._width(i, shared))
        tasks: list[tuple[SharedRow, Task]] = []

        def due() -> Iterator[Task]:
            for place in order:
                if self._over():
                    return
                row = self._rows[place]
                own = None if row.mask is None else int((~row.mask).sum())
                if stage.looks_for_masks:
                    if own is None:
                        continue
                    problem = self._row_of(row, own, row.mask)
                else:
                    problem = self._row_of(row, self._budget(row, place, shared, own))
                tasks.append((row, self._task(problem, stage)))
                yield tasks[-1][1]

        self._pool.jobs = self.threads
        ended = 0
        for index, outcome in self._pool.outcomes(due()):
            row, task = tasks[index]
            (judged,) = judge(task, outcome)
            ended += judged.answer.stop not in (Stop.TIME, Stop.INTERRUPTED)
            self._keep(
                row, judged.problem, judged.answer.mask, judged.answer.proof, judged.certificate
            )
            yield row
        return ended == len(order)

    def _budget(self, row: SharedRow, place: int, shared: SharedBudget, own: int | None) -> int:
        """Where the row's curve decides its part; without one, the budget of its mask."""
        if row.proofs or own is None:
            return min(self._n - 1, max(1, int(shared.budgets[place])))
        return own

    def _width(self, place: int, shared: SharedBudget) -> float:
        """The row's part in the gap."""
        row = self._rows[place]
        if row.mask is None or row.loss is None:
            return inf
        own = int((~row.mask).sum())
        return row.loss.value - shared.multiplier * own - float(shared.parts[place])

    def _keep(
        self,
        row: SharedRow,
        problem: Part,
        mask: Mask | None,
        proof: PartProof | None,
        found: Certificate,
    ) -> None:
        """Keep of a run what is better than what the row has, or new."""
        if found.verdict is Verdict.WRONG:
            self.wrong = self.wrong or found.reason
        if (
            mask is not None
            and row.mask is not None
            and row.loss is not None
            and found.objective is not None
            and found.objective < row.loss.value
        ):
            self._give(row, mask)
        if proof is not None and found.bound_kind is BoundKind.CHECKED:
            # a row's own bound is no part of what is proved: its curve is
            self._add(row, replace(proof, bound=0.0, budget=problem.legal.total_pruned))
