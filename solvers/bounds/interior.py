"""One step of the interior-point method of the semidefinite relaxation (`bounds.semidefinite`).

    primal  minimise <C, Y>,  Y = B R B^T,   c_i^T Y c_i = 1 (i = 0..n),   c_t^T Y c_t - x_t = 1
    dual    maximise sum of y + sum of w,
            S = B^T (C - sum of y_i c_i c_i^T - sum of w_t c_t c_t^T) B

with R, S positive definite and x, w > 0; c_i are the unit vectors, c_t the triangle inequalities.
The step is predictor-corrector with the HKM direction (Helmberg, Rendl, Vanderbei, Wolkowicz, SIAM
Journal on Optimization 6, 1996). As every constraint matrix has rank one, its system is the product
entry by entry

    [ (A V A^T) * (A Y A^T) + Diag(0, x / w) ] (dy, dw) = r,   V = B S^-1 B^T,

with the rows c_i, c_t of A: one Cholesky factorisation of order n + 1 + m.

Every iterate keeps the dual feasible; the primal constraints may be missed and are then aimed at.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.rows_face import RowsFace
from maskgap.solvers.bounds.step_length import STEP_TO_BOUNDARY, to_boundary
from maskgap.solvers.bounds.triangles import Cuts, no_cuts, products

FIRST_MARGIN = 0.1
"""Least eigenvalue of R S at the first iterate, as a share of the mean of those of R B^T C B."""

SHORTER = 0.7
TRIES = 12
"""What a step is shortened by where it left the positive definite matrices, and how often."""


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


def advance(at: Iterate) -> Iterate | None:
    """The next iterate, or None where the arithmetic ends the method."""
    factors = at.factors()
    if factors is None:
        return None
    lower, upper = factors
    newton = _Newton.at(at, lower)
    if newton is None:
        return None
    guess = newton.direction(0.0, None, None)
    primal_step, dual_step = _steps(at, lower, upper, guess)
    ahead = float(
        ((at.primal + primal_step * guess.primal) * (at.slack + dual_step * guess.slack)).sum()
        + (at.excess + primal_step * guess.excess) @ (at.weight + dual_step * guess.weight)
    )
    centring = min(1.0, max(0.0, ahead / at.gap)) ** 2
    bent = guess.image @ guess.primal
    step = newton.direction(centring * at.mu, 0.5 * (bent + bent.T), guess.excess * guess.weight)
    primal_step, dual_step = _steps(at, lower, upper, step)
    primal = _moved(at.primal, step.primal, primal_step)
    slack = _moved(at.slack, step.slack, dual_step)
    if primal is None or slack is None:
        return None
    return Iterate(
        at.face,
        at.cuts,
        at.y + slack.share * step.y,
        at.weight + slack.share * step.weight,
        primal.matrix,
        slack.matrix,
        at.excess + primal.share * step.excess,
        (slack.lower, primal.lower),
    )


@dataclass(frozen=True, eq=False)
class _Moved:
    """A positive definite matrix after a step, its factor, and how much of the step was taken."""

    matrix: Matrix
    lower: Matrix
    share: float


def _moved(matrix: Matrix, step: Matrix, share: float) -> _Moved | None:
    """After so much of a step, or less where that is not positive definite; None if nothing is."""
    for _ in range(TRIES):
        moved = _symmetric(matrix + share * step)
        lower = cholesky(moved)
        if lower is not None:
            return _Moved(moved, lower, share)
        share *= SHORTER
    return None


@dataclass(frozen=True, eq=False)
class _Direction:
    """Steps of everything in an Iterate, and image = S^-1 (step of S)."""

    y: Vector
    weight: Vector
    primal: Matrix
    slack: Matrix
    excess: Vector
    image: Matrix


@dataclass(frozen=True, eq=False)
class _Newton:
    """The HKM system at one iterate, solved for any centring and second-order term."""

    iterate: Iterate
    factor: Matrix
    inverse: Matrix
    pull: Vector

    @staticmethod
    def at(at: Iterate, lower: Matrix) -> "_Newton | None":
        """The system, factored; None where it is singular in float64."""
        n = len(at.y)
        inverse = _inverse(lower)
        spread = at.face.lift(inverse)
        system = products(spread, at.lifted, at.cuts)
        diagonal = np.arange(len(system))
        system[diagonal, diagonal] *= 1.0 + 1e-13
        system[diagonal[n:], diagonal[n:]] += at.excess / at.weight
        # LAPACK reads columns, so the lower triangle of rows is the upper one of its matrix
        factor, info = scipy.linalg.lapack.dpotrf(system.T, lower=0, overwrite_a=1, clean=0)
        if info != 0:
            return None
        pull = np.concatenate([spread.diagonal(), at.cuts.forms(spread)])
        return _Newton(at, factor, inverse, pull)

    def direction(self, centre: float, bent: Matrix | None, crossed: Vector | None) -> _Direction:
        """Steps that aim at R S = centre I and x w = centre, less the second-order terms."""
        at, n = self.iterate, len(self.iterate.y)
        pairs = (centre if crossed is None else centre - crossed) / at.weight
        right = 1.0 - centre * self.pull
        right[n:] += pairs
        if bent is not None:
            lifted = at.face.lift(bent)
            right += np.concatenate([lifted.diagonal(), at.cuts.forms(lifted)])
        both, _ = scipy.linalg.lapack.dpotrs(self.factor, right, lower=0)
        y, weight = both[:n], both[n:]
        slack = -at.weighted(y, weight)
        image = self.inverse @ slack
        primal = centre * self.inverse - at.primal - _symmetric(image @ at.primal)
        excess = pairs - at.excess - at.excess / at.weight * weight
        return _Direction(
            y, weight, primal if bent is None else primal - bent, slack, excess, image
        )


def _steps(at: Iterate, lower: Matrix, upper: Matrix, step: _Direction) -> tuple[float, float]:
    """How far to go in the primal and in the dual."""
    return (
        min(to_boundary(upper, step.primal), _ratio(at.excess, step.excess)),
        min(to_boundary(lower, step.slack), _ratio(at.weight, step.weight)),
    )


def cholesky(matrix: Matrix) -> Matrix | None:
    """L with L L^T = matrix, or None where it is not positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def _ratio(values: Vector, direction: Vector) -> float:
    """How far values + t direction stay positive, with a margin; at most 1."""
    least = float((direction / values).min(initial=0.0))
    return 1.0 if least > -STEP_TO_BOUNDARY else -STEP_TO_BOUNDARY / least


def _symmetric(matrix: Matrix) -> Matrix:
    return np.asarray(0.5 * (matrix + matrix.T))


def _inverse(lower: Matrix) -> Matrix:
    """The inverse of L L^T."""
    half, _ = scipy.linalg.lapack.dpotri(lower, lower=1)
    half = np.tril(half)
    return np.asarray(half + np.tril(half, -1).T)
