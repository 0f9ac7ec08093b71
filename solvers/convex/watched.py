"""A user's objective, looked at in every call: values that are no numbers, broken minorants.

Where f is convex, each point y with value and gradient gives a minorant,

    f(x)  >=  f(y) + < grad f(y), x - y >  ( + sum of D_j (x_j - y_j)^2,  where f states a D )

for every x.

The last HELD points are held against each new one, both ways; what misses by more than rounding
shows that f is not convex, or that its gradient is wrong, and no bound of it means anything. That
none misses proves nothing: bounds of an objective known by calls alone are claimed. A function that
is the least value of another is not held against itself: what misses there is how closely that
value was found, and the other one is watched.

+inf is allowed, for points outside of the domain of f.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.conversion import as_array
from maskgap.instances.errors import InputError
from maskgap.instances.layer import unit_exponent
from maskgap.solvers.objectives.protocol import Minorant, Quadratic

HELD = 32
"""Points held."""

ROUNDING = 1e-7
"""Share of the sizes of what is compared that counts as rounding of f and its gradient."""

APART = 1e-5
"""Share of the way to a vertex after which gradients are compared."""

CANCELLED = 1e-12
"""Share of its terms that counts as rounding where f is small."""

BEYOND = "the objective leaves the range of float64 on the hull of the set: scale it"

EXPONENTS = 1026
"""Sizes of points from 1 to the largest number, as powers of two."""

EIGEN = 2.0**-50
"""Share of the largest eigenvalue, for each variable, that others may be known to."""

DEFINITE = 1e-9
"""Eigenvalues below this share of the largest count as 0."""


class Late(Exception):  # noqa: N818 - no error: the steps of a node stop where they are
    """Time is up, seen as a user's objective was to be called in the midst of steps."""


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

    call: x (n,) -> value, gradient (n,). compared: whether its points are held against each other.
    calls: evaluations so far. late: asked before each, which then raises `Late`; nothing asks but
    `convex.hull` while it makes steps.
    """

    def __init__(
        self,
        call: Callable[[Vector], tuple[float, Vector]],
        n: int,
        known: Known | None = None,
        *,
        compared: bool = True,
    ) -> None:
        self._call, self.n, self.known, self._compared = call, n, known or Known(), compared
        self.quadratic = self.known.quadratic
        self.calls = 0
        self.late: Callable[[], bool] = never
        self._terms = np.zeros(EXPONENTS)
        self._spread: Vector | None = None
        self._points, self._slopes = np.zeros((HELD, n)), np.zeros((HELD, n))
        self._values, self._sizes, self._seen = np.zeros(HELD), np.zeros(HELD), 0

    def value(self, x: Vector) -> float:
        """f(x)."""
        return self.at(x)[0]

    def at(self, x: Vector) -> tuple[float, Vector]:
        """f(x) and its gradient; where f is +inf, the gradient has no meaning. Raises Unsound."""
        if self.quadratic is not None:
            self.calls += 1
            value, gradient = self.quadratic.at(x)
            if not isfinite(value):
                raise Unsound(BEYOND)
            return value, gradient
        if self.late():
            raise Late
        self.calls += 1
        value, gradient = _read(self._call(x.copy()), self.n)
        if value == inf:
            return inf, gradient
        if isnan(value) or value == -inf:
            raise Unsound(f"the objective is {value} at a point of the hull of the set")
        if not np.isfinite(gradient).all():
            raise Unsound("the gradient of the objective is not finite at a point of the hull")
        with np.errstate(over="ignore", invalid="ignore"):
            term = abs(float(gradient @ x))
        if not isfinite(term):
            raise Unsound(BEYOND)
        place = _exponent(x)
        self._terms[place] = max(self._terms[place], abs(value), term)
        if self._compared:
            self._compare(x, value, gradient)
        return value, gradient

    def terms(self, x: Vector) -> float:
        """How large the terms are that f(x) and bounds near x are made of: what is rounding there.

        Of a quadratic they are known. Of others, the largest value and product of gradient and
        point that were seen where no entry is much larger than those of x: f may cancel unseen.
        """
        if self.quadratic is None:
            return float(self._terms[: _exponent(x) + 1].max())
        form, size = self.quadratic, np.abs(x)
        inner = np.abs(form.matrix) @ size + np.abs(form.linear)
        return abs(form.constant) + float(inner @ size)

    def minorant(self, x: Vector) -> Minorant:
        """The affine function that touches f at x."""
        value, gradient = self.at(x)
        return Minorant(value, value - float(gradient @ x), gradient, x)

    def model(self, x: Vector) -> Quadratic:
        """The second-order model at x (n,) of an objective that has one.

        Raises InputError where it returns something else, Unsound where it is not finite.
        """
        if self.known.model is None:
            raise TypeError("an objective with a model is needed")
        form = self.known.model(x)
        if not isinstance(form, Quadratic) or form.matrix.shape != (self.n, self.n):
            raise InputError(f"f.model: expected a Quadratic of {self.n} variables")
        if not np.isfinite(form.matrix).all():
            raise Unsound("the second derivative of the objective is not finite")
        return form

    def images(self, x: Vector, gradient: Vector, directions: Matrix) -> Matrix:
        """As `SecondOrder.images`: by the model where there is one, else by differences."""
        if self.known.model is not None:
            return np.asarray(2.0 * directions @ self.model(x).matrix)
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
            largest = max(float(values[-1]), 0.0)
            values = values - self.n * EIGEN * largest
            least = DEFINITE * largest
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
        least = ROUNDING * sizes + CANCELLED * self.terms(x)
        if self.known.diagonal is not None:  # then it is that much more than affine
            more = (apart * apart) @ self.known.diagonal
            ahead, behind = ahead + more, behind - more
        broken = np.maximum(values + ahead - value, value - behind - values) > least
        if broken.any():
            raise Unsound(
                "the objective is not convex, or its gradient or stated diagonal is wrong: a value "
                "lies below the function that touches it elsewhere"
            )
        at = self._seen % HELD
        self._points[at], self._slopes[at], self._values[at] = x, gradient, value
        self._seen += 1


def _read(answer: Any, n: int) -> tuple[float, Vector]:
    """Value and gradient (n,) as an objective returned them, not a number each if they are none.

    Raises InputError for something else.
    """
    try:
        told, slope = answer
    except (TypeError, ValueError):
        raise InputError("f: expected x -> (value, gradient)") from None
    value = as_array(told, "f: its value")
    if value.size != 1:
        raise InputError(f"f: its value has shape {value.shape}, expected one number")
    # a copy: an objective may write all its gradients to one array
    gradient = np.array(as_array(slope, "f: its gradient"), dtype=np.float64)
    if gradient.shape != (n,):
        raise InputError(f"f: its gradient has shape {gradient.shape}, expected ({n},)")
    return float(value.item()), gradient


def never() -> bool:
    """That time is not up."""
    return False


def _exponent(x: Vector) -> int:
    """The power of two above all entries of x (n,), at least 1."""
    return unit_exponent(max(1.0, float(np.abs(x).max(initial=0.0))))
