"""Lower bounds where rows share one budget (`layer:P%`), from proofs of single rows.

Let b_r(k) be a lower bound on the loss of row r over all masks that prune k of its columns. For any
multiplier t, no mask that prunes K columns of all rows together has a loss below

    sum over rows of  min over k of (b_r(k) - t k)   +   t K,

as the pruned columns of the rows sum to K. The multiplier is found here, by bisection on the
derivative in t, K less the sum of the minimisers k; no proof has to name it.

A proof for one budget of a row bounds it under every other: its function

    F_k(z) = z^T P z + (u - k alpha)^T z + c

is at most the loss on masks that prune k columns for each k, and has one P, whose semidefiniteness
is checked once. So b_r(k) is the bound of its linearisation at a point x_k, interpolated between
the points that the proof has; any point will do. A shared shift has no alpha and one P as well.

Rounding. q_k is made from the q that `rigour` verified by two more operations, of terms that sum to
no more than n |alpha_j| more; for the rest see there. The sum over rows is rounded down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, nextafter

import numpy as np

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import row_under
from maskgap.benchmarks.verify.quadratic import (
    TINY,
    require_finite,
    rescaled_down,
    scaled_quad,
    verified,
)
from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.definite import gamma
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part

BISECTIONS = 100
"""Halvings of the interval of the multiplier, which floating-point numbers outlast."""

UNIT = 2.0**-52


@dataclass(frozen=True, eq=False)
class SharedBudget:
    """What rows with one budget come to.

    bound: on the sum of their losses, rounded down. multiplier: t. budgets: (rows,) the minimising
    k of each row. parts: (rows,) min of b_r(k) - t k.
    """

    bound: float
    multiplier: float
    budgets: Vector
    parts: Vector


def row_bounds(part: Part, proof: PartProof) -> Vector:
    """(n + 1,) lower bounds b(k) >= 0, k = 0, ..., n, of a row, in units of the layer's loss.

    part: rows that share one budget. proof: of one of them, of a form that
    `benchmarks.verify.form` has found right in a proof of the part. Raises ProofError.
    """
    leaves, budget = proof.leaves, proof.budget
    if leaves is None or budget is None:
        raise ProofError(f"row {proof.row}: a shared budget takes proofs of one leaf")
    problem = row_under(part, proof.row, budget)
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


def bound_rows(part: Part, proofs: Sequence[PartProof], clock: Clock) -> float:
    """The bound of rows that share one budget, from proofs of some of them. Raises ProofError."""
    n = part.layer.d_in
    curves: dict[int, Vector] = {row: np.zeros(n + 1) for row in part.rows}
    for seen, own in enumerate(proofs):
        clock.look(f"{seen} of {len(proofs)} proofs of rows are")
        curves[own.row] = np.maximum(curves[own.row], row_bounds(part, own))
    return share_budget(list(curves.values()), part.legal.total_pruned).bound


def share_budget(curves: Sequence[Vector], total: int) -> SharedBudget:
    """The best bound that rows with b_r (n + 1,) each have when they prune `total` columns."""
    table = np.stack(curves)
    budgets = np.arange(table.shape[1], dtype=np.float64)

    def at(multiplier: float) -> SharedBudget:
        value = table - multiplier * budgets
        # a product and a difference, each rounded once
        value -= UNIT * (np.abs(multiplier) * budgets + np.abs(value)) + TINY
        best = value.argmin(axis=1)
        parts = value[np.arange(len(table)), best]
        sum_down = nextafter(fsum([*parts.tolist(), 0.0]), -np.inf)
        paid = nextafter(multiplier * total, -np.inf)
        bound = nextafter(sum_down + paid, -np.inf)
        return SharedBudget(max(0.0, bound), multiplier, best.astype(np.float64), parts)

    best = low = at(0.0)
    high = at(float(np.diff(table, axis=1).max(initial=0.0)) + 1.0)
    for _ in range(BISECTIONS):
        best = max(best, low, high, key=lambda found: found.bound)
        middle = 0.5 * (low.multiplier + high.multiplier)
        if not low.multiplier < middle < high.multiplier:
            break
        found = at(middle)
        low, high = (found, high) if found.budgets.sum() < total else (low, found)
    return best
