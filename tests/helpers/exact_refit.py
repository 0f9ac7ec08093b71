"""The second checker's part on refit: what a tree of diagonals and points proves, exactly.

Written from `instances.formats.evidence.refit_leaves` alone. With P the columns that a leaf's
diagonal drops, N the others, delta_P = w_P, and h = H delta, every mask z of the leaf has

    g(z) >= delta^T h - sum_N h_j^2 / D_j + sum_N z_j (h_j + D_j (w_j - delta_j))^2 / D_j,

where H - Diag(D) is semidefinite on N. A D that is so but for rounding is lowered by the least
multiple of H_jj that makes it so, or of the power of 4 from H_jj on, each found to twelve bits; the
right side only falls by that, and both results hold.
"""

from fractions import Fraction
from itertools import product

import numpy as np

from tests.helpers.exact import hessian, semidefinite, whole
from tests.helpers.exact_functions import finite, require

LOWERINGS = range(25, 111)
"""Powers of 1/2 that bound the multiples."""


def target_and_hessian(part):
    """(w, H of all rows, e): in units of `Part.target` and `Part.hessian`; losses are times 2^e."""
    block = hessian(part)
    n, two = len(block), Fraction(2)
    exponent = _exponent(max(block.diagonal()))
    matrix = np.full((part.n, part.n), Fraction(0), dtype=object)
    for top in range(0, part.n, n):
        matrix[top : top + n, top : top + n] = block / two**exponent
    numbers, divisor = whole(part.weight)
    weight = numbers * Fraction(1, divisor)
    own = _exponent(max(abs(weight)))
    return weight / two**own, matrix, 2 * own + exponent


def _exponent(value):
    """E with value / 2^e in [1/2, 1), 0 for 0."""
    return int(np.frexp(float(value))[1]) if value else 0


def lowered(matrix, diagonal, free):
    """The Ds that a D is replaced by, semidefinite all: itself, or two that are lower."""
    columns = np.flatnonzero(free)
    if not len(columns):
        return [diagonal]
    require(all(value > 0 for value in diagonal[columns]), "a diagonal is not above 0")
    block = matrix[np.ix_(columns, columns)]
    own, at = block.diagonal(), np.arange(len(columns))
    fours = np.array([_four(value) for value in own], dtype=object)

    def fits(amounts):
        rest = block.copy()
        rest[at, at] -= diagonal[columns] - amounts
        numbers, _ = whole_fractions(rest)
        return semidefinite(numbers)

    if fits(0 * own):
        return [diagonal]
    found = []
    for shape in (own, fours):
        less = _least_multiple(lambda share, shape=shape: fits(share * shape))
        other = diagonal.copy()
        other[columns] -= less * shape
        if all(value > 0 for value in other[columns]):
            found.append(other)
    require(found, "a diagonal is not above 0 once lowered")
    return found


def _four(value):
    """The least power of 4 that is above a Fraction."""
    return Fraction(4) ** (-(-_exponent(value) // 2))


def _least_multiple(fits):
    """The least share that fits, to twelve bits above it."""
    high = Fraction(1, 2 ** LOWERINGS[0])
    require(fits(high), "H - Diag(D) is not positive semidefinite")
    holds, fails = LOWERINGS[0], LOWERINGS[-1] + 1
    while fails - holds > 1:
        middle = (holds + fails) // 2
        if fits(Fraction(1, 2**middle)):
            holds = middle
        else:
            fails = middle
    low, high = Fraction(1, 2 ** (holds + 1)), Fraction(1, 2**holds)
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def whole_fractions(values):
    """Fractions as integers over one power of two, or another common denominator."""
    divisor = 1
    for value in values.ravel():
        divisor = max(divisor, Fraction(value).denominator)
    return np.array([[int(v * divisor) for v in row] for row in values], dtype=object), divisor


def affine(problem, diagonal, delta, gone):
    """(const, c) of a leaf in scaled units. problem: (w, H, exponent); gone: (n,) bool, P."""
    target, matrix, _ = problem
    change = np.where(gone, target, delta)
    h, free = matrix.dot(change), ~gone
    slope = np.full(len(target), Fraction(0), dtype=object)
    d = diagonal[free]
    slope[free] = (h[free] + d * (target - change)[free]) ** 2 / d
    return change.dot(h) - sum(h[free] ** 2 / d), slope


def diagonals_of(tree, n):
    """The diagonals, in which only what is not dropped need be a number, and what is dropped."""
    count = len(tree.diagonals)
    require(tree.dropped.shape == (count, n), "diagonals are miscounted")
    return finite(tree.diagonals, (count, n), "diagonal"), np.asarray(tree.dropped)


def refit_bound(part, pruned, tree, states, points):
    """The least bound of the leaves. states: {column: pruned} of each leaf. points: Fractions."""
    problem = target_and_hessian(part)
    stated, dropped = diagonals_of(tree, part.n)
    used, found = {}, []
    for number, state in enumerate(states):
        which, at = int(tree.function[number]), int(tree.point[number])
        require(0 <= which < len(stated), f"leaf {number} names diagonal {which}")
        require(0 <= at < len(points), f"leaf {number} names point {at}")
        if which not in used:
            used[which] = lowered(problem[1], stated[which], ~dropped[which])
        left = pruned
        for column, value in state.items():
            left = left[left[:, column] == value]
        if not len(left):
            continue
        require(bool(left[:, dropped[which]].all()), f"leaf {number} drops what it may keep")
        found.append(
            max(
                const + min(left.dot(slope))
                for const, slope in (
                    affine(problem, diagonal, points[at], dropped[which])
                    for diagonal in used[which]
                )
            )
        )
    require(found, "no leaf has a mask")
    return min(found) * Fraction(2) ** problem[2]


def refit_curve(row, tree, points):
    """b(k) of one row for k = 0 ... n pruned columns, at least 0, the best of the points."""
    problem = target_and_hessian(row)
    stated, dropped = diagonals_of(tree, row.n)
    which, at = int(tree.function[0]), int(tree.point[0])
    require(0 <= which < len(stated), f"the leaf names diagonal {which}")
    require(0 <= at < len(points), "the leaf names no point")
    require(not dropped[which].any(), "the leaf drops a column")
    diagonals = lowered(problem[1], stated[which], ~dropped[which])
    best = [Fraction(0)] * (row.n + 1)
    for point, diagonal in product(points, diagonals):
        const, slope = affine(problem, diagonal, point, dropped[which])
        order = sorted(slope)
        for k in range(row.n + 1):
            best[k] = max(best[k], const + sum(order[:k]))
    return [value * Fraction(2) ** problem[2] for value in best]
