"""Minimise F(x) = x^T P x + q^T x + c, P positive semidefinite, over the hull of the legal masks.

The hull of the budget groups is a product of hypersimplices { 0 <= x <= 1, sum of a group = k }.
Any point x, minimiser or not, feasible or not, gives a lower bound on F over all legal masks by
convexity (the Frank-Wolfe bound):

    F(v) >= F(x) + grad F(x) . (v - x) = c - x^T P x + (2 P x + q) . v   for all v, so
    bound(x) = c - x^T P x + min over legal v of (2 P x + q) . v,        one sort per group.

A solver's value of F is *not* a bound; this is. The method is accelerated projected gradient with
step 1 / (2 lambda_max(P)), restarted when the momentum points uphill (Nesterov; O'Donoghue and
Candes, Foundations of Computational Mathematics 15, 2015); the projection finds the multiplier of
each budget by bisection over its breakpoints. Over any other set of masks, Frank-Wolfe steps on the
vertices that its oracle gives (`frank_wolfe.vertices`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE
from maskgap.solvers.frank_wolfe import steps, vertices
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.shift import largest_eigenvalue
from maskgap.solvers.oracles import closed_form
from maskgap.solvers.oracles.make import exact_oracle
from maskgap.solvers.protocol import Deadline

GAP = 1e-9
"""Relative gap between F(x) and its bound at which the minimisation stops."""

CHECK_EVERY = 10

MOST_CALLS = 300
"""Most calls of the oracle of a set that is not one of equal groups."""


@dataclass(frozen=True, eq=False)
class HullPoint:
    """A point and what it shows.

    x: (n,) float64 in [0, 1]. value: F(x), which is no bound. bound: that of the linearisation,
    not rounded down. iterations: steps taken.
    """

    x: Vector
    value: float
    bound: float
    iterations: int = 0

    @property
    def gap(self) -> float:
        """Distance of value and bound as a share of |value|, or of 1e-12 where that is more."""
        return max(0.0, self.value - self.bound) / max(abs(self.value), 1e-12)


def linearise(function: Quadratic, legal: MaskSet, x: Vector) -> HullPoint:
    """F(x) and the bound of its linearisation at x (n,)."""
    product = function.matrix @ x
    gradient = 2.0 * product + function.linear
    free = np.full(legal.n, FREE, np.int8)
    least = exact_oracle(legal).minimise(gradient, free, np.empty(legal.n))
    curved = float(x @ product)
    value = curved + float(function.linear @ x) + function.constant
    return HullPoint(x, value, least - curved + function.constant)


def project(y: Vector, groups: BudgetGroups) -> Vector:
    """The point of the hull nearest to y (n,): clip(y - t_g, 0, 1) with t_g set by the budget.

    The sum of a clipped group falls piecewise linearly in t with breakpoints y_i and y_i - 1.
    """
    if groups.pruned in (0, groups.size):
        return np.full(groups.n, float(groups.pruned > 0))
    grouped = y.reshape(groups.count, groups.size)
    breaks = np.sort(np.concatenate([grouped - 1.0, grouped], axis=1), axis=1)
    row = np.arange(groups.count)
    low, high = np.zeros(groups.count, dtype=int), np.full(groups.count, 2 * groups.size - 1)

    def total(at: Vector) -> Vector:
        return np.asarray(np.clip(grouped - at[:, None], 0.0, 1.0).sum(axis=1))

    while (high - low).max() > 1:
        middle = (low + high) // 2
        enough = total(breaks[row, middle]) >= groups.pruned
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    left, right = breaks[row, low], breaks[row, high]
    above, below = total(left), total(right)
    slope = np.where(above > below, above - below, 1.0)
    shift = left + (above - groups.pruned) / slope * (right - left)
    return np.asarray(np.clip(grouped - shift[:, None], 0.0, 1.0).ravel())


def minimise(
    function: Quadratic,
    legal: MaskSet,
    deadline: Deadline,
    *,
    iterations: int = 1000,
    start: Vector | None = None,
    gap: float = GAP,
) -> HullPoint:
    """The point with the best bound seen; stops at a gap, after `iterations`, or at the deadline.

    start: a point (n,) to start from, else the centre; only equal groups use it. An expired
    deadline leaves the bound of the first point, valid too.
    """
    groups = legal.equal_groups
    if groups is not None:
        centre = np.full(groups.n, groups.pruned / groups.size)
        x = centre if start is None else project(start, groups)
        return _on_groups(function, groups, x, _Until(deadline, iterations, gap))
    found = vertices.minimise(
        function,
        np.full(legal.n, FREE, np.int8),
        exact_oracle(legal),
        vertices.Start(Pool(legal.n), ActiveSet.empty()),
        vertices.Until(deadline, calls=min(iterations, MOST_CALLS)),
    )
    return HullPoint(found.x, found.value, found.bound, found.steps)


@dataclass(frozen=True, slots=True)
class _Until:
    """When to stop."""

    deadline: Deadline
    iterations: int
    gap: float


def _on_groups(function: Quadratic, groups: BudgetGroups, x: Vector, until: _Until) -> HullPoint:
    """As `minimise`, by projected gradients from a point x (n,) of the hull."""
    matrix, linear = function.matrix, function.linear
    best = linearise(function, groups, x)
    if groups.pruned in (0, groups.size):
        return best
    largest = largest_eigenvalue(matrix)
    step = 0.5 / largest if largest > 0.0 else 1.0
    ahead, momentum = x, 1.0
    for iteration in range(1, until.iterations + 1):
        new = project(ahead - step * (2.0 * (matrix @ ahead) + linear), groups)
        if float((ahead - new) @ (new - x)) > 0.0:
            momentum = 1.0
        following = 0.5 * (1.0 + float(np.sqrt(1.0 + 4.0 * momentum * momentum)))
        ahead = new + (momentum - 1.0) / following * (new - x)
        x, momentum = new, following
        if iteration % CHECK_EVERY == 0 or iteration == until.iterations:
            point = linearise(function, groups, x)
            if point.bound > best.bound:
                best = HullPoint(x, point.value, point.bound, iteration)
            if point.gap <= until.gap or until.deadline.expired():
                break
    return best


def stated_bound(convex: Quadratic, legal: MaskSet, x: Vector, margin: float) -> float:
    """The bound to state for the root leaf of a convex function at x (n,), in its units.

    x is rounded to float32 first, as in the proof. margin: that of `convexify.rounding_margin`,
    which is taken off; a negative bound becomes 0, which holds of every loss.
    """
    stored = np.clip(x, 0.0, 1.0).astype(np.float32).astype(np.float64)
    return max(0.0, linearise(convex, legal, stored).bound - margin)


def warm_ups() -> tuple[Callable[[], object], ...]:
    """What compiles all that minimising over any hull calls, or loads it."""
    return closed_form.warm_up, steps.warm_up
