"""Points for other budgets than a row's own, for bounds where rows share one budget.

A function F_k(z) = z^T P z + (u - k alpha)^T z + c that is at most the loss on masks that prune k
of n columns is so for every k, with one and the same P: multipliers found for one budget bound the
loss under any other (`benchmarks.verify.row_curve`). The minimiser of F_k over
{ 0 <= x <= 1, sum x = k } moves piecewise linearly in k, so points at some budgets, closer together
near the own, give good ones for all by interpolation. They are closer together at n too: where a
few columns have most of the energy, the last ones pruned, a bound that falls to 0 before them would
be the least of all. Each is found from the last by a few gradient steps (`frank_wolfe.hull`).
"""

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline

OFFSETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
"""Distances from the own budget, in units of n / 128 columns."""

FROM_ALL = (32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Columns that the last budgets are less than n."""

ITERATIONS = 60


def points_for_other_budgets(
    quad: Matrix, groups: BudgetGroups, function: ConvexFunction, x: Vector, deadline: Deadline
) -> Matrix:
    """(points, n) of the row's function under other budgets; x: (n,), near the own minimiser.

    groups: of one group. None is missing when the deadline comes, only worse.
    """
    n, own = groups.n, groups.pruned
    matrix, linear, _ = convexify.quadratic(quad, groups, function)
    unit = max(1, n // 128)
    below = [own - offset * unit for offset in OFFSETS]
    above = {own + offset * unit for offset in OFFSETS} | {n - left for left in FROM_ALL}
    found = []
    for side in (below, sorted(above)):
        start = x
        for budget in side:
            if 0 < budget < n and (budget < own) == (side is below):
                moved = linear + (own - budget) * function.alpha[0]
                point = hull.minimise(
                    Quadratic(matrix, moved, 0.0),
                    BudgetGroups(n, n, budget),
                    deadline,
                    iterations=ITERATIONS,
                    start=start,
                )
                start = point.x
                found.append(start)
    return np.array(found).reshape(-1, n)
