"""The linear minimisation oracle of a mixed-integer set: the whole interface to it.

With S a bounded set of points whose integral variables have whole values, a node of a search is a
box lower <= x <= upper, and its oracle solves

    min < direction, v >   over   { v in S : lower <= v <= upper }.

The point is what Frank-Wolfe steps are made of; a bound of the node needs a lower bound on the
minimum, which is the *dual* bound of a mixed-integer solver, never the value of its point.

Slices of S with all integral variables fixed are taken to be convex, as they are where S is given
by linear rows. An oracle serves one thread at a time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan
from typing import Protocol, runtime_checkable

import numpy as np

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.layer import unit_exponent
from maskgap.instances.numbers import reals

STANDARD_EXPONENT = 10
"""Largest cost of a native model, as a power of two: its tolerances are absolute."""

SUMMING = 2.0**-50
"""Share of the terms' sizes by which a bound is lowered for the rounding of their sum."""

NO_MINIMUM = (
    "the set is unbounded in a direction in which the objective falls: give its variables finite "
    "bounds, or rows that bound them"
)
"""What is said of such a set."""

UNBOUNDED = 1e20
"""Bounds and sides from here on are none, as native solvers have it."""

WHOLE = 1e-9
"""A bound of a whole variable this near to a whole number is taken for it."""


@dataclass(frozen=True, eq=False, slots=True)
class Space:
    """The variables of a set.

    lower, upper: (n,) float64, of all points of it, infinite where no bound is known. integral:
    (n,) bool, variables that have whole values; their bounds are whole where they are finite.
    """

    lower: Vector
    upper: Vector
    integral: Flags

    @property
    def n(self) -> int:
        """Number of variables."""
        return len(self.lower)


@dataclass(frozen=True, eq=False, slots=True)
class Vertex:
    """What an oracle found: a point (n,) float64 of the node, and a lower bound on its minimum.

    point: None where it has a bound alone, for want of time. rises: (n,) float64 or None,
    < direction, v > >= bound + rises_j |v_j - point_j| for every v of the node and each j alone.
    """

    point: Vector | None
    bound: float
    rises: Vector | None = None


@runtime_checkable
class SetOracle(Protocol):
    """Minimises linear functions over the points of a set in a box."""

    @property
    def space(self) -> Space:
        """The variables of the set."""
        ...

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """A least point of the box, or None for a box without points.

        direction, lower, upper: (n,) float64; the direction is finite. Raises Refused where the
        minimum is unbounded, NativeError where a native solver fails.
        """
        ...

    def violation(self, point: Vector) -> float:
        """By how much a point (n,) misses the set: of bounds, rows and integrality, the most."""
        ...

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """From now on a call may take so many seconds; for native solvers."""
        ...


class CountedSet:
    """An oracle with a count of its calls and of the seconds spent in them."""

    def __init__(self, oracle: SetOracle) -> None:
        self.oracle, self.space = oracle, oracle.space
        self.calls, self.seconds = 0, 0.0

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`; a box that is empty by its bounds is not asked about.

        Raises InputError for an answer that is none.
        """
        if (lower > upper).any():
            return None
        self.calls += 1
        start = time.perf_counter()
        try:
            found = self.oracle.minimise(direction, lower, upper)
        finally:
            self.seconds += time.perf_counter() - start
        if found is None:
            return None
        if not _is_answer(found, self.space.n):
            raise InputError(f"oracle: expected a Vertex of ({self.space.n},) finite, or None")
        return found

    def shows_empty(self, lower: Vector, upper: Vector) -> bool:
        """Whether the oracle can show that a box (n,) has no point, and does; most cannot."""
        shown = getattr(self.oracle, "shows_empty", None)
        return bool((lower > upper).any()) or (shown is not None and shown(lower, upper))


def _is_answer(found: object, n: int) -> bool:
    """Whether an oracle of n variables may have said this."""
    if not isinstance(found, Vertex) or not isinstance(found.bound, float) or isnan(found.bound):
        return False
    point = found.point
    if point is None:
        return True
    return isinstance(point, np.ndarray) and point.shape == (n,) and bool(np.isfinite(point).all())


def space_of(lower: object, upper: object, integrality: object, n: int | None = None) -> Space:
    """Bounds and integrality as given, for n variables (None: as many as `lower` has), checked.

    A single number stands for n of them. integrality: 0 continuous, 1 whole, as in
    `scipy.optimize.milp`. Bounds of 1e20 and more are none; fractional ones of whole variables are
    rounded inwards. Raises InputError.
    """
    arrays = []
    for name, given in (("lower", lower), ("upper", upper), ("integrality", integrality)):
        array = reals(name, given)
        n = array.size if n is None else n
        if n == 0:
            raise InputError(f"{name}: a set needs one variable at least")
        if array.ndim > 1 or array.size not in (1, n):
            raise InputError(f"{name}: expected ({n},), one a variable, not {array.shape}")
        arrays.append(np.broadcast_to(array, (n,)).copy())
    low, high, kinds = arrays
    if not np.isin(kinds, (0.0, 1.0)).all():
        raise InputError("integrality: expected 0 (continuous) or 1 (whole) for each variable")
    for array in (low, high):
        without_bound(array)
    if (low == inf).any() or (high == -inf).any():
        raise InputError("lower, upper: one side of a variable leaves it no value")
    integral = kinds == 1.0
    low[integral] = np.ceil(low[integral] - WHOLE)
    high[integral] = np.floor(high[integral] + WHOLE)
    return Space(low, high, integral)


def without_bound(sides: Vector) -> None:
    """Sides (m,) of UNBOUNDED and more become infinite, in place."""
    sides[sides >= UNBOUNDED], sides[sides <= -UNBOUNDED] = inf, -inf


def box_violation(space: Space, point: Vector) -> float:
    """By how much a point misses the bounds, or whole values."""
    missed = [0.0, float((space.lower - point).max()), float((point - space.upper).max())]
    whole = point[space.integral]
    missed.append(float(np.abs(whole - np.round(whole)).max(initial=0.0)))
    return max(missed)


def reach(lower: Vector, upper: Vector) -> float:
    """The sum of widths of a box, at least 1 each: what reduced costs off by 1 can hide at most.

    Widths that are infinite count as 1; what a variable may do there rows alone say.
    """
    widths = upper - lower
    return float(np.maximum(1.0, widths[np.isfinite(widths)]).sum()) + float(
        (~np.isfinite(widths)).sum()
    )


def standard(direction: Vector) -> tuple[Vector, int]:
    """Costs (n,) of standard size and the power of two that they were divided by."""
    exponent = unit_exponent(float(np.abs(direction).max(initial=0.0))) - STANDARD_EXPONENT
    return np.ldexp(direction, -exponent), exponent
