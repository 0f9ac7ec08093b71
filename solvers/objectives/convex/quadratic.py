"""Convex quadratics, f(x) = x^T P x + q . x + c, least squares among them.

Of a quadratic a search knows the curvature along every direction. Its separable part is a diagonal
D >= 0 with P - Diag(D) positive semidefinite: what makes a switched variable x_j, 0 where z_j = 0,
cost D_j x_j^2 / z_j (`convex.switched`). A ridge states it; else it is taken from P.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite, number
from maskgap.solvers.objectives.protocol import Quadratic

INDEFINITE = 1e-13
"""An eigenvalue of P below minus this share of its entries' sizes is no rounding."""

STATED = 1e-9
"""The same of P - Diag(D): D is what another program found, and it is lowered where it is used."""


class QuadraticObjective:
    """f(x) = x^T P x + q . x + c.

    quadratic: its arrays. diagonal: (n,) D, or None where it is not stated.
    """

    def __init__(self, quadratic: Quadratic, diagonal: Vector | None) -> None:
        self.quadratic, self.diagonal = quadratic, diagonal

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Value and gradient at x (n,)."""
        return self.quadratic.at(x)


def quadratic(
    P: ArrayLike, q: ArrayLike, constant: float = 0.0, diagonal: ArrayLike | None = None
) -> QuadraticObjective:
    """x^T P x + q . x + constant. P: (n, n), made symmetric, semidefinite. q: (n,).

    diagonal: (n,) D >= 0 with P - Diag(D) semidefinite, None where none is stated. Raises
    InputError for other shapes, numbers that are not finite, or where one of both is indefinite.
    """
    linear = finite("q", q, 1)
    n = len(linear)
    matrix = finite("P", P, 2)
    if matrix.shape != (n, n):
        raise InputError(f"P: expected ({n}, {n}), not {matrix.shape}")
    matrix = 0.5 * matrix + 0.5 * matrix.T
    part = None
    if diagonal is not None:
        part = finite("diagonal", diagonal, 1)
        if part.shape != (n,) or (part < 0.0).any():
            raise InputError(f"diagonal: expected ({n},) numbers from 0 on")
    _semidefinite(matrix, INDEFINITE, "P is")
    if part is not None:
        _semidefinite(matrix - np.diag(part), STATED, "P - Diag(diagonal) is")
    return QuadraticObjective(Quadratic(matrix, linear, number("constant", constant)), part)


def _semidefinite(matrix: Matrix, share: float, what: str) -> None:
    """Raises InputError that begins with `what` where a matrix (n, n) is not."""
    if not len(matrix):
        return
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least < -share * float(np.abs(matrix).max()) * len(matrix):
        raise InputError(f"{what} not positive semidefinite: an eigenvalue is {least:.3g}")


def least_squares(
    A: ArrayLike, y: ArrayLike, *, ridge: ArrayLike = 0.0, linear: ArrayLike = 0.0
) -> QuadraticObjective:
    """||A x - y||^2 + sum of ridge_j x_j^2 + linear . x. A: (m, n). y: (m,).

    ridge, linear: (n,) or one number; a ridge is at least 0. Raises InputError.
    """
    design, target = finite("A", A, 2), finite("y", y, 1)
    if len(design) != len(target):
        raise InputError(f"A has {len(design)} rows, y has {len(target)} numbers")
    n = design.shape[1]
    part, slope = for_each("ridge", ridge, n), for_each("linear", linear, n)
    with np.errstate(over="ignore", invalid="ignore"):
        square, product = design.T @ design, design.T @ target
        size = float(target @ target)
    if not (np.isfinite(square).all() and np.isfinite(product).all() and np.isfinite(size)):
        raise InputError("A, y: their products leave the range of float64; scale them")
    if (part < 0.0).any():
        raise InputError("ridge: expected numbers from 0 on")
    return quadratic(square + np.diag(part), slope - 2.0 * product, size, part)


def for_each(name: str, given: Any, n: int) -> Vector:
    """(n,) finite float64, or one number for all. Raises InputError that says the name."""
    array = finite(name, given)
    if array.shape not in ((), (1,), (n,)):
        raise InputError(f"{name}: expected ({n},) or one number, not {array.shape}")
    return np.broadcast_to(array, (n,)).copy()
