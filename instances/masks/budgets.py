"""A budget and caps on disjoint groups: k columns pruned, and at least `least` in each group.

    minimise sum g_j z_j   subject to   sum z_j = k,   sum of z over each group >= least

The `least` columns of smallest g go in each group, then the smallest of all others, until k are
pruned: any other set can be exchanged into this one without a loss. Forced columns come first. The
rows are a laminar family, so the relaxation is the hull.
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Pruned, Vector
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, PRUNED, States


@dataclass(frozen=True)
class BudgetRule:
    """The oracle of `pruned` columns of which `least` lie in each of the groups of `size`."""

    pruned: int
    size: int
    least: int = 0

    @property
    def error(self) -> float:
        """As `Rule.error`."""
        return 0.0

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`: sorts; ties go to the lower column."""
        chosen = state == PRUNED
        free = (state == FREE).reshape(-1, self.size)
        needed = np.maximum(0, self.least - chosen.reshape(-1, self.size).sum(axis=1))
        left = self.pruned - int(chosen.sum()) - int(needed.sum())
        if (needed > free.sum(axis=1)).any() or not 0 <= left <= int(
            (free.sum(axis=1) - needed).sum()
        ):
            return None
        grouped = np.where(free, gradient.reshape(-1, self.size), np.inf)
        order = np.argsort(grouped, axis=1, kind="stable")
        first = np.arange(self.size) < needed[:, None]
        taken = np.zeros(free.shape, dtype=bool)
        np.put_along_axis(taken, order, first, axis=1)
        rest = np.where(free & ~taken, grouped, np.inf).reshape(-1)
        chosen = chosen | taken.reshape(-1)
        chosen[np.argsort(rest, kind="stable")[:left]] = True
        return Pruned(chosen)
