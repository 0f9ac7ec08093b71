"""Bounds of semidefinite quality for wide rows, by a low-rank method that rows share.

The relaxation of `bounds.semidefinite`, with triangle inequalities where they are asked for, takes
some fifteen steps of 12 n^3 operations by the interior-point method. Here a batch of rows is
brought near its value by products of the Gram with thin matrices (`bounds.low_rank.method`), in
float32 and on a CUDA device where there is one. What is left of a row is in float64: its
multipliers as a convex function, a shift that makes it semidefinite, shown by factorisations of
n^3 / 3 operations, and the minimum over the hull of its masks.

Units of a batch: R = S^-1 G S^-1 with S^2 = diag(G), weights w * diag(S), each row scaled so that
its Q has mean diagonal 1; columns of no energy have zero rows in R.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
import torch

from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.bounds.low_rank import cuts
from maskgap.solvers.bounds.low_rank.budgets import Budgets, penalties
from maskgap.solvers.bounds.low_rank.costs import Costs
from maskgap.solvers.bounds.low_rank.factor import Factor
from maskgap.solvers.bounds.low_rank.method import LANCZOS, Course, Effort, Multipliers
from maskgap.solvers.bounds.root_bound import RootBound
from maskgap.solvers.bounds.sdp_solution import whole_space
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.shift import lifted_factor
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import Count, NotNegative, Positive, settings

HULL_GAP = 1e-5
HULL_ITERATIONS = 300
"""The point is looked for from the one that the method gives, which is near."""

TAIL = 12.0
"""What finishing a row takes at most, in factorisations of its order."""

ROWS_ON_CPU = 4
"""Rows that are solved together there: more gain little, and give no answers meanwhile."""

DEVICE_BYTES = 4 << 30
BYTES_A_NUMBER = 4 * 6
"""Of the vectors of a row and of the basis that Lanczos keeps, with what steps need beside."""


@settings
class LowRankBound:
    """The semidefinite relaxation of wide rows; `bounds.low_rank.method.Effort` has more."""

    iterations: Positive = Effort.iterations
    """Steps at most before triangle inequalities."""
    rank: Positive = Effort.rank
    """Rank of the factor before triangle inequalities."""
    tolerance: NotNegative = Effort.tolerance
    """Relative distance of bound and value at which a batch is done."""
    triangle_rounds: Count = 0
    """Rounds of triangle inequalities; 0 for none."""
    triangle_rank: Positive = Effort.cut_rank
    """Rank of the factor with them."""
    triangle_batch: Count = Effort.batch
    """Triangle inequalities that a round adds to a row at most."""
    triangle_least: NotNegative = Effort.at_last
    """Violation from which on a triangle inequality is added in the end."""
    batch: Count = 0
    """Rows at once; 0: 4 on a CPU, and what 4 GiB take on a CUDA device."""
    beside: bool = False
    """Whether proofs get points for other budgets of the row too."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return cuts.warm_up, *hull.warm_ups()

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """A bound with a proof for each row, no masks; rows not reached by the deadline have none.

        Counters: iterations, triangles (of all rows of the batch). Notes: relative distance of
        bound and value that is left in the low-rank method (`dual_gap`).
        """
        before = torch.get_num_threads()
        torch.set_num_threads(max(1, limits.threads))
        answers: list[Answer] = []
        try:
            work = _Batches(problem, limits, self._effort(), seed)
            for rows in _chunks(problem.rows, self.batch or work.rows_at_once):
                if limits.deadline.expired():
                    answers += [Answer(None, limits.deadline.stop())] * len(rows)
                    continue
                solved = work.solve(rows)
                answers += [work.finish(problem.part_of(row), solved, self.beside) for row in rows]
                limits.journal.answered(rows.start - problem.rows.start, answers[-len(rows) :])
        finally:
            torch.set_num_threads(before)
        return answers

    def _effort(self) -> Effort:
        return Effort(
            iterations=self.iterations,
            rank=self.rank,
            tolerance=self.tolerance,
            rounds=self.triangle_rounds,
            cut_rank=self.triangle_rank,
            batch=self.triangle_batch,
            at_last=self.triangle_least,
        )


def _chunks(rows: range, size: int) -> list[range]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


@dataclass(frozen=True, eq=False)
class _Solved:
    """What the method found of the rows of a batch, and what that took."""

    found: dict[int, Multipliers]
    counters: dict[str, int]


class _Batches:
    """The batches of a problem. rows_at_once: how many are solved together."""

    def __init__(self, problem: Problem, limits: Limits, effort: Effort, seed: int) -> None:
        self.problem, self.limits, self.effort, self.seed = problem, limits, effort, seed
        gram, _ = problem.layer.gram_unit
        energy = gram.diagonal()
        self._root = np.sqrt(np.maximum(energy, 0.0))
        inner = 1.0 / np.where(self._root > 0.0, self._root, np.inf)
        scaled = (gram * inner[:, None] * inner).astype(np.float32)
        self._gram = torch.as_tensor(scaled, device=limits.device)
        rank = effort.cut_rank if effort.rounds else effort.rank
        row_bytes = BYTES_A_NUMBER * len(gram) * (rank + LANCZOS)
        on_cpu = self._gram.device.type == "cpu"
        self.rows_at_once = ROWS_ON_CPU if on_cpu else max(1, DEVICE_BYTES // row_bytes)

    @cached_property
    def _tail(self) -> float:
        """Seconds that finishing a row takes at most."""
        begun = perf_counter()
        lifted_factor(self.problem.part_of(self.problem.rows[0]).quad, 1.0)
        return TAIL * (perf_counter() - begun)

    def solve(self, rows: range) -> _Solved:
        """Multipliers of those rows whose hull does not say everything."""
        weight = self.problem.layer.weight[rows.start : rows.stop] * self._root
        size = np.sqrt(np.square(weight).mean(axis=1))
        chosen = np.flatnonzero(size > 0.0)
        groups = self.problem.groups
        if not len(chosen) or groups.single:
            return _Solved({}, {"iterations": 0, "triangles": 0})
        reserve = self._tail * len(rows)
        unit = (weight[chosen] / size[chosen, None]).T.astype(np.float32)
        own = torch.as_tensor(np.ascontiguousarray(unit), device=self._gram.device)
        budgets = Budgets(groups, penalties(groups, self._gram, own))
        factor = Factor(Costs.of(self._gram, own), budgets, self.effort.rank, self.seed)
        course = Course(factor, self.effort, lambda: self.limits.deadline.remaining() <= reserve)
        course.run()
        found = {
            rows[place]: best for place, best in zip(chosen.tolist(), course.best, strict=True)
        }
        return _Solved(
            {row: best for row, best in found.items() if best is not None},
            {"iterations": course.steps, "triangles": len(factor.cuts)},
        )

    def finish(self, part: Part, solved: _Solved, beside: bool) -> Answer:
        """The bound of a row in float64, with its proof."""
        deadline, quad, found = self.limits.deadline, part.quad, solved.found.get(part.row)
        if found is None:
            function, start = convexify.plain(part.legal), None
        else:
            unit = float(quad.diagonal().mean())
            touched = found.y + found.cuts.touching(found.weight, len(found.y))
            triangles = found.cuts.triangles(unit * found.weight)
            function = whole_space(quad, part.legal, 4.0 * unit * touched[1:], triangles)
            start = np.clip(0.5 * (1.0 + found.first[1:]), 0.0, 1.0)
        repaired = convexify.repair(quad, part.legal, function)
        point = hull.minimise(
            Quadratic(*convexify.quadratic(quad, part.legal, repaired)),
            part.legal,
            deadline,
            iterations=HULL_ITERATIONS,
            start=start,
            gap=HULL_GAP,
        )
        bound = RootBound.at(part, repaired, point)
        return Answer(
            None,
            deadline.stop() if deadline.expired() else Stop.FINISHED,
            claimed_bound=part.rescale(bound.stated),
            counters=solved.counters,
            notes={} if found is None else {"dual_gap": found.gap},
            proof=bound.proof(part, bound.beside(part, deadline) if beside else None),
        )
