"""SparseGPT (Frantar, Alistarh, arXiv 2301.00774): mask and weights by columns from left to right.

With H^-1 = U^T U (`solvers.one_shot.hessian`), pruning w_j and making up for it in the columns
after j costs

    w_j^2 / U_jj^2      and changes      w_l  by  -(w_j / U_jj) U_jl,   l > j.

Columns are taken in blocks. For a budget of the whole row the mask of a block is chosen when the
block begins, by that cost at the weights as they then are; for N:M the mask of each group when the
group begins. Then the weights are updated column by column. A kept weight stays as it is when its
column has passed, so it makes up for columns before it alone: the weights are not the best ones of
their mask. Under the objective refit they are handed over, and H is the objective's; under the
loss of a mask they serve only to choose it.

The paper's threshold for unstructured masks is one for all rows of a block, so its rows end with
different budgets. Here every row has the same: of k weights to prune in n columns, a row prunes
round(k j / n) among the first j at the end of each block, so that its total is exact. A layer of
one N:M group a row (M = n) is a budget of the row. A block of N:M is as many whole groups as fit.
"""

import numpy as np

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.hessian import DAMPING, InverseHessian
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop
from maskgap.solvers.settings import NotNegative, Positive, settings


@settings
class SparseGpt:
    """Blocks of columns from left to right."""

    damping: NotNegative = DAMPING
    """Share of the mean diagonal that is added to the Gram; under refit its ridge is, instead."""
    block: Positive = 128
    """Columns of a block."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row, under refit with weights; notes the damping used.

        The deadline is looked at once a block; the columns left then are chosen by their cost at
        the weights as they are, and no weights are handed over. Raises Refused when the Gram stays
        singular.
        """
        with limits.journal.phase("build"):
            inverse = InverseHessian.under(problem, self.damping)
            weight, exponents = unit_rows(problem.weight)
            weight[:, ~inverse.live] = 0.0  # costs nothing to prune, whatever its size
        masks, stop = prune(weight, inverse.upper, problem.groups, self.block, limits.deadline)
        whole = problem.objective.refits and stop is Stop.FINISHED
        weights = np.ldexp(np.where(masks, weight, 0.0), exponents[:, None])
        return [
            Answer(
                Kept(mask),
                stop,
                notes={"damping": inverse.damping},
                weights=row if whole else None,
            )
            for mask, row in zip(masks, weights, strict=True)
        ]


def prune(
    weight: Matrix, upper: Matrix, groups: BudgetGroups, block: int, deadline: Deadline
) -> tuple[Kept, Stop]:
    """Masks (rows, n), and why it ended.

    weight: (rows, n), overwritten by what the method makes of the kept ones. upper: U.
    """
    n, size = groups.n, groups.size
    whole = groups.count == 1
    width = min(block, n) if whole else max(1, block // size) * size
    pivots = upper.diagonal() ** 2
    mask = Kept(np.ones(weight.shape, dtype=bool))

    def choose(columns: slice, group: int, pruned: int) -> None:
        part = BudgetGroups(columns.stop - columns.start, group, pruned)
        mask[:, columns] = part.prune_lowest(weight[:, columns] ** 2 / pivots[columns])

    def share(column: int) -> int:
        return (2 * groups.pruned * column + n) // (2 * n)

    for first in range(0, n, width):
        last = min(first + width, n)
        if deadline.expired():
            left = groups.pruned - share(first) if whole else groups.pruned
            choose(slice(first, n), n - first if whole else size, left)
            return mask, deadline.stop()
        if whole:
            choose(slice(first, last), last - first, share(last) - share(first))
        errors = np.zeros((len(weight), last - first))
        for column in range(first, last):
            if not whole and column % size == 0:
                choose(slice(column, column + size), size, groups.pruned)
            lost = np.where(mask[:, column], 0.0, weight[:, column] / upper[column, column])
            weight[:, column:last] -= lost[:, None] * upper[column, column:last]
            errors[:, column - first] = lost
        weight[:, last:] -= errors @ upper[first:last, last:]
    return mask, Stop.FINISHED
