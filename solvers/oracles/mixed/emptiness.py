"""Whether a box of a linear set has no point, shown from the data; no solver's word is taken.

For any forces v (m,) every x of the box with row_lower <= A x <= row_upper has

    sum of v_i times the side of row i that its sign asks for
        <=  v . A x  <=  sum over j of (A^T v)_j times the bound of x_j that its sign asks for,

so the box is empty where the first is above the last (Farkas), whatever v is. Both are summed in
rational numbers. Forces are a solver's dual ray, or one row by itself. Where the relaxation has
points and the set none, whole variables are split until every part is shown to be empty, or there
are MOST parts.
"""

from collections.abc import Callable
from fractions import Fraction
from math import isfinite

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import WHOLE

MOST = 1000
"""Parts looked at before a box is left undecided."""

Relax = Callable[[Vector, Vector], tuple[Vector | None, Vector | None]]
"""lower, upper (n,) -> a point of the relaxation (n,), and forces (m,) that may refute it."""


def shown_empty(rows: LinearSet, lower: Vector, upper: Vector, relax: Relax) -> bool:
    """Whether it is shown that the box lower <= x <= upper, (n,) each, has no point of the set."""
    if (rows.row_lower > rows.row_upper).any():
        return True
    parts = [(lower, upper)]
    for _ in range(MOST):
        if not parts:
            return True
        low, high = parts.pop()
        if (low > high).any():
            continue
        point, forces = relax(low, high)
        if _refuted(rows, forces, low, high):
            continue
        whole = rows.space.integral
        if point is None or not whole.any():
            return False
        away = np.where(whole, np.abs(point - np.round(point)), 0.0)
        j = int(away.argmax())
        if away[j] <= WHOLE:
            return False  # it is a point but for rounding
        below, above = high.copy(), low.copy()
        below[j], above[j] = np.floor(point[j]), np.floor(point[j]) + 1.0
        parts += [(low, below), (above, high)]
    return not parts


def _refuted(rows: LinearSet, forces: Vector | None, lower: Vector, upper: Vector) -> bool:
    """Whether forces of either sign, or any row by itself, show that a box is empty."""
    if forces is not None:
        return any(refutes(rows, v, lower, upper) for v in (forces, -forces))
    units = (sign * unit for unit in np.eye(len(rows.row_lower)) for sign in (1.0, -1.0))
    return any(refutes(rows, v, lower, upper) for v in units)


def refutes(rows: LinearSet, forces: Vector, lower: Vector, upper: Vector) -> bool:
    """Whether forces (m,), finite, show that a box has no point, in rational arithmetic."""
    matrix, least = rows.matrix, Fraction(0)
    slopes: dict[int, Fraction] = {}
    for i in np.flatnonzero(forces).tolist():
        side = float(rows.row_lower[i] if forces[i] > 0.0 else rows.row_upper[i])
        if not isfinite(side):
            continue  # without this row they are forces as well
        force = Fraction(float(forces[i]))
        least += force * Fraction(side)
        for k in range(matrix.indptr[i], matrix.indptr[i + 1]):
            j = int(matrix.indices[k])
            slopes[j] = slopes.get(j, Fraction(0)) + force * Fraction(float(matrix.data[k]))
    for j, slope in slopes.items():
        if slope == 0:
            continue
        bound = float(upper[j] if slope > 0 else lower[j])
        if not isfinite(bound):
            return False
        least -= slope * Fraction(bound)
    return least > 0
