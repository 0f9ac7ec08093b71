"""Convex functions of a proof in exact arithmetic: built, shown convex, and minimised over masks.

A function is held as one matrix H over y = (1, z), F(z) = y^T H y, with H[1:, 1:] = P; at a point
x, for all v, a convex F has

    F(v) >= F(x) + F'(x)(v - x) = H_00 - x^T P x + (2 P x + 2 H_01) . v.

A P that is semidefinite but for the rounding of its multipliers is made so: u is lowered by the
least multiple, found to twelve bits between 2^-110 and 2^-30, of the terms of each column's
diagonal, or of the largest term of P, which lowers F between masks and nowhere else.
"""

from fractions import Fraction

import numpy as np

from tests.helpers.exact import semidefinite, whole

LOWERINGS = range(30, 111)
"""Powers of 1/2 that bound the multiples."""

BITS = 12


class Rejected(Exception):  # noqa: N818 - as `Refused` is one
    """The proof does not prove its bound; says why."""


def require(condition, reason):
    if not condition:
        raise Rejected(reason)


def finite(values, shape, what):
    """Values as Fractions, of the shape expected."""
    array = np.asarray(values)
    require(array.shape == shape, f"{what} has shape {array.shape}, not {shape}")
    require(bool(np.isfinite(array).all()), f"{what} is not finite")
    numbers, divisor = whole(array)
    return numbers * Fraction(1, divisor)


def function_of(part, quad, function, rows, sides):
    """(H of F over (1, z), the terms of P (k, n, n)), both in units of the layer's loss."""
    unit, n = Fraction(2) ** part.exponent, part.n
    u = finite(function.u, (n,), "u") * unit
    alpha = finite(function.alpha, (len(rows), n), "alpha") * unit
    matrix = np.full((n + 1, n + 1), Fraction(0), dtype=object)
    products = alpha.T.dot(rows)
    matrix[1:, 1:] = quad - np.diag(u) + (products + products.T) / 2
    linear = u - sides.dot(alpha)
    matrix[0, 1:] = matrix[1:, 0] = linear / 2
    taken = triangles_of(function.triangles, n) * unit
    return matrix - taken, np.stack([quad, np.diag(u), products, taken[1:, 1:]])


def given(matrix, terms, function, fixed):
    """H and the terms of P when the columns fixed, {column: pruned}, are put in: over the others.

    With y = T (1, z) for z of the other columns it is T^T H T. The function must not name those
    that are fixed.
    """
    n = len(matrix) - 1
    free = [column for column in range(n) if column not in fixed]
    for column in fixed:
        named = (function.u[column], *function.alpha[:, column])
        require(not any(named), f"u or alpha of the fixed column {column} is not 0")
        require(column not in function.triangles.columns, f"a triangle of fixed column {column}")
    to = np.full((n + 1, len(free) + 1), 0, dtype=object)
    to[0, 0] = 1
    for column, pruned in fixed.items():
        to[column + 1, 0] = int(pruned)
    for place, column in enumerate(free):
        to[column + 1, place + 1] = 1
    return to.T.dot(matrix).dot(to), terms[:, free][:, :, free]


def triangles_of(triangles, n):
    """The triangle terms times their weights over (1, z); CONSTANT = -1 lands on index 0."""
    count = len(triangles.weight)
    weights = finite(triangles.weight, (count,), "weight")
    require(triangles.columns.shape == (count, 3), "triangles have three columns each")
    require(triangles.apex.shape == (count,), "one apex a triangle")
    matrix = np.full((n + 1, n + 1), Fraction(0), dtype=object)
    half = Fraction(1, 2)

    def add(i, j, amount):
        matrix[i, j] += amount * half
        matrix[j, i] += amount * half

    for columns, apex, weight in zip(
        triangles.columns.tolist(), triangles.apex.tolist(), weights, strict=True
    ):
        a, b, c = (column + 1 for column in columns)
        require(0 <= a < b < c <= n, f"triangle {columns} is not three ascending columns")
        require(apex in (-1, 0, 1, 2), f"apex {apex}")
        require(weight >= 0, f"a triangle has the negative weight {float(weight)}")
        if apex >= 0:  # z_c + z_a z_b - z_a z_c - z_b z_c, c the apex
            a, b, c = [(b, c, a), (a, c, b), (a, b, c)][apex]
        sign = 1 if apex == -1 else -1
        for i, j, times in ((a, b, 1), (a, c, sign), (b, c, sign), (0, c, -sign)):
            add(i, j, times * weight)
        if apex == -1:  # z_a z_b + z_a z_c + z_b z_c - z_a - z_b - z_c + 1
            for i, times in ((a, -1), (b, -1), (0, 1)):
                add(0, i, times * weight)
    return matrix


def convex(matrix, terms):
    """The functions H that F is replaced by, semidefinite all: itself, or two that are lower."""
    numbers, divisor = whole(matrix)
    n = len(matrix) - 1
    if semidefinite(numbers[1:, 1:]):
        return [(numbers, divisor)]
    sizes, over = whole(abs(terms))
    numbers, divisor = numbers * over, divisor * over
    own = sizes.sum(axis=0).diagonal() * (divisor // over)
    largest = np.full(n, sizes.max() * (divisor // over), dtype=object)
    found = []
    for amounts in (own, largest):

        def lowered(power, times=1, amounts=amounts):
            """Of u less times / 2^power of the amounts."""
            raised = numbers * 2 ** (power + 1)
            at = np.arange(1, n + 1)
            raised[at, at] += 2 * times * amounts
            raised[0, at] -= times * amounts
            raised[at, 0] -= times * amounts
            return raised

        if not semidefinite(lowered(LOWERINGS[0])[1:, 1:]):
            continue
        holds, fails = LOWERINGS[0], LOWERINGS[-1] + 1
        while fails - holds > 1:
            middle = (holds + fails) // 2
            if semidefinite(lowered(middle)[1:, 1:]):
                holds = middle
            else:
                fails = middle
        low, high, power = 1 << (BITS - 1), 1 << BITS, holds + BITS
        while high - low > 1:
            middle = (low + high) // 2
            if semidefinite(lowered(power, middle)[1:, 1:]):
                high = middle
            else:
                low = middle
        found.append((lowered(power, high), divisor * 2 ** (power + 1)))
    require(found, "P is not positive semidefinite")
    return found


def least(functions, points, pruned):
    """The best of the linearisations' minima over masks (masks, n), one mask at least."""
    values = []
    for matrix, divisor in functions:
        quad, linear = matrix[1:, 1:], 2 * matrix[0, 1:]
        for x, over in points:
            slope = 2 * over * quad.dot(x) + over * over * linear
            base = over * over * matrix[0, 0] - x.dot(quad).dot(x)
            lowest = min(pruned.dot(slope))
            values.append(Fraction(base + lowest, divisor * over * over))
    return max(values)
