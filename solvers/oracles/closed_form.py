"""The oracle of equal budget groups in closed form, behind the interface of the others.

In a group with k columns to prune, those forced to be pruned come first, and what is left of k goes
to the free ones of least gradient; ties go to the lower column. The node is empty exactly when some
group has more forced than k, or too few columns that can be pruned. The search calls the same
kernel, `equal_groups.vertex_along`, from compiled code.
"""

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import States
from maskgap.solvers.oracles.equal_groups import still_open, vertex_along


class ClosedForm:
    """Minimum over the legal masks of a node by partition; see `Oracle`."""

    def __init__(self, groups: BudgetGroups) -> None:
        self.groups = groups

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """As `Oracle.minimise`; the bound is the minimum up to the rounding of a sum."""
        check_finite(gradient)
        size, pruned = self.groups.size, self.groups.pruned
        for first in range(0, self.groups.n, size):
            left, free = still_open(pruned, state, first, first + size)
            if not 0 <= left <= free:
                return float("inf")
        return float(vertex_along(size, pruned, state, gradient, vertex))


def check_finite(gradient: Vector) -> None:
    """Raise InputError for a gradient with an entry that is not finite: it has no order."""
    if not np.isfinite(gradient).all():
        column = int(np.argmin(np.isfinite(gradient)))
        raise InputError(f"the gradient of column {column} is {gradient[column]}, not finite")


def warm_up() -> None:
    """Compile the kernels, or load them."""
    ClosedForm(BudgetGroups(2, 2, 1)).minimise(np.zeros(2), np.zeros(2, np.int8), np.zeros(2))
