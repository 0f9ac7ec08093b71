"""Convex programs over mixed-integer linear sets.

    minimise f(x)  over  row_lower <= A x <= row_upper,  lower <= x <= upper,
                         x_j whole where integral_j,

where f is convex and given by value and gradient, or is a quadratic x^T P x + q^T x + c with P
positive semidefinite. A quadratic may state what is strongly convex in it: a diagonal D >= 0 with
P - diag(D) positive semidefinite, and switches (j, i): x_j = 0 wherever the binary x_i = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.errors import InputError

Smooth = Callable[[Vector], tuple[float, Vector]]
"""x (n,) -> value, gradient (n,)."""


@dataclass(frozen=True, eq=False, slots=True)
class QuadraticForm:
    """x^T P x + q^T x + c. matrix: P (n, n) symmetric; linear: q (n,); constant: c.

    diagonal: (n,) D, zeros where nothing is stated.
    """

    matrix: Matrix
    linear: Vector
    constant: float
    diagonal: Vector

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Value and gradient (n,) at x (n,)."""
        product = self.matrix @ x
        value = float(x @ product + self.linear @ x) + self.constant
        return value, 2.0 * product + self.linear


@dataclass(frozen=True, eq=False, slots=True)
class MixedSet:
    """A mixed-integer linear set.

    matrix: A (m, n); row_lower, row_upper: (m,), lower, upper: (n,), infinite where there is no
    bound; integral: (n,). switches: (j, i), x_j = 0 wherever the binary x_i = 0, which the rows and
    bounds say too.

    Raises InputError where shapes do not agree.
    """

    matrix: Matrix
    row_lower: Vector
    row_upper: Vector
    lower: Vector
    upper: Vector
    integral: Flags
    switches: tuple[tuple[int, int], ...] = field(default=())

    def __post_init__(self) -> None:
        m, n = self.matrix.shape
        for shape, given in (((m,), (self.row_lower, self.row_upper)),
                             ((n,), (self.lower, self.upper, self.integral))):  # fmt: skip
            for array in given:
                if array.shape != shape:
                    raise InputError(f"a set of {m} rows and {n} variables: {array.shape}")

    @property
    def n(self) -> int:
        """Variables."""
        return len(self.lower)

    def violation(self, x: Vector) -> float:
        """By how much x (n,) misses bounds, rows or whole values, the most; 0 for none."""
        whole = np.where(self.integral, np.abs(x - np.round(x)), 0.0)
        product = self.matrix @ x
        misses = (self.lower - x, x - self.upper, self.row_lower - product,
                  product - self.row_upper, whole)  # fmt: skip
        return max(0.0, *(float(miss.max(initial=0.0)) for miss in misses))


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """objective: a `QuadraticForm`, or another convex function of x. space: over what."""

    objective: QuadraticForm | Smooth
    space: MixedSet
