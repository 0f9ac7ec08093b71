"""Weights of many rows re-optimised on their supports at once, by conjugate gradients.

For each row, with S its kept columns and A_jj = 1 (so that the diagonal preconditioner of Jacobi is
the identity), A_SS x_S = b_S and x = 0 elsewhere: the usual steps, on vectors whose entries outside
S are dropped after each product with A, which is one product for all rows. A row ends where its
residual is at most TOLERANCE of the right side.
"""

import numpy as np

from maskgap.instances.arrays import Kept, Matrix
from maskgap.solvers.protocol import Deadline

TOLERANCE = 1e-10


def solve_on(
    matrix: Matrix,
    right: Matrix,
    kept: Kept,
    start: Matrix,
    *,
    steps: int,
    deadline: Deadline,
) -> Matrix:
    """The x (rows, n) float64, 0 outside the supports, after `steps` steps or at the deadline.

    matrix: A (n, n), positive definite. right: b (rows, n). kept: the supports (rows, n). start:
    (rows, n), 0 outside them.
    """
    x = start.copy()
    active = np.arange(len(x))
    residual = np.where(kept, right - x @ matrix, 0.0)
    direction = residual.copy()
    square = (residual**2).sum(axis=1)
    least = TOLERANCE**2 * (np.where(kept, right, 0.0) ** 2).sum(axis=1)
    for _ in range(steps):
        going = square[active] > least[active]
        active = active[going]
        if not len(active) or deadline.expired():
            break
        p = direction[active]
        product = np.where(kept[active], p @ matrix, 0.0)
        length = square[active] / (p * product).sum(axis=1)
        x[active] += length[:, None] * p
        residual[active] -= length[:, None] * product
        fresh = (residual[active] ** 2).sum(axis=1)
        direction[active] = residual[active] + (fresh / square[active])[:, None] * p
        square[active] = fresh
    return x
