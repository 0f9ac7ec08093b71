"""Bounds of semidefinite quality for wide rows, by a low-rank method that rows share.

The relaxation of `bounds.semidefinite`, with triangle inequalities where they are asked for, takes
some fifteen steps of 12 n^3 operations by the interior-point method. Here a batch of rows is
brought near its value by products of the Gram with thin matrices (`bounds.low_rank.method`), in
float32 and on a CUDA device where there is one. What is left of a row is in float64: its
multipliers as a convex function, a shift that makes it semidefinite, shown by factorisations of
n^3 / 3 operations, and the minimum over the hull of its masks (`bounds.low_rank.certified`).
"""

from collections.abc import Callable, Sequence

import torch

from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.low_rank import cuts
from maskgap.solvers.bounds.low_rank.batches import Batches
from maskgap.solvers.bounds.low_rank.certified import certified
from maskgap.solvers.bounds.low_rank.method import Effort
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.settings import Count, NotNegative, Positive, settings


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
    fixing: bool = True
    """Whether columns that every better mask keeps are taken out; never with `beside`."""
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
            keeping = self.fixing and not self.beside
            work = Batches(problem, limits, self._effort(), seed, keeping)
            for rows in _chunks(problem.rows, self.batch or work.rows_at_once):
                if limits.deadline.expired():
                    answers += [Answer(None, limits.deadline.stop())] * len(rows)
                    continue
                answers += [
                    certified(problem.part_of(found.row), found, limits, self.beside)
                    for found in work.solve(rows)
                ]
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
