"""The refit loss of a row with some columns fixed, as one of the free columns alone.

With H (n, n) positive definite and w the target, N the columns that are not forced to be pruned, P0
those that are, K those forced to be kept and F the free ones, the loss of a mask is

    g = min over x, 0 where pruned, of (x - w)^T H (x - w) = least + min (x - w')^T A (x - w'),

    y = H_NN^-1 H_NP0 w_P0,   w' = w_N + y,   least = w_P0^T (H_P0P0 w_P0 - H_P0N y),
    A = H_FF - H_FK H_KK^-1 H_KF,   x and w' on F:

what P0 costs is paid once, and the kept columns are minimised over once for all masks. A search
below a node so gets the smaller the deeper the node. Without fixed columns A is H itself.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Vector
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States

FLOOR = 1e-22
"""Changes are of second order in residuals, whose rounding is some 1e-16 of the largest."""


def factor(matrix: Matrix) -> Matrix:
    """Lower Cholesky factor. Raises Refused where there is none in float64."""
    lower, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise Refused("the Hessian is singular on the columns that are kept; use a larger --ridge")
    return np.asarray(lower)


def solve(lower: Matrix, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution of L L^T x = right, (n,) or (n, k)."""
    result, _ = scipy.linalg.lapack.dpotrs(lower, right, lower=1)
    return np.asarray(result)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """least + min over x of (x - target)^T matrix (x - target), x 0 where pruned, of m columns.

    matrix: A (m, m) float64, symmetric, positive definite. target: w' (m,). free: (m,) numbers of
    the columns among all n. offsets: (groups + 1,) int64, where each budget group begins. state:
    (n,), None where all are free.
    """

    matrix: Matrix
    target: Vector
    least: float
    free: NDArray[np.int64]
    offsets: NDArray[np.int64]
    state: States | None = None

    @cached_property
    def floor(self) -> float:
        """A change of the loss that may be rounding where the loss itself is: FLOOR of the largest.

        The largest is that of pruning all columns.
        """
        return FLOOR * (self.least + float(self.target @ self.matrix @ self.target))

    @staticmethod
    def of(
        hessian: Matrix, target: Vector, groups: BudgetGroups, state: States | None = None
    ) -> "Quadratic":
        """The free columns of a row. hessian: H (n, n), target: w (n,), state: (n,) int8 or None.

        Costs |N|^3 / 3 and more where columns are fixed, nothing otherwise. Raises Refused where H
        is not positive definite.
        """
        if state is None or (state == FREE).all():
            offsets = np.arange(0, groups.n + 1, groups.size)
            return Quadratic(hessian, target, 0.0, np.arange(groups.n), offsets)
        free = np.flatnonzero(state == FREE)
        others, gone, kept = state != PRUNED, state == PRUNED, np.flatnonzero(state == KEPT)
        paid = hessian[np.ix_(others, gone)] @ target[gone]
        own, least = target.copy(), 0.0
        if gone.any():
            moved = solve(factor(hessian[np.ix_(others, others)]), paid) if others.any() else paid
            own[others] += moved
            alone = hessian[np.ix_(gone, gone)] @ target[gone]
            least = float(target[gone] @ (alone - hessian[np.ix_(gone, others)] @ moved))
        matrix = hessian[np.ix_(free, free)]
        if len(kept) and len(free):
            across = hessian[np.ix_(kept, free)]
            half = scipy.linalg.solve_triangular(
                factor(hessian[np.ix_(kept, kept)]), across, lower=True, check_finite=False
            )
            matrix = matrix - half.T @ half
        offsets = np.searchsorted(free, np.arange(0, groups.n + 1, groups.size))
        return Quadratic(matrix, own[free], max(0.0, least), free, offsets, state)

    def lift(self, kept: Flags) -> Kept:
        """The mask (n,) of a choice (m,) of free columns to keep."""
        if self.state is None:
            return Kept(kept.copy())
        mask = self.state == KEPT
        mask[self.free] = kept
        return Kept(mask)

    def loss(self, kept: Flags) -> float:
        """The loss of a choice (m,), by a Cholesky factor of its own: |S|^3 / 3."""
        gone = np.flatnonzero(~kept)
        stay = np.flatnonzero(kept)
        paid = self.target[gone]
        residual = self.matrix[np.ix_(gone, gone)] @ paid
        if len(stay) and len(gone):
            across = self.matrix[np.ix_(stay, gone)]
            lower = factor(self.matrix[np.ix_(stay, stay)])
            residual -= across.T @ solve(lower, across @ paid)
        return self.least + max(0.0, float(paid @ residual))

    def tableau(self, kept: Flags) -> Matrix:
        """The tableau (m + 1, m + 1) of a choice (m,), see `refit_swap.tableau`; some m^3."""
        m = len(kept)
        stay, gone = np.flatnonzero(kept), np.flatnonzero(~kept)
        paid = self.target[gone]
        table = np.zeros((m + 1, m + 1))
        schur = self.matrix[np.ix_(gone, gone)]
        weights = self.target[stay]
        if len(stay):
            lower = factor(self.matrix[np.ix_(stay, stay)])
            inverse, _ = scipy.linalg.lapack.dpotri(lower, lower=1)
            table[np.ix_(stay, stay)] = -(inverse + np.tril(inverse, -1).T)
            if len(gone):
                across = self.matrix[np.ix_(stay, gone)]
                half = scipy.linalg.solve_triangular(lower, across, lower=True, check_finite=False)
                schur = schur - half.T @ half
                moves = scipy.linalg.solve_triangular(
                    lower, half, lower=True, trans=1, check_finite=False
                )
                table[np.ix_(stay, gone)], table[np.ix_(gone, stay)] = moves, moves.T
                weights = weights + moves @ paid
        residual = schur @ paid
        table[np.ix_(gone, gone)] = schur
        table[stay, m], table[gone, m] = weights, residual
        table[m, m] = self.least + max(0.0, float(paid @ residual))
        return table
