"""A user's objective, looked at in every call: values that are no numbers, broken minorants.

Where f is convex, each point y with value and gradient gives a minorant,

    f(x)  >=  f(y) + < grad f(y), x - y >      for every x.

The last HELD points are held against each new one, both ways; what misses by more than rounding
shows that f is not convex, or that its gradient is wrong, and no bound of it means anything. That
none misses proves nothing: bounds of an objective known by calls alone are claimed.

+inf is allowed, for points outside of the domain of f.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.solvers.objectives.protocol import Minorant, Quadratic

HELD = 32
"""Points held."""

ROUNDING = 1e-7
"""Share of the sizes of what is compared that counts as rounding of f and its gradient."""

APART = 1e-5
"""Share of the way to a vertex after which gradients are compared."""

CANCELLED = 1e-12
"""Share of the largest value seen that counts as rounding where f is small."""

DEFINITE = 1e-9
"""Eigenvalues below this share of the largest count as 0."""


class Unsound(Exception):  # noqa: N818 - a finding about the objective, caught by the search
    """The objective is not what it has to be; the message says in words what was seen."""


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What is known of an objective beside value and gradient.

    quadratic: its matrices, where it is one. model: x -> the quadratic with its value, gradient and
    second derivative there. diagonal: (n,) D with f - x^T D x convex. None where it is not known.
    """

    quadratic: Quadratic | None = None
    model: Callable[[Vector], Quadratic] | None = None
    diagonal: Vector | None = None


class Watched:
    """An objective as the search calls it.

    call: x (n,) -> value, gradient (n,). calls: evaluations so far. size: the largest of the terms
    that values and bounds were made of, which says what is rounding.
    """

    def __init__(
        self, call: Callable[[Vector], tuple[float, Vector]], n: int, known: Known | None = None
    ) -> None:
        self._call, self.n, self.known = call, n, known or Known()
        self.quadratic = self.known.quadratic
        self.calls, self.size = 0, 0.0
        if self.quadratic is not None:
            each = np.abs(self.quadratic.matrix.diagonal()) + np.abs(self.quadratic.linear)
            self.size = abs(self.quadratic.constant) + float(each.max(initial=0.0))
        self._spread: Vector | None = None
        self._points, self._slopes = np.zeros((HELD, n)), np.zeros((HELD, n))
        self._values, self._sizes, self._seen = np.zeros(HELD), np.zeros(HELD), 0

    def value(self, x: Vector) -> float:
        """f(x)."""
        return self.at(x)[0]

    def at(self, x: Vector) -> tuple[float, Vector]:
        """f(x) and its gradient; where f is +inf, the gradient has no meaning. Raises Unsound."""
        self.calls += 1
        if self.quadratic is not None:
            value, gradient = self.quadratic.at(x)
            self.size = max(self.size, abs(value), abs(float(gradient @ x)))
            return value, gradient
        answer = self._call(x.copy())
        try:
            value, gradient = float(answer[0]), np.asarray(answer[1], dtype=np.float64)
        except (TypeError, ValueError, IndexError) as error:
            raise InputError("f: expected x -> (value, gradient), numbers") from error
        if gradient.shape != (self.n,):
            raise InputError(f"f: its gradient has shape {gradient.shape}, expected ({self.n},)")
        if value == inf:
            return inf, gradient
        if isnan(value) or value == -inf:
            raise Unsound(f"the objective is {value} at a point of the hull of the set")
        if not np.isfinite(gradient).all():
            raise Unsound("the gradient of the objective is not finite at a point of the hull")
        self._compare(x, value, gradient)
        self.size = max(self.size, abs(value), abs(float(gradient @ x)))
        return value, gradient

    def minorant(self, x: Vector) -> Minorant:
        """The affine function that touches f at x."""
        value, gradient = self.at(x)
        return Minorant(value, value - float(gradient @ x), gradient, x)

    def images(self, x: Vector, gradient: Vector, directions: Matrix) -> Matrix:
        """As `SecondOrder.images`: by the model where there is one, else by differences."""
        if self.known.model is not None:
            return np.asarray(2.0 * directions @ self.known.model(x).matrix)
        images = np.zeros_like(directions)
        for row, direction in zip(images, directions, strict=True):
            value, moved = self.at(x + APART * direction)
            if value < inf:
                row[:] = (moved - gradient) / APART
        return images

    def curvature(self) -> Vector:
        """(n,) half second derivatives, 0 where they are not known."""
        return np.zeros(self.n) if self.quadratic is None else self.quadratic.curvature()

    def spread(self) -> Vector | None:
        """(n,) s with f(z) >= f(x) + < grad f(x), z - x > + (z_j - x_j)^2 / s_j for each j alone.

        The diagonal of P^-1 for a definite quadratic x^T P x + ..., 1 / D; None where neither is
        known.
        """
        diagonal = self.known.diagonal
        if self.quadratic is None:
            if diagonal is None:
                return None
            some = diagonal > 0.0
            spread: Vector = np.full(self.n, inf)
            spread[some] = 1.0 / diagonal[some]
            return spread
        if self._spread is None:
            values, vectors = np.linalg.eigh(self.quadratic.matrix)
            least = DEFINITE * max(float(values[-1]), 0.0)
            if values[0] <= least:
                self._spread = np.full(self.n, inf)
            else:
                self._spread = np.asarray((vectors * vectors) @ (1.0 / values)) * (1.0 + DEFINITE)
        return self._spread

    def _compare(self, x: Vector, value: float, gradient: Vector) -> None:
        held = min(self._seen, HELD)
        points, slopes, values = self._points[:held], self._slopes[:held], self._values[:held]
        apart = x - points
        ahead, behind = np.einsum("ij,ij->i", slopes, apart), apart @ gradient
        sizes = np.abs(values) + abs(value) + np.abs(slopes).sum(axis=1) * np.abs(x).max(initial=1)
        sizes += np.abs(gradient).sum() * np.abs(points).max(axis=1, initial=1.0)
        least = ROUNDING * sizes + CANCELLED * self.size  # terms of f may cancel unseen
        broken = np.maximum(values + ahead - value, value - behind - values) > least
        if broken.any():
            raise Unsound(
                "the objective is not convex, or its gradient is wrong: a value lies below the "
                "affine function that touches it elsewhere"
            )
        at = self._seen % HELD
        self._points[at], self._slopes[at], self._values[at] = x, gradient, value
        self._seen += 1
