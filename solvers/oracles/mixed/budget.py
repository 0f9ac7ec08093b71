"""Boxes with a budget on the sum of their variables, in closed form.

    S = { x :  lower <= x <= upper,  least <= sum of x <= most },   all variables whole or none,

which is a box without a budget, the simplex and the hypersimplex with least = most, cardinality
with binaries. Each variable goes to the bound that its price asks for; if the sum then misses a
side, variables of the prices nearest to 0 move back, and those that would move next give reduced
costs: with a price m of the budget, each unit of x_j away from its bound costs |g_j - m| at least.
Where bounds and sides are whole, so is the point.
"""

from collections.abc import Callable
from fractions import Fraction
from math import fsum, inf

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused
from maskgap.solvers.oracles.mixed.protocol import SUMMING, WHOLE, Space, Vertex, box_violation


class BudgetSet:
    """Oracle of a box with a budget; see `SetOracle`. least, most: of the sum, or infinite."""

    def __init__(self, space: Space, least: float = -inf, most: float = inf) -> None:
        if space.integral.any():
            if not space.integral.all():
                raise InputError("a budget takes whole variables or continuous ones, not both")
            least, most = float(np.ceil(least - WHOLE)), float(np.floor(most + WHOLE))
        self.space, self.least, self.most = space, least, most

    def violation(self, point: Vector) -> float:
        """As `SetOracle.violation`."""
        total = fsum(point.tolist())
        return max(box_violation(self.space, point), self.least - total, total - self.most)

    def shows_empty(self, lower: Vector, upper: Vector) -> bool:
        """Whether a box (n,) has no point of the set, in rational arithmetic."""
        if (lower > upper).any():
            return True
        for sides, side, sign in ((lower, self.most, 1), (upper, self.least, -1)):
            if np.isfinite(sides).all() and np.isfinite(side):
                missed = sum(map(Fraction, sides.tolist())) - Fraction(side)
                if sign * missed > 0:
                    return True
        return False

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """It needs no limit."""

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`."""
        lower, upper = self._bounded(lower, upper)
        if (lower > upper).any():
            return None
        point = np.where(direction > 0.0, lower, upper)
        point[direction == 0.0] = np.clip(0.0, lower, upper)[direction == 0.0]
        total, room = float(point.sum()), True
        if total > self.most:
            room = self._move(point, direction, lower, total - self.most)
        elif total < self.least:
            room = self._move(point, -direction, upper, self.least - total)
        if not room:
            return None
        np.clip(point, lower, upper, out=point)
        terms = direction * point
        bound = fsum(terms.tolist()) - SUMMING * float(np.abs(terms).sum())
        return Vertex(point, bound, self._rises(direction, point, (lower, upper)))

    def _move(self, point: Vector, price: Vector, towards: Vector, much: float) -> bool:
        """Move the sum by so much, dearest first, in place; whether there is room for that."""
        room = np.abs(point - towards)
        order = np.argsort(-np.where(room > 0.0, price, -inf), kind="stable")
        before = np.cumsum(room[order]) - room[order]
        if before[-1] + room[order[-1]] < much - 1e-9 * max(1.0, abs(much)):
            return False
        share = np.clip(much - before, 0.0, room[order])
        point[order] += np.sign(towards - point)[order] * share
        return True

    def _rises(self, direction: Vector, point: Vector, box: tuple[Vector, Vector]) -> Vector:
        """What a unit away from the bound that it is at costs each variable, at least.

        Where the sum is at a side, another variable moves back: the dearest that can fall when one
        rises, the cheapest that can rise when one falls, or none where the side allows for that.
        """
        lower, upper = box
        total = float(point.sum())
        falling = float(direction[point > lower].max(initial=-inf))
        rising = float(direction[point < upper].min(initial=inf))
        at_most, at_least = total >= self.most, total <= self.least
        if at_most and not at_least:
            falling, rising = min(falling, 0.0), min(rising, 0.0)
        elif at_least and not at_most:
            falling, rising = max(falling, 0.0), max(rising, 0.0)
        elif not at_most:
            falling = rising = 0.0
        rises = np.where(point == lower, np.maximum(direction - falling, 0.0), 0.0)
        rises = np.where(point == upper, np.maximum(rising - direction, 0.0), rises)
        return np.where(lower < upper, rises, 0.0)

    def _bounded(self, lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
        """What bounds and budget say of each variable together. Raises Refused where infinite."""
        low, high = lower, upper  # no further than each other: `_move` says whether there is room
        if self.most < inf and np.isfinite(lower).all():
            high = np.maximum(lower, np.minimum(upper, self.most - lower.sum() + lower))
        if self.least > -inf and np.isfinite(upper).all():
            low = np.minimum(upper, np.maximum(lower, self.least - upper.sum() + upper))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise Refused("the set is unbounded: give its variables finite bounds")
        return low, high
