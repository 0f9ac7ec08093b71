"""The saddle point of a whole row: the best diagonal of the root, and the pruned shares there.

Of equal groups it is theirs; of another set of masks, that of one budget of as many columns as some
mask of it prunes: any feasible diagonal gives bounds that hold.
"""

from typing import NamedTuple

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.bounds.perspective.saddle import saddle


class Start(NamedTuple):
    """Where the steps begin, and how many there are. diagonal: (n,), feasible, strictly inside."""

    diagonal: Vector
    steps: int


def root_saddle(
    hessian: Matrix, target: Vector, groups: BudgetGroups, start: Start
) -> tuple[Vector, Vector] | None:
    """(D (n,), z (n,)), converged or as far as the steps go; None where no step could be made.

    hessian: (n, n); target: (n,). groups: each prunes some columns and not all.
    """
    n = len(target)
    found = saddle(
        hessian, target, np.arange(n) // groups.size, np.full(groups.count, groups.pruned), np.inf,
        start.diagonal, np.full(n, groups.pruned / groups.size), 0.0, 0.0, np.full(1, start.steps),
    )  # fmt: skip
    return (found[2], found[3]) if found[0] > -np.inf else None


def groups_or_one(groups: BudgetGroups | None, n: int, pruned: int) -> BudgetGroups:
    """Equal groups as they are, or one of all columns with as many pruned."""
    return BudgetGroups(n, n, pruned) if groups is None else groups
