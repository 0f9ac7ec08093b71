"""The least value of a smooth convex f whose variables have ranges that switches choose.

f is a function of variables x and switches y, and D > 0 is stated with f0 = f - sum of D_j x_j^2
convex. With ranges I0_j, I1_j and h_j as in `switched.value`, for y in [0, 1]

    F(y) = min over s0 in I0, s1 in I1 of  f0(x, y) + sum of D_j ((1 - y_j) s0_j^2 + y_j s1_j^2),
    x = (1 - y) s0 + y s1,

is convex and on binary y the least value of f (the perspective of the separable part; Guenluek and
Linderoth, Math. Programming 124, 2010). With (g, k) the gradient of f0 at *any* (x, y'), f0 lies
above its tangent plane there, so that every binary y has

    f  >=  f0(x, y') - g . x + k . (y - y') - sum of (1 - y_j) h0_j(-g_j) + y_j h1_j(-g_j),

which is affine in y: bounds do not depend on how well the minimum was found. What is given as F(y)
is the value of the right side, y' = y, which meets F at the minimising x.

x is found by Newton steps: f is replaced by its second-order model, which `SwitchedValue` minimises
over the ranges, and s0, s1 go as far towards that as their value falls.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Vector
from maskgap.solvers.convex.switched.value import (
    Evaluated,
    Ranges,
    SwitchedQuadratic,
    SwitchedValue,
    conjugate,
    factored,
    incidence,
)
from maskgap.solvers.convex.watched import Unsound, Watched
from maskgap.solvers.objectives.protocol import Quadratic

ROUNDS = 40
"""Models at most."""

FLAT = 1e-12
"""Share of the sizes in a value and its bound at which they count as one."""

SHORTEST = 1e-10
"""Of a step, at least."""


@dataclass(frozen=True, eq=False, slots=True)
class Ranged:
    """diagonal D (n,) > 0 and both ranges of variables; switch: (n,), -1 for none.

    switches: (n + s,) bool, which of all variables of f are switches.
    """

    diagonal: Vector
    off: Ranges
    on: Ranges
    switch: NDArray[np.int64]
    switches: Flags


class SmoothValue:
    """F, with the last s0 and s1 as a start of the next; as `SwitchedValue` to those who call it.

    function: f, watched, with its model.
    """

    def __init__(self, function: Watched, of: Ranged) -> None:
        self._f, self.of = function, of
        self._linked = of.switch >= 0
        self._of = incidence(of.switch, int(of.switches.sum()))
        zero = np.zeros(len(of.switch))
        self._s0 = np.clip(zero, of.off.lower, of.off.upper)
        self._s1 = np.clip(zero, of.on.lower, of.on.upper)
        self._at: tuple[bytes, Evaluated] | None = None

    def evaluate(self, switches: Vector) -> Evaluated:
        """F and all that goes with it; u is the gradient of f0. switches: (s,) in [0, 1].

        Raises Unsound where f is infinite at a point to begin with, or no number.
        """
        key = switches.tobytes()
        if self._at is not None and self._at[0] == key:
            return self._at[1]
        found = self._minimise(switches)
        self._at, self._s0, self._s1 = (key, found), found.s0, found.s1
        return found

    def at(self, switches: Vector) -> tuple[float, Vector]:
        """F and its gradient."""
        found = self.evaluate(switches)
        return found.value, found.gradient

    def model(self, switches: Vector) -> Quadratic:
        """The second-order model of F there, but for what x and switches have in common in f."""
        found = self.evaluate(switches)
        inner, form = self._model(found.x, switches)
        own = self.of.switches
        matrix = inner.model(switches).matrix + form.matrix[np.ix_(own, own)]
        linear = found.gradient - 2.0 * (matrix @ switches)
        rest = float(linear @ switches + switches @ matrix @ switches)
        return Quadratic(matrix, linear, found.value - rest)

    def _minimise(self, switches: Vector) -> Evaluated:
        of = self.of
        y = np.where(self._linked, switches[of.switch], 0.0)
        s0, s1 = self._s0, self._s1
        value, slope, more = self._look(y, s0, s1, switches)
        if value == inf:
            raise Unsound("the objective is infinite where its switched variables are 0")
        best: Evaluated | None = None
        for _ in range(ROUNDS):
            x = (1.0 - y) * s0 + y * s1
            bound, gradient = self._bound(y, x, (value, slope, more), (s0, s1))
            if best is None or bound > best.value:
                best = Evaluated(bound, gradient, x, y, slope, s0, s1)
            if value - bound <= FLAT * (abs(value) + float(np.abs(slope) @ np.abs(x))):
                break
            found = self._model(x, switches)[0].evaluate(switches)
            d0, d1 = found.s0 - s0, found.s1 - s1
            promised = -float((1.0 - y) @ (d0 * (slope + 2.0 * of.diagonal * s0)))
            promised -= float(y @ (d1 * (slope + 2.0 * of.diagonal * s1)))
            length = 1.0
            while promised > 0.0 and length > SHORTEST:
                tried = self._look(y, s0 + length * d0, s1 + length * d1, switches)
                if tried[0] <= value - 0.1 * length * promised:
                    break
                length *= 0.5
            else:
                break
            s0, s1, (value, slope, more) = s0 + length * d0, s1 + length * d1, tried
        assert best is not None
        return best

    def _look(
        self, y: Vector, s0: Vector, s1: Vector, switches: Vector
    ) -> tuple[float, Vector, Vector]:
        """What is minimised, and the gradient of f0 by variables and by switches."""
        of, own = self.of, self.of.switches
        x = (1.0 - y) * s0 + y * s1
        point = np.empty(len(own))
        point[own], point[~own] = switches, x
        value, gradient = self._f.at(point)
        paid = float((1.0 - y) @ (of.diagonal * s0 * s0) + y @ (of.diagonal * s1 * s1))
        taken = of.diagonal * x
        return value - float(taken @ x) + paid, gradient[~own] - 2.0 * taken, gradient[own]

    def _bound(
        self, y: Vector, x: Vector, seen: tuple[float, Vector, Vector], s: tuple[Vector, Vector]
    ) -> tuple[float, Vector]:
        """The value at y of the affine function that x gives, and its gradient (s,)."""
        of, (value, slope, more) = self.of, seen
        paid = (1.0 - y) @ (of.diagonal * s[0] * s[0]) + y @ (of.diagonal * s[1] * s[1])
        wanted = -slope / (2.0 * of.diagonal)
        h0 = conjugate(of.diagonal, -slope, np.clip(wanted, of.off.lower, of.off.upper))
        h1 = conjugate(of.diagonal, -slope, np.clip(wanted, of.on.lower, of.on.upper))
        bound = value - float(paid) - float(slope @ x) - float((1.0 - y) @ h0 + y @ h1)
        return bound, more + (h0 - h1) @ self._of

    def _model(self, x: Vector, switches: Vector) -> tuple[SwitchedValue, Quadratic]:
        """The problem in variables with f replaced by its model, and that model of all."""
        of, own = self.of, self.of.switches
        point = np.empty(len(own))
        point[own], point[~own] = switches, x
        form = self._f.model(point)
        rest = form.matrix[np.ix_(~own, ~own)] - np.diag(of.diagonal)
        linear = form.linear[~own] + 2.0 * (form.matrix[np.ix_(~own, own)] @ switches)
        A, cost = factored(rest), np.zeros(len(switches))
        inner = SwitchedQuadratic(
            A, of.diagonal, -0.5 * linear, of.off, of.on, of.switch, cost, 0.0
        )
        return SwitchedValue(inner, -2.0 * (A @ x)), form
