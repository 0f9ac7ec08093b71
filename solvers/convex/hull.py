"""The problem of a node: minimise a convex f over the hull of a set's points in a box.

Blended pairwise Frank-Wolfe steps over stored vertices, lazily, as in `frank_wolfe.vertices`, whose
steps these are (`frank_wolfe.steps`); the set is seen through `SetOracle` alone. With
g = grad f(x), any x of the hull bounds the node by

    b(x) = f(x) - < g, x > + (the oracle's dual bound on min < g, v >),

and stored vertices make steps but never bounds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.solvers.convex.watched import Late, Watched, never
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.frank_wolfe.second_order import settle_by_models
from maskgap.solvers.frank_wolfe.steps import settle
from maskgap.solvers.objectives.protocol import Minorant
from maskgap.solvers.oracles.mixed.protocol import CountedSet, Vertex

SHARE = 0.25
"""Of the last gap: pairs of stored vertices that promise less are left alone."""

FLAT = 1e-13
"""A gap this small a share of the sizes in f(x) - < g, x > is rounding."""

IDLE = 5
"""Known vertices in a row that bring nothing, at most."""

STARTS = 64
"""Rounds of vertices in random directions, averaged for a point in the domain of f, at most."""

INWARDS = (1e-12, 1e-9, 1e-6, 1e-3, 1.0)
"""Shares of the way back that are tried where rounding has led a step out of the domain of f."""


@dataclass(eq=False, slots=True)
class Place:
    """Where a minimisation takes place: the box, and what is known of it.

    lower, upper: (n,). active: vertices to begin with, of which those in the box are used.
    """

    lower: Vector
    upper: Vector
    active: ActiveSet


@dataclass(frozen=True, slots=True)
class Until:
    """When a minimisation ends.

    cut: now, of the bound; it may fall while vertices are met. The gap is at most `tolerance` of
    cut - f(x), or where `whole` says so of x, `fine`; or so many calls were made, or `late`.
    starts: as STARTS.
    """

    cut: Callable[[], float]
    late: Callable[[], bool]
    whole: Callable[[Vector], bool]
    tolerance: float
    fine: Callable[[float], float]
    calls: int = 1000
    starts: int = STARTS


@dataclass(frozen=True, eq=False, slots=True)
class Minimum:
    """What a minimisation ended with.

    x: (n,) the last point. value: f there. bound: the best, +inf for a box without points, -inf
    where there is none. minorant and vertex: which gave it, None for neither. active: vertices of
    x. steps: made. outside: whether f is infinite at every point that was tried, x one of them.
    """

    x: Vector
    value: float
    bound: float
    minorant: Minorant | None
    vertex: Vertex | None
    active: ActiveSet
    steps: int = 0
    outside: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class _Start:
    """stored: (a, n) vertices. numbers: (a,) of the pool, increasing. weight: (a,)."""

    stored: Matrix
    numbers: NDArray[np.int64]
    weight: Vector


class Hulls:
    """Minimises one function over hulls of one set, with the vertices met so far.

    met: called with each new vertex.
    """

    def __init__(
        self, function: Watched, oracle: CountedSet, met: Callable[[Vector], None]
    ) -> None:
        self.function, self.oracle, self.met = function, oracle, met
        self.pool = Pool(function.n)
        self._random = np.random.default_rng(0)

    def probe(self, place: Place) -> None:
        """Look at f at two opposite vertices and between them, to see whether it is convex."""
        direction = self._random.standard_normal(self.function.n)
        ends = [self.oracle.minimise(d, place.lower, place.upper) for d in (direction, -direction)]
        points = [end.point for end in ends if end is not None and end.point is not None]
        if points:
            for point in [*points, np.mean(points, axis=0)]:
                self.function.at(point)

    def minimise(self, place: Place, until: Until) -> Minimum:
        """The best bound of a box."""
        start = self._start(place, until)
        if isinstance(start, Minimum):
            return start
        stored, numbers, weight = start.stored, start.numbers, start.weight
        steps, calls, idle, promised, before = 0, 0, 0, -1.0, inf
        best: tuple[float, Minorant | None, Vertex | None] = (-inf, None, None)
        while True:
            old = weight.copy()
            steps += self._settle(stored, weight, promised, until.late)
            minorant = self._touching(stored, weight, old)
            x = weight @ stored
            if minorant.value == inf:  # it bounds nothing
                break
            found = self.oracle.minimise(minorant.linear, place.lower, place.upper)
            calls += 1
            if found is None:  # its vertices are in the box but for rounding
                return Minimum(x, inf, inf, None, None, place.active, steps)
            bound = minorant.constant + found.bound
            if bound > best[0] or best[1] is None:
                best = (bound, minorant, found)
            number, new = self._store(found)
            gap = minorant.value - bound
            size = abs(minorant.value) + abs(minorant.constant)
            known = not new and bool((numbers == number).any())
            whole = until.whole(x)
            cut = until.cut()
            enough = (
                until.fine(minorant.value) if whole else until.tolerance * (cut - minorant.value)
            )
            if (
                best[0] >= cut
                or gap <= max(FLAT * size, enough)
                or number < 0
                or idle > IDLE  # all there is to gain is lost in rounding
                or calls >= until.calls
                or until.late()
            ):
                break
            idle = idle + 1 if known and gap >= before else 0
            before = gap
            if not known and found.point is not None:
                stored = np.concatenate([stored, found.point[None, :]])
                numbers, weight = np.append(numbers, number), np.append(weight, 0.0)
            promised = SHARE * gap
        used = np.flatnonzero(weight)
        order = used[np.argsort(numbers[used])]
        left = ActiveSet(numbers[order], weight[order])
        outside = best[1] is None
        return Minimum(x, minorant.value, best[0], best[1], best[2], left, steps, outside)

    def _settle(
        self, stored: Matrix, weight: Vector, promised: float, late: Callable[[], bool]
    ) -> int:
        """Steps over stored vertices, in place, until they promise no more or time is up."""
        if self.function.quadratic is not None:
            return settle(self.function, stored, weight, promised)
        self.function.late = late
        try:
            return settle_by_models(self.function, stored, weight, promised)
        except Late:
            return 0
        finally:
            self.function.late = never

    def _touching(self, stored: Matrix, weight: Vector, old: Vector) -> Minorant:
        """The minorant at weight @ stored.

        Where rounding has led that out of the domain of f, weights go back towards `old`, in place.
        """
        minorant, reached = self.function.minorant(weight @ stored), weight.copy()
        for share in INWARDS:
            if minorant.value < inf:
                break
            weight[:] = reached + share * (old - reached)
            minorant = self.function.minorant(weight @ stored)
        return minorant

    def _store(self, found: Vertex) -> tuple[int, bool]:
        """Number of a vertex and whether it is new; -1 where there is none."""
        if found.point is None:
            return -1, False
        number, new = self.pool.add(found.point)
        if new:
            self.met(found.point)
        return number, new

    def _start(self, place: Place, until: Until) -> _Start | Minimum:
        """Vertices in the box and weights of a point in the domain of f, or why there is none."""
        n, active = self.function.n, place.active
        stored, numbers = self.pool.within(place.lower, place.upper)
        directions = [np.zeros(n)] if not len(stored) else []
        for attempt in range(until.starts):
            for direction in directions:
                found = self.oracle.minimise(direction, place.lower, place.upper)
                if found is None:
                    return Minimum(np.zeros(n), inf, inf, None, None, active)
                self._store(found)
                if found.point is None or until.late():
                    return Minimum(np.zeros(n), inf, -inf, None, None, active)
            stored, numbers = self.pool.within(place.lower, place.upper)
            if not len(stored):
                raise InputError("oracle: its point leaves the bounds that it was called with")
            for weight in (active.on(numbers), np.full(len(stored), 1.0 / len(stored))):
                if self.function.value(weight @ stored) < inf:
                    return _Start(stored, numbers, weight)
            directions = list(self._random.standard_normal((1 + attempt, n)))
        return Minimum(stored.mean(axis=0), inf, -inf, None, None, active, outside=True)
