"""The least value of a quadratic whose variables have ranges that switches choose.

With H = R + Diag(D), R = A^T A and D > 0, and for each x_j two ranges, I0_j for switch y_j = 0 and
I1_j for y_j = 1 (I0 = {0}: the variable is off),

    g(y) = min { ||A x||^2 + sum of D_j x_j^2 - 2 c . x :  x_j in I0_j or I1_j as y_j says }.

Its convex extension takes the separable part apart (the perspective function; Guenluek and
Linderoth, Math. Programming 124, 2010; with bounds, the Huber function):

    F(y) = max_u  -|u|^2 / 4 - sum of (1 - y_j) h0_j(e_j) + y_j h1_j(e_j),
    e = A^T u + 2 c,   h_j(e) = max over s in I_j of  e s - D_j s^2.

F = g on binary y, F is convex and smooth, and *any* u gives an affine function of y that is at most
g on binary y, so that bounds do not depend on how well the maximum was found. u is found by Newton
steps: the second derivative is -(I / 2 + A Diag(w) A^T), w_j the weights, over 2 D_j, of the ranges
inside of which the maximising s lies. Along a step what is maximised is concave and of quadratic
pieces, which change where an s meets an end of its range: the best length is found among them, as
shortening whole steps until they pay crawls where D is small. x = (1 - y) s0 + y s1 is the point
that goes with y.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.objectives.protocol import Quadratic

NEWTON = 60
"""Steps at most."""

RANK = 1e-12
"""Eigenvalues below this share of the largest are left out of A^T A, which lowers the value."""

FLAT = 1e-14
"""A promised gain this small a share of the value is rounding."""


@dataclass(frozen=True, eq=False, slots=True)
class Ranges:
    """lower, upper: (n,) float64 of a range for each variable, infinite where D > 0 alone holds."""

    lower: Vector
    upper: Vector


@dataclass(frozen=True, eq=False, slots=True)
class SwitchedQuadratic:
    """A (r, n), diagonal D (n,) > 0, linear c (n,), and both ranges.

    switch: (n,) int, which of s switches a variable has, -1 for none: then both ranges are one.
    cost: (s,) added for each switch that is 1. constant: added.
    """

    A: Matrix
    diagonal: Vector
    linear: Vector
    off: Ranges
    on: Ranges
    switch: NDArray[np.int64]
    cost: Vector
    constant: float


@dataclass(frozen=True, eq=False, slots=True)
class Evaluated:
    """F at switches: value, gradient (s,), point x (n,); y, s0, s1 (n,) of variables, u (r,)."""

    value: float
    gradient: Vector
    x: Vector
    y: Vector
    u: Vector
    s0: Vector
    s1: Vector


class _Dual(NamedTuple):
    """What is maximised: value, gradient (r,), and s0, s1, e (n,)."""

    value: float
    slope: Vector
    s0: Vector
    s1: Vector
    e: Vector


class SwitchedValue:
    """F, with the last u as a start of the next. start: the first, 0 for None."""

    def __init__(self, of: SwitchedQuadratic, start: Vector | None = None) -> None:
        self.of = of
        self._u = np.zeros(len(of.A)) if start is None else start
        self._linked = of.switch >= 0
        self._of = incidence(of.switch, len(of.cost))
        self._at: tuple[bytes, Evaluated] | None = None

    def evaluate(self, switches: Vector) -> Evaluated:
        """F and all that goes with it. switches: (s,) in [0, 1]."""
        key = switches.tobytes()
        if self._at is not None and self._at[0] == key:
            return self._at[1]
        found = self._maximise(switches)
        self._at, self._u = (key, found), found.u
        return found

    def at(self, switches: Vector) -> tuple[float, Vector]:
        """F and its gradient."""
        found = self.evaluate(switches)
        return found.value, found.gradient

    def model(self, switches: Vector) -> Quadratic:
        """The second-order model of F there."""
        of, found = self.of, self.evaluate(switches)
        factor = scipy.linalg.cholesky(self._curve(found.y, found.s0, found.s1), lower=True)
        moved = scipy.linalg.solve_triangular(
            factor, of.A @ ((found.s1 - found.s0)[:, None] * self._of), lower=True
        )
        matrix = 0.5 * (moved.T @ moved)
        linear = found.gradient - 2.0 * (matrix @ switches)
        rest = float(linear @ switches + switches @ matrix @ switches)
        return Quadratic(matrix, linear, found.value - rest)

    def _maximise(self, switches: Vector) -> Evaluated:
        of, u = self.of, self._u
        y = np.where(self._linked, switches[of.switch], 0.0)
        at = self._dual(y, u)
        for _ in range(NEWTON):
            step = scipy.linalg.solve(self._curve(y, at.s0, at.s1), at.slope, assume_a="pos")
            promised = float(step @ at.slope)
            if promised <= FLAT * (abs(at.value) + float(u @ u)):
                break
            length = self._best_length(y, u, at.e, step)
            tried = self._dual(y, u + length * step)
            if tried.value <= at.value:
                break
            u, at = u + length * step, tried
        saved = conjugate(of.diagonal, at.e, at.s0) - conjugate(of.diagonal, at.e, at.s1)
        gradient = of.cost + saved @ self._of
        value = at.value + float(of.cost @ switches) + of.constant
        return Evaluated(value, gradient, (1.0 - y) * at.s0 + y * at.s1, y, u, at.s0, at.s1)

    def _dual(self, y: Vector, u: Vector) -> _Dual:
        """What is maximised, at u."""
        of = self.of
        e = of.A.T @ u + 2.0 * of.linear
        wanted = e / (2.0 * of.diagonal)
        s0 = np.clip(wanted, of.off.lower, of.off.upper)
        s1 = np.clip(wanted, of.on.lower, of.on.upper)
        paid = (1.0 - y) @ conjugate(of.diagonal, e, s0) + y @ conjugate(of.diagonal, e, s1)
        value = float(-0.25 * (u @ u) - paid)
        slope = -0.5 * u - of.A @ ((1.0 - y) * s0 + y * s1)
        return _Dual(value, slope, s0, s1, e)

    def _best_length(self, y: Vector, u: Vector, e: Vector, step: Vector) -> float:
        """The length of a step (r,) from u (r,) at which what is maximised is largest."""
        of = self.of
        along = of.A.T @ step
        straight, bent = float(step @ u), float(step @ step)

        def rise(length: float) -> float:
            wanted = (e + length * along) / (2.0 * of.diagonal)
            s0 = np.clip(wanted, of.off.lower, of.off.upper)
            s1 = np.clip(wanted, of.on.lower, of.on.upper)
            return -0.5 * (straight + length * bent) - float(along @ ((1.0 - y) * s0 + y * s1))

        ends = np.stack([of.off.lower, of.off.upper, of.on.lower, of.on.upper])
        moving = along != 0.0
        with np.errstate(over="ignore"):
            kinks = (2.0 * of.diagonal * ends - e)[:, moving] / along[moving]
        kinks = np.unique(kinks[np.isfinite(kinks) & (kinks > 0.0)])
        first = bisect_left(kinks, True, key=lambda length: rise(float(length)) <= 0.0)
        low = float(kinks[first - 1]) if first else 0.0
        high = float(kinks[first]) if first < len(kinks) else low + 1.0
        ahead, behind = rise(low), rise(high)
        return low + (high - low) * ahead / (ahead - behind)

    def _curve(self, y: Vector, s0: Vector, s1: Vector) -> Matrix:
        of = self.of
        inside = (1.0 - y) * ((of.off.lower < s0) & (s0 < of.off.upper))
        inside += y * ((of.on.lower < s1) & (s1 < of.on.upper))
        used = np.flatnonzero(inside)
        columns = of.A[:, used]
        curve = (columns * (inside[used] / (2.0 * of.diagonal[used]))) @ columns.T
        curve[np.diag_indices(len(curve))] += 0.5
        return np.asarray(curve)


def conjugate(diagonal: Vector, e: Vector, s: Vector) -> Vector:
    """(n,) e s - D s^2: h, at the s that makes it largest."""
    return np.asarray(s * (e - diagonal * s))


def incidence(switch: NDArray[np.int64], switches: int) -> Matrix:
    """(n, s) 1 where a variable has a switch. switch: (n,), -1 for none."""
    found = np.zeros((len(switch), switches))
    linked = switch >= 0
    found[linked, switch[linked]] = 1.0
    return found


def factored(rest: Matrix) -> Matrix:
    """A (r, n) with A^T A = rest (n, n), semidefinite, but for eigenvalues that are nearly 0."""
    values, vectors = np.linalg.eigh(rest)
    kept = values > RANK * max(float(values[-1]), 0.0)
    return np.asarray(np.sqrt(values[kept])[:, None] * vectors[:, kept].T)
