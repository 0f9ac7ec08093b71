"""The oracle of equal budget groups in closed form: one stable sort a group.

In a group with k columns to prune, those forced to be pruned come first, then the free ones by
gradient, those forced to be kept last; the first k of this order are a minimiser,

    order by  -inf (forced pruned)  <  g_j (free)  <  +inf (forced kept).

The node is empty exactly when some group has a forced kept column among its first k, or a forced
pruned one behind them. Ties go to the lower column.
"""

from math import fsum

import numpy as np
from numpy.typing import NDArray

from instances.errors import InputError
from instances.groups import BudgetGroups, Vector


class ClosedForm:
    """Minimum over the legal masks of a node by sorting; see `Oracle`."""

    def __init__(self, groups: BudgetGroups) -> None:
        self.groups = groups
        self.calls = 0
        self._key = np.empty(groups.n)
        self._first = np.arange(0, groups.n, groups.size)[:, None]

    def minimise(self, gradient: Vector, state: NDArray[np.int8], vertex: Vector) -> float:
        """As `Oracle.minimise`; the bound is the minimum, correctly rounded to float64."""
        self.calls += 1
        check_finite(gradient)
        groups, key = self.groups, self._key
        key[:] = gradient
        key[state == 1] = -np.inf
        key[state == 2] = np.inf
        order = key.reshape(groups.count, groups.size).argsort(axis=1, kind="stable")
        order += self._first
        pruned, kept = order[:, : groups.pruned].ravel(), order[:, groups.pruned :].ravel()
        if (key[pruned] == np.inf).any() or (key[kept] == -np.inf).any():
            return float("inf")
        vertex[:] = 0.0
        vertex[pruned] = 1.0
        return fsum(gradient[pruned].tolist())


def check_finite(gradient: Vector) -> None:
    """Raise InputError for a gradient with an entry that is not finite: it has no order."""
    if not np.isfinite(gradient).all():
        column = int(np.argmin(np.isfinite(gradient)))
        raise InputError(f"the gradient of column {column} is {gradient[column]}, not finite")
