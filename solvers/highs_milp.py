"""HiGHS on a linearised row: each product z_i z_j of binaries becomes a variable y_ij in [0, 1].

    min  sum_i Q_ii z_i + 2 sum_{i<j} Q_ij y_ij
    sum_{j in g} z_j = k                                    each group g
    sum_{j in g, j != i} y_ij = (k - [i in g]) z_i          each column i and group g
    y_ij <= z_i,  y_ij <= z_j                               where Q_ij < 0
    y_ij >= z_i + z_j - 1                                   where Q_ij > 0

The second family is the budget times z_i (the reformulation-linearisation technique of Adams and
Sherali, 1986). It alone makes the model exact: y_ij = 0 where z_i = 0, so for z_i = 1 its k - 1 (or
k) other terms must all be 1. The third and fourth are McCormick's, on the side that Q_ij pulls to.
There are n (n - 1) / 2 products, and HiGHS's dual bound is claimed as it stands (`solvers.native`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from instances.groups import BudgetGroups, Mask, Matrix, Vector
from instances.problem import RowProblem
from solvers import highs
from solvers.base import Answer, Limits
from solvers.native import NativeRun

TOLERANCE = 1e-7
"""Absolute slack of the dual bound in units of the model; its rows are met to 1e-9 each."""

LARGEST_ROW = 1000
"""Columns; that is half a million products."""


def _stack(*parts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts)


def linearise(quad: Matrix, groups: BudgetGroups) -> highs.LinearModel:
    """The model for Q (n, n): columns z, then y_ij for i < j in row order."""
    n, count, size, k = groups.n, groups.count, groups.size, groups.pruned
    first, second = np.triu_indices(n, 1)
    products = quad[first, second]
    y = n + np.arange(len(first))
    group = np.arange(n) // size

    # one row for each (i, g), numbered i * count + g; y_ij counts in (i, g(j)) and (j, g(i))
    rlt_z = np.full((n, count), -float(k))
    rlt_z[np.arange(n), group] += 1.0
    rows = [first * count + group[second], second * count + group[first], np.arange(n * count)]
    columns = [y, y, np.repeat(np.arange(n), count)]
    values = [np.ones(len(y)), np.ones(len(y)), rlt_z.ravel()]
    rows.append(n * count + group)
    columns.append(np.arange(n))
    values.append(np.ones(n))
    lower = [np.zeros(n * count), np.full(count, float(k))]
    upper = list(lower)

    used = n * count + count
    below = np.flatnonzero(products < 0)
    for side in (first, second):
        at = used + np.arange(len(below))
        rows += [at, at]
        columns += [y[below], side[below]]
        values += [np.ones(len(below)), -np.ones(len(below))]
        lower.append(np.full(len(below), -np.inf))
        upper.append(np.zeros(len(below)))
        used += len(below)
    above = np.flatnonzero(products > 0)
    at = used + np.arange(len(above))
    rows += [at, at, at]
    columns += [y[above], first[above], second[above]]
    values += [np.ones(len(above)), -np.ones(len(above)), -np.ones(len(above))]
    lower.append(np.full(len(above), -1.0))
    upper.append(np.full(len(above), np.inf))
    used += len(above)

    width = n + len(y)
    matrix = scipy.sparse.csr_matrix(
        (_stack(*values), (_stack(*rows), _stack(*columns))), shape=(used, width)
    )
    return highs.LinearModel(
        cost=_stack(quad.diagonal(), 2.0 * products),
        lower=np.zeros(width),
        upper=np.ones(width),
        matrix=matrix,
        row_lower=_stack(*lower),
        row_upper=_stack(*upper),
        integers=n,
    )


def complete(mask: Mask) -> Vector:
    """All columns of the model for a mask (n,), True = kept: z and its products."""
    z = (~mask).astype(np.float64)
    first, second = np.triu_indices(len(z), 1)
    return _stack(z, z[first] * z[second])


def build(run: NativeRun, seed: int) -> Any:
    """A Highs object with model and start. Raises OutOfTime."""
    model = linearise(run.quad, run.groups)
    run.check_time()
    native = highs.load(model, run.limits, run.native_gap, seed)
    if run.start is not None:
        highs.give_start(native, complete(run.start))
    run.check_time()
    return native


@dataclass(frozen=True)
class HighsMilp:
    """HiGHS, products linearised. warm_start: one of the score names, or 'none'."""

    warm_start: str = "none"

    def solve(self, problem: RowProblem, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, TOLERANCE)
        n = problem.n

        def finish(native: Any) -> Answer:
            highs.optimise(native, limits, lambda x: run.offer_vector(x[:n]), run.offer_bound)
            return run.answer(highs.read_back(native, n))

        return run.three_steps(
            LARGEST_ROW,
            "the model has a variable for each of n^2 / 2 products",
            lambda: build(run, seed),
            finish,
        )
