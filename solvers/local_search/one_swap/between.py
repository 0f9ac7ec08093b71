"""Exchanges between rows that share one budget, compiled.

Two rows share no pair in the loss, so restoring a pruned p in one row and pruning a kept u in
another changes the sum of their losses by

    a_p + b_u,   a_p = w_p^2 G_pp - 2 w_p c_p,   b_u = w_u^2 G_uu + 2 w_u c_u

(`solvers.local_search.one_swap.rule`), each in its own row. The best exchange of all takes the
least a and the least b of different rows: each row keeps its two, and an exchange touches two rows,
so it costs O(n + rows). Ties go to the lowest row, then the lowest column.
"""

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.solvers.kernels.jit import exact


@exact
def _best_of(row, weight, square, mask, correlation, restored, pruned):  # type: ignore[no-untyped-def]
    """Write the least a_p and b_u of a row with their columns: (value, column), (value, column)."""
    restored[row, 0] = pruned[row, 0] = np.inf
    for j in range(weight.shape[1]):
        product = 2.0 * weight[row, j] * correlation[row, j]
        if mask[row, j]:
            value = square[row, j] + product
            if value < pruned[row, 0]:
                pruned[row, 0], pruned[row, 1] = value, j
        else:
            value = square[row, j] - product
            if value < restored[row, 0]:
                restored[row, 0], restored[row, 1] = value, j


@exact
def _two_least(values):  # type: ignore[no-untyped-def]
    """Rows of the least and the second least value; -1 where there is none."""
    first, second = -1, -1
    for row in range(len(values)):
        if first < 0 or values[row, 0] < values[first, 0]:
            first, second = row, first
        elif second < 0 or values[row, 0] < values[second, 0]:
            second = row
    return first, second


@exact
def _exchange(weight, gram, square, mask, correlation, threshold, most):  # type: ignore[no-untyped-def]
    """Make exchanges until none changes the loss by less than threshold; how many were made."""
    rows, n = weight.shape
    restored, pruned = np.empty((rows, 2)), np.empty((rows, 2))
    for row in range(rows):
        _best_of(row, weight, square, mask, correlation, restored, pruned)
    made = 0
    while made < most:
        least, source, target = np.inf, -1, -1
        for r in _two_least(restored):
            for s in _two_least(pruned):
                if r >= 0 and s >= 0 and r != s and restored[r, 0] + pruned[s, 0] < least:
                    least, source, target = restored[r, 0] + pruned[s, 0], r, s
        if not least < threshold:
            break
        p, u = int(restored[source, 1]), int(pruned[target, 1])
        mask[source, p], mask[target, u] = True, False
        for j in range(n):
            correlation[source, j] -= weight[source, p] * gram[p, j]
        for j in range(n):
            correlation[target, j] += weight[target, u] * gram[u, j]
        _best_of(source, weight, square, mask, correlation, restored, pruned)
        _best_of(target, weight, square, mask, correlation, restored, pruned)
        made += 1
    return made


def exchange(
    weight: Matrix,
    gram: Matrix,
    square: Matrix,
    mask: Kept,
    correlation: Matrix,
    *,
    threshold: float,
    most: int,
) -> int:
    """Best exchanges between rows, one after another; how many were made, `most` at most.

    weight, square: (rows, n), square w_j^2 G_jj. mask, correlation: (rows, n), the latter c; both
    are changed. threshold: an exchange must change the loss by less than this, which is negative.
    """
    return int(_exchange(weight, gram, square, mask, correlation, threshold, most))


def total_loss(weight: Matrix, mask: Kept, correlation: Matrix) -> float:
    """The sum of the rows' losses from their c."""
    rest: Vector = np.where(mask, 0.0, weight)
    return float(np.einsum("ij,ij->", rest, correlation))


def warm_up() -> None:
    """Compile the kernel, or load it."""
    two = np.eye(2)
    exchange(two.copy(), two, two.copy(), Kept(two > 0.0), two.copy(), threshold=-1.0, most=1)
