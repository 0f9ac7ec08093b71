"""A budget and a cost budget together: exactly k columns pruned, the kept ones not too dear.

    minimise sum g_j z_j   subject to   sum z_j = k,   sum c_j z_j >= C,   c integer, at least 0

by dynamic programming from the last column back: V_j[a][r] is the least sum over columns j, ..., n
that prunes a of them and at least r of their costs,

    V_j[a][r] = min( V_{j+1}[a][r],  g_j + V_{j+1}[a - 1][max(0, r - c_j)] ).

It takes n (k + 1) (C + 1) steps, and as many bytes for the choices. Costs are divided by what all
of them are multiples of. Only the sums are rounded. The hull can lie strictly inside the
relaxation: a knapsack.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Pruned, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import KEPT, PRUNED, States

LARGEST_TABLE = 1 << 28
"""Most choices that are kept; beyond, costs must be given in coarser units."""


@dataclass(frozen=True, eq=False)
class CostRule:
    """The oracle of a budget k = pruned with costs (n,) int64, of which `least` must be pruned."""

    cost: NDArray[np.int64]
    pruned: int
    least: int

    @staticmethod
    def of(cost: NDArray[np.int64], pruned: int, least: int) -> "CostRule":
        """The rule in the coarsest unit. Raises InputError where its table would be too large."""
        unit = max(1, int(np.gcd.reduce(cost)))
        rule = CostRule(cost // unit, pruned, max(0, -(-least // unit)))
        entries = len(cost) * (pruned + 1) * (rule.least + 1)
        if entries > LARGEST_TABLE:
            raise InputError(
                f"a cost budget that prunes {rule.least} units over {len(cost)} columns takes a "
                f"table of {entries} entries, more than {LARGEST_TABLE}; give column_cost in "
                "coarser units"
            )
        return rule

    @property
    def error(self) -> float:
        """As `Rule.error`."""
        return 0.0

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`; of equal sums, the one that keeps the lower columns."""
        n, k, most = len(gradient), self.pruned, self.least
        value = np.full((k + 1, most + 1), np.inf)
        value[0, 0] = 0.0
        taken = np.zeros((n, k + 1, most + 1), dtype=bool)
        nothing = np.full_like(value, np.inf)
        for j in range(n - 1, -1, -1):
            take = nothing
            if state[j] != KEPT:
                step = min(int(self.cost[j]), most)
                take = np.full_like(value, np.inf)
                take[1:, :step] = value[:-1, :1] + gradient[j]
                take[1:, step:] = value[:-1, : most + 1 - step] + gradient[j]
            skip = nothing if state[j] == PRUNED else value
            taken[j] = take < skip
            value = np.minimum(take, skip)
        if not np.isfinite(value[k, most]):
            return None
        pruned = Pruned(np.zeros(n, dtype=bool))
        a, r = k, most
        for j in range(n):
            if taken[j, a, r]:
                pruned[j] = True
                a, r = a - 1, max(0, r - int(self.cost[j]))
        return pruned
