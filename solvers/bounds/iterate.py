"""Points of the interior-point method of the semidefinite relaxation (`bounds.semidefinite`).

    primal  minimise <C, Y>,  Y = B R B^T,   c_i^T Y c_i = 1 (i = 0..n),   c_t^T Y c_t - x_t = 1
    dual    maximise sum of y + sum of w,
            S = B^T (C - sum of y_i c_i c_i^T - sum of w_t c_t c_t^T) B

with R, S positive definite and x, w > 0; c_i are the unit vectors, c_t the triangle inequalities.
Every iterate keeps the dual feasible; the primal constraints may be missed and are then aimed at.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.rows_face import RowsFace
from maskgap.solvers.bounds.triangles import Cuts, no_cuts

FIRST_MARGIN = 0.1
"""Least eigenvalue of R S at the first iterate, as a share of the mean of those of R B^T C B."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """A strictly dual feasible point.

    y: (n + 1,). weight: w (m,). primal: R and slack: S (order, order). excess: x (m,). cuts: the
    m triangle inequalities. known: the lower Cholesky factors of S and R where the step that led
    here has them; whoever replaces one of the two sets this to None.
    """

    face: Face | RowsFace
    cuts: Cuts
    y: Vector
    weight: Vector
    primal: Matrix
    slack: Matrix
    excess: Vector
    known: tuple[Matrix, Matrix] | None = None

    def factors(self) -> tuple[Matrix, Matrix] | None:
        """Lower Cholesky factors of S and R; None where one is not positive definite."""
        if self.known is not None:
            return self.known
        lower, upper = cholesky(self.slack), cholesky(self.primal)
        return None if lower is None or upper is None else (lower, upper)

    @property
    def value(self) -> float:
        """The dual value, a lower bound up to rounding."""
        return float(self.y.sum() + self.weight.sum())

    @cached_property
    def gap(self) -> float:
        """<R, S> + x . w, which is the duality gap once the primal constraints are met."""
        return float((self.primal * self.slack).sum() + self.excess @ self.weight)

    @property
    def mu(self) -> float:
        """The gap's share of one complementary pair."""
        return self.gap / (self.face.order + len(self.cuts))

    @cached_property
    def lifted(self) -> Matrix:
        """Y (n + 1, n + 1)."""
        return self.face.lift(self.primal)

    @cached_property
    def missed(self) -> float:
        """By how much the primal constraints are missed at most."""
        off = np.abs(self.lifted.diagonal() - 1.0).max()
        cut = np.abs(self.cuts.forms(self.lifted) - 1.0 - self.excess).max(initial=0.0)
        return float(max(off, cut))

    def weighted(self, y: Vector, weight: Vector) -> Matrix:
        """B^T (sum of y_i c_i c_i^T + sum of weight_t c_t c_t^T) B."""
        total = self.cuts.weighted(weight, len(y))
        total[np.diag_indices(len(y))] += y
        return self.face.project(total)


def centre(face: Face, cost: Matrix) -> Iterate:
    """A first iterate without cuts, which meets the primal constraints; cost: C (n + 1, n + 1).

    R is that of the mean of (1, s)(1, s)^T over all legal masks, and S is B^T C B plus a multiple
    of its inverse, which a y of two values makes. From an R that misses the constraints by much
    the method diverges where few columns are kept or few are pruned.
    """
    scale, y = face.mean_of_masks()
    inner = face.project(cost)
    root = np.sqrt(scale)
    scaled = root[:, None] * inner * root
    least = float(scipy.linalg.eigvalsh(scaled, subset_by_index=[0, 0])[0])
    shift = (
        FIRST_MARGIN * max(float(scaled.trace()), float(np.abs(scaled).max())) / len(scale) - least
    )
    slack = inner + np.diag(shift / scale)
    none = np.zeros(0)
    return Iterate(face, no_cuts(), -shift * y, none, np.diag(scale), slack, none)


def begin(face: RowsFace, cost: Matrix) -> Iterate | None:
    """A first iterate without cuts on a face of any rows; cost: C (kept, kept).

    The primal constraints are missed a little where `RowsFace.first_iterate` cannot meet them. None
    where the arithmetic does not allow one.
    """
    primal, v = face.first_iterate()
    inner, room = face.project(cost), face.project(np.diag(v))
    lower = cholesky(room)
    if lower is None:
        return None
    half = scipy.linalg.solve_triangular(lower, inner, lower=True)
    scaled = scipy.linalg.solve_triangular(lower, half.T, lower=True)
    least = float(scipy.linalg.eigvalsh(scaled, subset_by_index=[0, 0])[0])
    size = max(float(scaled.trace()), float(np.abs(scaled).max()))
    shift = FIRST_MARGIN * size / len(scaled) - least
    none = np.zeros(0)
    return Iterate(face, no_cuts(), -shift * v, none, primal, inner + shift * room, none)


def cholesky(matrix: Matrix) -> Matrix | None:
    """L with L L^T = matrix, or None where it is not positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def inverse(lower: Matrix) -> Matrix | None:
    """(L L^T)^-1 of a lower Cholesky factor L (n, n), or None where that is singular.

    What stands above the diagonal of L is not looked at.
    """
    half, info = scipy.linalg.lapack.dpotri(lower, lower=1)
    if info != 0:
        return None
    half = np.tril(half)
    return np.asarray(half + np.tril(half, -1).T)
