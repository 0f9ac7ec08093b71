"""Sets with an oracle in closed form, beside boxes with a budget (`mixed.budget`).

Birkhoff   x is a permutation matrix of order d, row by row in n = d^2 variables; its oracle is
           an assignment problem (`scipy.optimize.linear_sum_assignment`)
function   a set that a callable knows
"""

from collections.abc import Callable
from math import fsum, inf
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite, number
from maskgap.solvers.oracles.mixed.protocol import SUMMING, Space, Vertex, box_violation

NEAR = 1e-7
"""How far from a point one of the set is looked for, relative to its size."""


class BirkhoffSet:
    """Oracle of the permutation matrices of order d; see `SetOracle`."""

    def __init__(self, order: int) -> None:
        self.order = order
        n = order * order
        self.space = Space(np.zeros(n), np.ones(n), np.ones(n, dtype=np.bool_))

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`."""
        d = self.order
        cost = direction.reshape(d, d).copy()
        cost[upper.reshape(d, d) < 1.0] = inf
        one: Flags = np.asarray(lower.reshape(d, d) > 0.0)
        if one.any(axis=1).sum() != one.sum() or one.any(axis=0).sum() != one.sum():
            return None
        # a place that is 1 leaves its row and its column no other
        closed = (one.any(axis=1, keepdims=True) | one.any(axis=0, keepdims=True)) & ~one
        cost[closed] = inf
        try:
            rows, columns = linear_sum_assignment(cost)
        except ValueError:  # "cost matrix is infeasible"
            return None
        point = np.zeros((d, d))
        point[rows, columns] = 1.0
        terms = cost[rows, columns]
        # its duals are sums of up to d costs, of which some may be far above those of the optimum
        size = float(np.abs(terms).sum() + np.abs(direction).max())
        bound = fsum(terms.tolist()) - SUMMING * d * size
        return Vertex(point.ravel(), bound)

    def violation(self, point: Vector) -> float:
        """As `SetOracle.violation`."""
        square = point.reshape(self.order, self.order)
        sums = np.concatenate([square.sum(axis=0), square.sum(axis=1)])
        return max(box_violation(self.space, point), float(np.abs(sums - 1.0).max()))

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """It needs no limit."""


class FunctionSet:
    """Oracle of a set that a callable knows; see `make.function`."""

    def __init__(
        self,
        call: Callable[[Vector, Vector, Vector], Any],
        space: Space,
        violation: Callable[[Vector], float] | None,
    ) -> None:
        self._call, self.space, self._violation = call, space, violation

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`. Raises InputError for an answer that is none."""
        answer = self._call(direction.copy(), lower.copy(), upper.copy())
        if answer is None:
            return None
        bound = None
        if isinstance(answer, tuple):
            if len(answer) != 2:
                raise InputError("oracle: expected a point, (point, bound), or None")
            answer, bound = answer
        point = finite("oracle: its point", answer)
        if point.shape != direction.shape:
            raise InputError(f"oracle: expected a point ({len(direction)},), not {point.shape}")
        whole = self.space.integral
        nearest = np.round(point[whole])
        if (np.abs(point[whole] - nearest) > NEAR).any():
            raise InputError("oracle: its point has fractions where integrality says whole")
        point[whole] = nearest
        slack = 1e-6 * np.maximum(1.0, np.abs(point))
        if (point < lower - slack).any() or (point > upper + slack).any():
            raise InputError("oracle: its point leaves the bounds that it was called with")
        np.clip(point, lower, upper, out=point)
        value = float(direction @ point)
        proved = value if bound is None else number("oracle: its bound", bound, endless=True)
        return Vertex(point, min(proved, value))

    def violation(self, point: Vector) -> float:
        """As `SetOracle.violation`; where it is not known, by a point of the set that is near.

        Raises InputError for an answer that is no number.
        """
        missed = box_violation(self.space, point)
        if self._violation is not None:
            told = number("violation: what it returns", self._violation(point.copy()), endless=True)
            return max(missed, told)
        slack = np.where(self.space.integral, 0.0, NEAR * np.maximum(1.0, np.abs(point)))
        lower = np.maximum(point - slack, self.space.lower)
        upper = np.minimum(point + slack, self.space.upper)
        near = self.minimise(np.zeros_like(point), lower, upper) if missed <= NEAR else None
        if near is None or near.point is None:
            return inf
        return max(missed, float(np.abs(near.point - point).max()))

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """A callable has no limit."""
