"""Losses and matrices of small parts in exact arithmetic: integers over one divisor.

The numbers of a layer are floats, so each is an integer over a power of two and nothing is rounded.
"""

from fractions import Fraction
from math import lcm

import numpy as np


def whole(values):
    """(integers, d) with values = integers / d, exactly."""
    parts = [Fraction(value) for value in np.ravel(values).tolist()]
    divisor = lcm(*(part.denominator for part in parts))
    found = np.empty(len(parts), dtype=object)
    found[:] = [part.numerator * (divisor // part.denominator) for part in parts]
    return found.reshape(np.shape(values)), divisor


def losses(part, pruned):
    """The losses of masks (masks, n) bool, True = pruned: a list of Fractions."""
    if part.objective.refits:
        return refit_losses(part, pruned)
    weight, by = whole(part.weight.reshape(part.height, -1))
    gram, over = whole(part.layer.gram)
    total = np.zeros(len(pruned), dtype=object)
    for row, own in zip(weight, np.split(pruned, part.height, axis=1), strict=True):
        squares = (own.dot(np.outer(row, row) * gram) * own).sum(axis=1)
        total = total + np.maximum(squares, 0)
    return [Fraction(value, by * by * over) for value in total]


def hessian(part):
    """H of a layer under refit, an object array (d_in, d_in) of Fractions.

    G with fl(G_jj + fl(ridge fl(trace / n))) on its diagonal, the trace rounded once.
    """
    gram = part.layer.gram
    trace = float(sum(map(Fraction, gram.diagonal().tolist())))
    own = gram.copy()
    own[np.diag_indices(len(gram))] += part.objective.ridge * (trace / len(gram))
    numbers, divisor = whole(own)
    return numbers * Fraction(1, divisor)


def refit_losses(part, pruned):
    """G of masks: w_P^T S w_P, S the Schur complement of the kept columns in H, summed over rows.

    Masks that begin alike share their eliminations.
    """
    first = hessian(part)
    weight, by = whole(part.weight.reshape(part.height, -1))
    found = [Fraction(0)] * len(pruned)
    for row, own in zip(
        weight * Fraction(1, by), np.split(pruned, part.height, axis=1), strict=True
    ):
        _eliminate(first, row, list(enumerate(own.tolist())), 0, found)
    return found


def _eliminate(matrix, row, masks, column, found):
    """Add to `found` the values of (number, mask), whose kept columns before `column` are gone."""
    if column == len(row):
        for number, mask in masks:
            gone = [j for j, out in enumerate(mask) if out]
            found[number] += row[gone].dot(matrix[np.ix_(gone, gone)]).dot(row[gone])
        return
    left = [mask for mask in masks if mask[1][column]]
    if left:
        _eliminate(matrix, row, left, column + 1, found)
    kept = [mask for mask in masks if not mask[1][column]]
    if kept:
        pivot = matrix[column]
        if pivot[column] <= 0:
            raise ValueError("H is not positive definite")
        rest = matrix - np.outer(pivot / pivot[column], pivot)
        _eliminate(rest, row, kept, column + 1, found)


def quadratic(part):
    """Q, block diagonal over the rows of a part: an object array of Fractions."""
    weight, by = whole(part.weight.reshape(part.height, -1))
    gram, over = whole(part.layer.gram)
    n = gram.shape[0]
    quad = np.full((part.n, part.n), Fraction(0), dtype=object)
    for r, row in enumerate(weight):
        block = np.outer(row, row) * gram
        quad[r * n : (r + 1) * n, r * n : (r + 1) * n] = block * Fraction(1, by * by * over)
    return quad


def squared_weight(part):
    """w^2, as Fractions."""
    weight, by = whole(part.weight)
    return weight * weight * Fraction(1, by * by)


def semidefinite(matrix):
    """Whether a symmetric integer matrix is, by fraction-free symmetric elimination."""
    rest, last = matrix.copy(), 1
    while len(rest):
        pivot, column = rest[0, 0], rest[1:, 0]
        if pivot < 0 or (pivot == 0 and any(column)):
            return False
        rest = rest[1:, 1:]
        if pivot > 0:
            rest = (rest * pivot - np.outer(column, column)) // last
            last = pivot
    return True
