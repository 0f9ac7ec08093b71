"""The relaxation of a node of a search, which begins with the triangle inequalities of its parent.

Once columns are fixed, s_j = +1 (pruned) or -1 (kept), and (1, s) has s_j = +-s_0. So c . (1, s)
with one fixed column is that of a triangle with index 0 in its place and a sign that may turn; with
two or more it says nothing about two columns any more and is left out. What held its parent's
bound up mostly holds that of a child up too: the method runs from its start without inequalities
until it is ready for some (`bounds.semidefinite`), takes the heaviest of the inherited ones all at
once, and goes on with a few rounds of new ones. That costs about half of a run that finds them all,
and leads as far. (To start from the dual point of the parent, which is feasible, takes more steps:
its primal side is far from feasible.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, States
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.interior import advance
from maskgap.solvers.bounds.iterate import Iterate, centre
from maskgap.solvers.bounds.semidefinite import (
    MOST_STEPS,
    Effort,
    lift,
    lifted_cost,
    ready,
    with_cuts,
)
from maskgap.solvers.bounds.triangles import Cuts, no_cuts
from maskgap.solvers.protocol import Deadline


@dataclass(frozen=True, eq=False)
class Inherited:
    """Triangle inequalities with their weights (m,), by the indices of some row."""

    cuts: Cuts
    weight: Vector

    @staticmethod
    def none() -> "Inherited":
        """None at all."""
        return Inherited(no_cuts(), np.zeros(0))

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self.cuts.index.nbytes + self.cuts.apex.nbytes + self.weight.nbytes

    def heaviest(self, most: int) -> "Inherited":
        """At most so many, in their order."""
        if len(self.weight) <= most:
            return self
        chosen = np.sort(np.argsort(-self.weight, kind="stable")[:most])
        return Inherited(self.cuts.where(chosen), self.weight[chosen])

    def on_free(self, state: States) -> "Inherited":
        """Those that are left on the free columns of a state (n,), by places among these."""
        free = np.flatnonzero(state == FREE)
        place = np.zeros(len(state) + 1, np.int64)
        place[free + 1] = np.arange(1, len(free) + 1)
        turned = np.concatenate([[1.0], np.where(state == KEPT, -1.0, 1.0)])
        old = self.cuts.index
        index, signs = place[old], self.cuts.signs * turned[old]
        left = (index == 0).sum(axis=1) <= 1
        index, signs, weight = index[left], signs[left], self.weight[left]
        order = np.argsort(index, axis=1, kind="stable")
        index = np.take_along_axis(index, order, axis=1)
        signs = np.take_along_axis(signs, order, axis=1)
        signs[(signs < 0.0).sum(axis=1) >= 2] *= -1.0  # c and -c are the same
        turned_one = (signs < 0.0).any(axis=1)
        cuts = Cuts(index, np.where(turned_one, (signs < 0.0).argmax(axis=1), -1))
        _, first, of_key = np.unique(cuts.keys(), return_index=True, return_inverse=True)
        return Inherited(cuts.where(first), _summed(of_key, weight, len(first)))

    def spread(self, free: NDArray[np.intp]) -> "Inherited":
        """The same by the indices of the whole row. free: (m,) its columns, ascending."""
        place = np.concatenate([[0], np.asarray(free, np.int64) + 1])
        return Inherited(Cuts(place[self.cuts.index], self.cuts.apex), self.weight)


def _summed(of_key: NDArray[np.intp], weight: Vector, keys: int) -> Vector:
    """(keys,) the weights of each."""
    return np.asarray(np.bincount(of_key, weight, keys), np.float64)


def solve_inheriting(
    quad: Matrix, groups: BudgetGroups, known: Inherited, until: "Until"
) -> tuple[Iterate, int] | None:
    """The iterate of largest value that the method meets, and steps.

    quad: (n, n) float64, which need not be semidefinite, mean diagonal near 1. groups: with a mask
    to choose. known: by the indices of quad. None where the arithmetic does not allow a start.
    """
    at, deadline = centre(Face(groups), lifted_cost(quad)), until.deadline
    for steps in range(MOST_STEPS):
        if ready(at) or deadline.expired():
            break
        following = advance(at)
        if following is None:
            return (at, steps) if np.isfinite(at.value) else None
        at = following
    fuller = with_cuts(at, known.cuts) if len(known.weight) else None
    best, more = lift(at if fuller is None else fuller, deadline, until.effort, until.value)
    return (best, steps + more) if np.isfinite(best.value) else None


@dataclass(frozen=True, slots=True)
class Until:
    """When to stop: effort; the value that is enough."""

    deadline: Deadline
    effort: Effort
    value: float
