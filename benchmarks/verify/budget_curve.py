"""Lower bounds where rows share one budget (`layer:P%`), from proofs of single rows.

Let b_r(k) be a lower bound on the loss of row r over all masks that prune k of its columns. For any
multiplier t, no mask that prunes K columns of all rows together has a loss below

    sum over rows of  min over k of (b_r(k) - t k)   +   t K,

as the pruned columns of the rows sum to K. The multiplier is found here, by bisection on the
derivative in t, K less the sum of the minimisers k; no proof has to name it.

Rounding. The sum over rows is rounded down; the b_r come from `benchmarks.verify.shared_budget`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, nextafter

import numpy as np

from maskgap.benchmarks.verify.quadratic import TINY
from maskgap.instances.arrays import Vector

BISECTIONS = 100
"""Halvings of the interval of the multiplier, which floating-point numbers outlast."""

UNIT = 2.0**-52


@dataclass(frozen=True, eq=False)
class BudgetShare:
    """What rows with one budget come to.

    bound: on the sum of their losses, rounded down. multiplier: t. budgets: (rows,) the minimising
    k of each row. parts: (rows,) min of b_r(k) - t k.
    """

    bound: float
    multiplier: float
    budgets: Vector
    parts: Vector


def share_budget(curves: Sequence[Vector], total: int) -> BudgetShare:
    """The best bound that rows with b_r (n + 1,) each have when they prune `total` columns."""
    table = np.stack(curves)
    budgets = np.arange(table.shape[1], dtype=np.float64)

    def at(multiplier: float) -> BudgetShare:
        value = table - multiplier * budgets
        # a product and a difference, each rounded once
        value -= UNIT * (np.abs(multiplier) * budgets + np.abs(value)) + TINY
        best = value.argmin(axis=1)
        parts = value[np.arange(len(table)), best]
        sum_down = nextafter(fsum([*parts.tolist(), 0.0]), -np.inf)
        paid = nextafter(multiplier * total, -np.inf)
        bound = nextafter(sum_down + paid, -np.inf)
        return BudgetShare(max(0.0, bound), multiplier, best.astype(np.float64), parts)

    best = low = at(0.0)
    high = at(float(np.diff(table, axis=1).max(initial=0.0)) + 1.0)
    for _ in range(BISECTIONS):
        best = max(best, low, high, key=lambda found: found.bound)
        middle = 0.5 * (low.multiplier + high.multiplier)
        if not low.multiplier < middle < high.multiplier:
            break
        found = at(middle)
        low, high = (found, high) if found.budgets.sum() < total else (low, found)
    return best
