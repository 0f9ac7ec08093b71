"""Rows of a layer as batches of the low-rank method.

Units of a batch: R = S^-1 G S^-1 with S^2 = diag(G), weights w * diag(S), each row scaled so that
its Q has mean diagonal 1; columns of no energy have zero rows in R. Columns that every better mask
keeps (`bounds.kept_columns`) have weight 0 and count in no budget.
"""

from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
import torch

from maskgap.instances.layer import unit_rows
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.kept_columns import KeptColumns, OutlyingColumns
from maskgap.solvers.bounds.low_rank.budgets import Budgets, penalties
from maskgap.solvers.bounds.low_rank.costs import Costs
from maskgap.solvers.bounds.low_rank.factor import Factor
from maskgap.solvers.bounds.low_rank.method import LANCZOS, Course, Effort, Multipliers
from maskgap.solvers.bounds.unit_diagonal import UnitDiagonal, scaled
from maskgap.solvers.objectives.shift import lifted_factor
from maskgap.solvers.protocol import ROWS_ON_CPU, Limits

TAIL = 12.0
"""What finishing a row takes at most, in factorisations of its order."""

DEVICE_BYTES = 4 << 30
BYTES_A_NUMBER = 4 * 6
"""Of the vectors of a row and of the basis that Lanczos keeps, with what steps need beside."""


@dataclass(frozen=True, eq=False)
class RowFound:
    """What is found of a row. multipliers: None where its hull says everything.

    kept: columns that are taken out. counters: of the batch.
    """

    row: int
    kept: KeptColumns
    multipliers: Multipliers | None
    counters: dict[str, int]


class Batches:
    """The batches of a problem. rows_at_once: how many are solved together."""

    def __init__(
        self, problem: Problem, limits: Limits, effort: Effort, seed: int, keeping: bool
    ) -> None:
        self.problem, self.limits, self.effort, self.seed = problem, limits, effort, seed
        self._outlying = OutlyingColumns(problem) if keeping else None
        gram, _ = problem.layer.gram_unit
        units = UnitDiagonal.of(gram)
        self._root = units.root
        correlation = scaled(gram, units.inverse).astype(np.float32)
        self._gram = torch.as_tensor(correlation, device=limits.device)
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

    def solve(self, rows: range) -> list[RowFound]:
        """What is found of some rows."""
        n, groups = self.problem.layer.d_in, self.problem.groups
        unit, _ = unit_rows(self.problem.layer.weight[rows.start : rows.stop])
        weight = unit * self._root
        kept = [self._kept(row) for row in rows]
        left_out = np.array([own.state(n) for own in kept]) != 0
        weight[left_out] = 0.0
        size = np.sqrt(np.square(weight).mean(axis=1))
        chosen = np.flatnonzero(size > 0.0) if not groups.single else np.zeros(0, np.intp)
        found: dict[int, Multipliers | None] = {}
        counters = {"iterations": 0, "triangles": 0}
        if len(chosen):
            own = np.ascontiguousarray((weight[chosen] / size[chosen, None]).T)
            course = self._course(own.astype(np.float32), left_out[chosen].T, len(rows))
            course.run()
            found = dict(zip(chosen.tolist(), course.best, strict=True))
            counters = {"iterations": course.steps, "triangles": len(course.factor.cuts)}
        return [
            RowFound(row, kept[place], found.get(place), counters) for place, row in enumerate(rows)
        ]

    def _kept(self, row: int) -> KeptColumns:
        if self._outlying is None:
            return KeptColumns.none(self.problem.layer.d_in)
        return self._outlying.of(self.problem.part_of(row))

    def _course(self, weight: np.ndarray, left_out: np.ndarray, rows: int) -> Course:
        """weight, left_out: (n, some of the rows)."""
        device, limits, reserve = self._gram.device, self.limits, self._tail * rows
        own = torch.as_tensor(weight, device=device)
        out = torch.as_tensor(np.ascontiguousarray(left_out), device=device)
        groups = self.problem.groups
        budgets = Budgets(groups, penalties(groups, self._gram, own), out)
        factor = Factor(Costs.of(self._gram, own), budgets, self.effort.rank, self.seed)
        return Course(factor, self.effort, lambda: limits.deadline.remaining() <= reserve)
