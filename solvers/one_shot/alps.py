"""ALPS (Meng, Behdin, Wang, Mazumder, arXiv 2406.07831): ADMM on weights with a budget, then refit.

For a row w and A = S H S with the diagonal S that makes A_jj = 1, in the weights y = S^-1 w,

    min over x, d  of  (x - y)^T A (x - y) / 2,    x = d,    d meets the budgets of kept weights,

by the steps (the scaling is the authors' preconditioner; products with A + rho I need one
eigendecomposition, A = Q Diag(l) Q^T, whatever rho is)

    x  <-  (A + rho I)^-1 (A y - v + rho d)
    d  <-  x + v / rho  with the smallest entries of each group set to 0
    v  <-  v + rho (x - d)

from d = y without its smallest entries, v = 0, rho = 0.1. Every third step rho is multiplied by
1.3, 1.2 or 1.1 as the support of d has changed by at least 0.1 k, 0.005 k or 1 columns of k kept
ones since the third step before, and where it has not changed the ADMM ends: the scheme of the
paper. As in the authors' program, rho is too large where the support has not changed at all from
the beginning: it is divided by 5 and the row begins anew. Then the weights are re-optimised on the
support of d (`instances.refit`).

Where this differs from them. A budget is one of each row (or N:M), not one of the layer; so a row
has its own rho and ends by itself, and its answer does not depend on the others. rho is lowered at
most LOWERED times. The paper re-optimises by 10 steps of conjugate gradients; here the weights are
the best ones up to rounding. All in float64.

Under the loss of a mask the mask is found alike, with H of the damping, and no weights are handed
over.
A step is two products of all rows with a matrix (n, n).
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Vector
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.hessian import DAMPING
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop
from maskgap.solvers.settings import NotNegative, Positive, settings

RHO = 0.1
EVERY = 3
FACTORS = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))
"""rho grows by the factor of the first share of k that the change of the support reaches."""
LARGEST_RHO = 1e6
LOWERING = 5.0
LOWERED = 5

REFIT_ROWS = 512
"""Rows that are re-optimised between two looks at the deadline."""


@settings
class Alps:
    """ADMM on the weights, then the best weights of its mask."""

    damping: NotNegative = DAMPING
    """Share of the mean diagonal that is added to the Gram; under refit its ridge is, instead."""
    iterations: Positive = 300
    """Steps of the ADMM at most."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row with its number of steps, under refit with weights.

        The deadline is looked at in each step; at the end of it the masks are those of d, and rows
        that are not re-optimised by then have no weights.
        """
        groups = problem.groups
        with limits.journal.phase("build"):
            hessian, live = _hessian(problem, self.damping)
            scale = np.sqrt(hessian.diagonal())
            matrix = hessian / np.outer(scale, scale)
            weight, _ = unit_rows(problem.weight)
            weight[:, ~live] = 0.0  # costs nothing to prune, whatever its size
            target = weight * scale
            admm = Admm.start(matrix, target, groups)
        stops = admm.run(self.iterations, limits.deadline)
        masks = groups.prune_lowest(admm.d**2)
        weights = _refitted(problem, masks, limits.deadline) if problem.objective.refits else []
        return [
            Answer(
                Kept(masks[row]),
                stop,
                counters={"iterations": int(admm.steps[row])},
                weights=weights[row] if row < len(weights) else None,
            )
            for row, stop in enumerate(stops)
        ]


def _refitted(problem: Problem, masks: Kept, deadline: Deadline) -> list[Vector]:
    """The best weights (n,) of each row, of fewer rows where time is over."""
    found: list[Vector] = []
    for top in range(0, len(masks), REFIT_ROWS):
        if deadline.expired():
            break
        block = Kept(masks[top : top + REFIT_ROWS])
        first = problem.rows.start + top
        part = replace(problem, rows=range(first, first + len(block)))
        found += list(part.refitted(block))
    return found


def _hessian(problem: Problem, damping: float) -> tuple[Matrix, Flags]:
    """H (n, n) up to a power of two, 1 on the diagonal of columns without part in it; the others.

    ADMM needs no definite H, so a damping of 0 will do.
    """
    if problem.objective.refits:
        unit, _ = Hessian.of(problem.layer, problem.objective.ridge).unit
        return unit, np.ones(problem.layer.d_in, dtype=bool)
    gram, _ = problem.layer.gram_unit
    live: Flags = gram.diagonal() > 0
    diagonal = gram.diagonal() + damping * (gram.diagonal()[live].mean() if live.any() else 0.0)
    hessian = gram.copy()
    hessian[np.diag_indices(len(hessian))] = np.where(live, diagonal, 1.0)
    return hessian, live


@dataclass(eq=False)
class Admm:
    """Rows that step together, each with its own rho.

    values, vectors: l (n,) and Q (n, n). right: A y (rows, n). first, d, v: (rows, n), the d to
    begin with, d and v. rho: (rows,). steps: (rows,) taken by each. groups: the budgets.
    """

    values: Vector
    vectors: Matrix
    right: Matrix
    first: Matrix
    d: Matrix
    v: Matrix
    rho: Vector
    steps: NDArray[np.int64]
    groups: BudgetGroups

    @staticmethod
    def start(matrix: Matrix, target: Matrix, groups: BudgetGroups) -> "Admm":
        """matrix: A (n, n). target: y (rows, n)."""
        values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
        first = np.where(groups.prune_lowest(target**2), target, 0.0)
        rows = len(target)
        return Admm(
            # rounding may give a semidefinite matrix eigenvalues below 0
            np.maximum(values, 0.0),
            vectors,
            target @ matrix,
            first,
            first.copy(),
            np.zeros_like(target),
            np.full(rows, RHO),
            np.zeros(rows, dtype=np.int64),
            groups,
        )

    def run(self, most: int, deadline: Deadline) -> list[Stop]:
        """Step until each row has ended; why each has."""
        stops = [Stop.ITERATIONS] * len(self.d)
        changed = np.zeros(len(self.d), dtype=bool)
        lowered = np.zeros(len(self.d), dtype=np.int64)
        active = np.arange(len(self.d))
        if self.groups.single:
            return [Stop.FINISHED] * len(stops)
        before = self.d != 0.0
        for step in range(1, most + 1):
            if deadline.expired():
                for row in active:
                    stops[row] = deadline.stop()
                break
            self.step(active)
            if step % EVERY:
                continue
            support = self.d[active] != 0.0
            change = (support != before[active]).sum(axis=1)
            before[active] = support
            moved = change > 0
            self._raise(active[moved], change[moved])
            changed[active] |= moved
            ended = ~moved & (changed[active] | (lowered[active] == LOWERED))
            begun = active[~moved & ~ended]
            self._begin_anew(begun)
            lowered[begun] += 1
            before[begun] = self.first[begun] != 0.0
            for row in active[ended]:
                stops[row] = Stop.FINISHED
            active = active[~ended]
            if not len(active):
                break
        return stops

    def step(self, rows: NDArray[np.int64]) -> None:
        """One step of some rows."""
        rho = self.rho[rows, None]
        side = self.right[rows] - self.v[rows] + rho * self.d[rows]
        x = ((side @ self.vectors) / (self.values + rho)) @ self.vectors.T
        moved = x + self.v[rows] / rho
        d = np.where(self.groups.prune_lowest(moved**2), moved, 0.0)
        self.v[rows] += rho * (x - d)
        self.d[rows] = d
        self.steps[rows] += 1

    def _raise(self, rows: NDArray[np.int64], change: NDArray[np.int64]) -> None:
        share = change / (self.groups.n - self.groups.total_pruned)
        factor = np.select([share >= least for least, _ in FACTORS], [f for _, f in FACTORS])
        self.rho[rows] = np.minimum(self.rho[rows] * factor, LARGEST_RHO)

    def _begin_anew(self, rows: NDArray[np.int64]) -> None:
        self.rho[rows] /= LOWERING
        self.d[rows], self.v[rows] = self.first[rows], 0.0
