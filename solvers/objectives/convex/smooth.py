"""Smooth convex objectives whose second derivative is known."""

from typing import Protocol, runtime_checkable

from maskgap.instances.arrays import Vector
from maskgap.solvers.objectives.protocol import Quadratic


@runtime_checkable
class SmoothObjective(Protocol):
    """A callable that tells value and gradient, and second-order models besides.

    diagonal: (n,) D >= 0 with f - x^T D x convex, None where none is known.
    """

    diagonal: Vector | None

    @property
    def n(self) -> int:
        """Number of variables."""
        ...

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Value and gradient at x (n,); +inf outside of the domain."""
        ...

    def model(self, x: Vector) -> Quadratic:
        """The quadratic with value, gradient and second derivative of f at x."""
        ...


def model_of(at: tuple[float, Vector], second: Vector, x: Vector) -> Quadratic:
    """The quadratic of a value, a gradient and a second derivative (n, n) at x."""
    value, gradient = at
    matrix = 0.5 * second
    linear = gradient - 2.0 * (matrix @ x)
    return Quadratic(matrix, linear, value - float(linear @ x + x @ matrix @ x))
