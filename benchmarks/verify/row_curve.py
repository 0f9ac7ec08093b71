"""What a convex function of a row says under every budget of the row.

A proof for one budget of a row bounds it under every other: its function

    F_k(z) = z^T P z + (u - k alpha)^T z + c

is at most the loss on masks that prune k columns for each k, and has one P, whose semidefiniteness
is checked once. So b(k) is the bound of its linearisation at a point x_k, interpolated between
the points that the proof has; any point will do.

Rounding. q_k is made from the q that `quadratic` verified by two more operations, of terms that sum
to no more than n |alpha_j| more; for the rest see there.
"""

import numpy as np

from maskgap.benchmarks.verify.quadratic import (
    TINY,
    require_finite,
    rescaled_down,
    scaled_quad,
    verified,
)
from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.definite import gamma
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.problem import Part


def leaf_curve(problem: Part, leaves: Leaves) -> Vector:
    """(n + 1,) lower bounds b(k) >= 0, k = 0, ..., n, of a row, in units of the layer's loss.

    problem: the row under a budget of its own. leaves: of one leaf with a function, of a form that
    was found right. Raises ProofError.
    """
    n, own = problem.n, problem.groups.pruned
    function = leaves.functions[int(leaves.function[0])]
    found = verified(problem, scaled_quad(problem), function, 0)
    budgets = np.arange(n + 1)
    x = _interpolated(leaves.points.astype(np.float64), n)
    alpha = function.alpha[0]
    product, width = x @ found.matrix, np.abs(x)
    rest = found.rest + 2.0 * n * float(np.abs(alpha).sum())
    size = (2.0 + width.max(axis=1)) * (width @ found.size) + rest
    allowance = gamma(4 * n + found.meeting + 40) * size + TINY
    gradient = 2.0 * product + found.linear + (own - budgets)[:, None] * alpha
    gradient.sort(axis=1)
    sums = np.zeros((n + 1, n + 1))
    np.cumsum(gradient, axis=1, out=sums[:, 1:])
    bounds = sums[budgets, budgets] + found.constant - np.einsum("ij,ij->i", x, product)
    bounds -= allowance
    require_finite(f"row {problem.row}: a bound", bounds, gradient)
    return np.array([rescaled_down(problem, max(0.0, float(b))) for b in bounds])


def _interpolated(points: Matrix, n: int) -> Matrix:
    """(n + 1, n) points whose sums are about 0, ..., n, between those given, all 0 and all 1."""
    sums = points.sum(axis=1)
    order = np.argsort(sums, kind="stable")
    inside = order[(sums[order] > 0.0) & (sums[order] < n)]
    known = np.concatenate([np.zeros((1, n)), points[inside], np.ones((1, n))])
    level = np.concatenate([[0.0], sums[inside], [float(n)]])
    wanted = np.arange(n + 1)
    left = np.clip(np.searchsorted(level, wanted, side="right") - 1, 0, len(level) - 2)
    gap = level[left + 1] - level[left]
    share = np.where(gap > 0.0, (wanted - level[left]) / np.where(gap > 0.0, gap, 1.0), 0.0)
    return np.asarray(known[left] + share[:, None] * (known[left + 1] - known[left]))
