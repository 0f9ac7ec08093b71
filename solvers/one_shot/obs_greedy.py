"""Greedy pruning in the order of ExactOBS (Optimal Brain Compression, arXiv 2208.11580).

A row removes one weight at a time. With F the columns it still has, w their weights and
A = (H_FF)^-1 (H of `solvers.one_shot.hessian`), removing p and making up for it in the others costs
w_p^2 / A_pp. The cheapest p among the groups whose budget is not yet met goes, and

    w  <-  w - (w_p / A_pp) A[:, p],        A  <-  A - A[:, p] A[p, :] / A_pp,

which is the inverse without p. The weights so updated are the best ones of the columns left, up to
rounding. Under the objective refit H is the objective's and they are handed over; under the loss of
a mask they serve only to choose, and dead columns cost nothing and go first. Ties go to the lower
column.

A is symmetric, so its upper triangle is all that is kept. A removal costs about n |F| / 2
operations, so the cost of a row grows as n^2 k for k removals and that of a layer with n rows as
n^3 k: hours at 4096 x 4096. Each thread has one matrix A of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Problem
from maskgap.solvers.kernels.jit import unchecked
from maskgap.solvers.one_shot.hessian import DAMPING, InverseHessian
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop
from maskgap.solvers.settings import NotNegative, settings

STEP_WORK = 1 << 28
"""Entries of A changed between two looks at the deadline, about."""


@settings
class ObsGreedy:
    """One weight at a time, the others making up for it."""

    damping: NotNegative = DAMPING
    """Share of the mean diagonal that is added to the Gram; under refit its ridge is, instead."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return (warm_up,)

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row, under refit with weights; notes the damping used.

        At the deadline the rest of each budget goes by the costs as they then are, and no weights
        are handed over. Raises Refused when the Gram stays singular.
        """
        with limits.journal.phase("build"):
            inverse = InverseHessian.under(problem, self.damping)
            weight, exponents = unit_rows(problem.weight)
            weight[:, ~inverse.live] = 0.0  # costs nothing to prune, whatever its size
            matrix = inverse.upper.T @ inverse.upper

        def solve(row: Vector, exponent: int) -> Answer:
            mask, stop = prune(row, matrix, problem.groups, limits.deadline)
            weights = None
            if problem.objective.refits and stop is Stop.FINISHED:
                weights = np.ldexp(np.where(mask, row, 0.0), exponent)
            return Answer(mask, stop, notes={"damping": inverse.damping}, weights=weights)

        with ThreadPoolExecutor(max(1, limits.threads)) as pool:
            return list(pool.map(solve, weight, exponents.tolist()))


def prune(
    weight: Vector, matrix: Matrix, groups: BudgetGroups, deadline: Deadline
) -> tuple[Kept, Stop]:
    """Mask (n,) of one row, and why it ended.

    weight: (n,), overwritten by the best of those kept. matrix: H^-1 (n, n), whose upper triangle
    is read.
    """
    steps = max(1, STEP_WORK // groups.n**2)
    kept = Kept(np.ones(groups.n, dtype=bool))
    left = np.full(groups.count, groups.pruned)
    done, state = 0, matrix
    while done < groups.total_pruned:
        if deadline.expired():
            cost = np.where(kept, weight**2 / state.diagonal(), -1.0)
            return groups.prune_lowest(cost), deadline.stop()
        if state is matrix:
            state = matrix.copy()
        number = min(steps, groups.total_pruned - done)
        _remove(weight, state, kept, left, groups.size, number)
        done += number
    return kept, Stop.FINISHED


@unchecked
def _remove(weight, matrix, kept, left, size, steps):  # type: ignore[no-untyped-def]
    """Remove `steps` weights of a row whose groups have room for them."""
    n = len(weight)
    column = np.empty(n)
    for _ in range(steps):
        p, least = -1, np.inf
        for j in range(n):
            if kept[j] and left[j // size] > 0:
                cost = weight[j] * weight[j] / matrix[j, j]
                if p < 0 or cost < least:
                    p, least = j, cost
        kept[p] = False
        left[p // size] -= 1
        pivot = matrix[p, p]
        move = weight[p] / pivot
        for i in range(n):
            column[i] = matrix[i, p] if i < p else matrix[p, i]
        for i in range(n):
            if kept[i]:
                weight[i] -= move * column[i]
                share = column[i] / pivot
                for j in range(i, n):
                    matrix[i, j] -= share * column[j]


def warm_up() -> None:
    """Compile the kernel, or load it."""
    _remove(np.ones(1), np.ones((1, 1)), np.ones(1, np.bool_), np.ones(1, np.int64), 1, 1)
