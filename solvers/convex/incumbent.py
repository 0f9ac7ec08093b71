"""The best feasible point so far, and what closes nodes.

With z its value, nodes close at z - max(gap |z|, absolute gap): no point that is left out is better
by more.
"""

from collections.abc import Callable
from math import inf

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.solvers.convex.result import Ended
from maskgap.solvers.convex.watched import Watched
from maskgap.solvers.kernels.cache import clock
from maskgap.solvers.oracles.mixed.protocol import SetOracle
from maskgap.solvers.protocol import TracePoint

ROUNDING = 1e-13
"""Share of the terms of f at the best point that no bound can be closer than."""

ROUNDED = 1.0 - 1e-6
"""Nodes close a little above what is allowed, so that the gap holds after rounding."""


class Incumbent:
    """Holds the best point offered that is feasible within `feasibility`.

    gaps: relative, absolute. worth: point -> its value, of `function` for None.
    """

    def __init__(
        self,
        function: Watched,
        oracle: SetOracle,
        feasibility: float,
        gaps: tuple[float, float],
        worth: Callable[[Vector], float] | None = None,
    ) -> None:
        self._worth = function.value if worth is None else worth
        self._function, self._oracle, self.feasibility = function, oracle, feasibility
        self.relative, self._absolute = gaps
        self._start = clock()
        self.x: Vector | None = None
        self.value, self.bound, self.cut = inf, -inf, inf
        self.trace: list[TracePoint] = []
        self.improved: Callable[[], None] = lambda: None

    @property
    def absolute(self) -> float:
        """The difference that is enough, and never less than what rounding may make of none."""
        if self.x is None:
            return self._absolute
        return max(self._absolute, ROUNDING * self._function.terms(self.x))

    def allowed(self, value: float) -> float:
        """What a bound may lack of a value."""
        return max(self.relative * abs(value), self.absolute)

    def offer(self, point: Vector) -> bool:
        """Take a point if it is feasible and better; whole variables are rounded first."""
        x = point.copy()
        integral = self._oracle.space.integral
        x[integral] = np.round(x[integral]) + 0.0  # no zero of the other sign
        if not self._oracle.violation(x) <= self.feasibility:
            return False
        value = self._worth(x)
        if value >= self.value:
            return False
        self.x, self.value = x, value
        self.cut = value - ROUNDED * self.allowed(value)
        self._note()
        self.improved()
        return True

    def ended(self, bound: float) -> Ended:
        """How a search ended that has no open nodes; bound: the least of its leaves."""
        if self.x is None:
            return Ended.INFEASIBLE if bound == inf else Ended.STALLED
        return Ended.GAP if bound >= self.value - self.allowed(self.value) else Ended.STALLED

    def bounded(self, bound: float) -> None:
        """Note a bound of the whole set."""
        if bound > self.bound:
            self.bound = bound
            self._note()

    def _note(self) -> None:
        objective = None if self.value == inf else self.value
        bound = None if self.bound == -inf else self.bound
        self.trace.append(TracePoint(clock() - self._start, objective, bound))
