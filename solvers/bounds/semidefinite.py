"""The semidefinite relaxation of a row by an interior-point method of its own size.

With s = 2 z - 1 and Y = (1, s)(1, s)^T, the loss is <C, Y> with 4 C = [e^T Q e, e^T Q; Q e, Q], and

    minimise <C, Y>   subject to   diag(Y) = 1,   Y a_g = 0 for each budget group,   Y >= 0,

where a_g . (1, s) = sum of z over the group - k. This is the relaxation with diag(Z) = z and
Z e_g = k z (Helmberg, Rendl, Weismantel, Journal of Combinatorial Optimization 4, 2000).

Because Y a_g = 0, Y = B R B^T with the columns of B an orthonormal basis of the space orthogonal to
every a_g. What is left is smaller, has interior points, and n + 1 constraints of rank one,
b_i^T R b_i = 1 with b_i the rows of B:

    dual:  maximise sum of y   subject to   S = B^T (C - Diag(y)) B >= 0.

The method is primal-dual predictor-corrector with the HKM direction (Helmberg, Rendl, Vanderbei,
Wolkowicz, SIAM Journal on Optimization 6, 1996), whose system is the elementwise product

    [ (B S^-1 B^T) * (B R B^T) ] dy = r,

one Cholesky factorisation of order n + 1. An iteration costs a few n^3 products, about fifteen are
needed at any n. Every dual iterate is strictly feasible, so stopping early weakens the bound and
never breaks it.

As a convex function (see `convexify`): u_i = 4 y_i. The multipliers alpha_g do not change F on the
hull; they are chosen to make P semidefinite on the whole space, by cancelling what couples the
directions e_g to the rest and putting the mean diagonal there.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from instances.groups import BudgetGroups, Matrix, Vector
from instances.proof import ConvexFunction
from solvers.base import Deadline
from solvers.bounds import convexify

TOLERANCE = 1e-6
"""Relative gap of primal and dual value at which the method stops."""

STEP_TO_BOUNDARY = 0.95
MOST_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class SdpSolution:
    """function: multipliers, P not yet repaired by a shift. point: z of the primal solution, (n,).

    bound: the dual value, in units of `quad`, before any rounding. converged: whether the gap was
    closed, rather than the deadline or the arithmetic ending it.
    """

    function: ConvexFunction
    point: Vector
    bound: float
    iterations: int
    converged: bool


def solve_sdp(
    quad: Matrix, groups: BudgetGroups, deadline: Deadline, tolerance: float = TOLERANCE
) -> SdpSolution:
    """Solve the relaxation; quad: (n, n) float64, mean diagonal near 1.

    A row with one legal mask, or with Q = 0, has all multipliers zero: its hull says everything.
    """
    n = groups.n
    share = groups.pruned / groups.size
    if groups.masks == 1 or not quad.any():
        return SdpSolution(convexify.plain(groups), np.full(n, share), 0.0, 0, True)
    basis = _basis(groups)
    cost = _lifted(quad)
    inner = basis.T @ cost @ basis
    order = basis.shape[1]
    # B^T B = I, so y constant gives S = inner - y I: start below the least eigenvalue.
    margin = 0.1 * max(float(inner.trace()), float(np.abs(inner).max())) / order
    y = np.full(n + 1, float(scipy.linalg.eigvalsh(inner, subset_by_index=[0, 0])[0]) - margin)
    slack = inner - y[0] * np.eye(order)
    primal = np.eye(order) * ((n + 1) / order)
    converged, iterations = False, 0
    while iterations < MOST_ITERATIONS:
        iterations += 1
        lower = _cholesky(slack)
        upper = _cholesky(primal)
        if lower is None or upper is None or deadline.expired():
            break
        inverse = _inverse(lower)
        lifted = basis @ primal @ basis.T
        residual = 1.0 - lifted.diagonal()
        gap = float((primal * slack).sum())
        if gap <= tolerance * (1.0 + abs(y.sum())) and np.abs(residual).max() <= 1e-4:
            converged = True
            break
        spread = basis @ inverse @ basis.T
        system = spread * lifted
        system[np.diag_indices(n + 1)] *= 1.0 + 1e-13
        factor = _cholesky(system)
        if factor is None:
            break
        newton = _Newton(basis, factor, inverse, primal, residual, lifted, spread)
        mu = gap / order
        _, slack_step, primal_step = newton.direction(0.0, None)
        alpha = _step(upper, primal_step), _step(lower, slack_step)
        ahead = (primal + alpha[0] * primal_step) * (slack + alpha[1] * slack_step)
        centring = min(1.0, max(0.0, float(ahead.sum()) / gap)) ** 2
        bent = inverse @ slack_step @ primal_step
        y_step, slack_step, primal_step = newton.direction(centring * mu, 0.5 * (bent + bent.T))
        primal = primal + _step(upper, primal_step) * primal_step
        primal = 0.5 * (primal + primal.T)
        taken = _step(lower, slack_step)
        y, slack = y + taken * y_step, slack + taken * slack_step
    point = np.clip(0.5 * (1.0 + (basis @ primal @ basis.T)[0, 1:]), 0.0, 1.0)
    function = whole_space(quad, groups, 4.0 * y[1:])
    return SdpSolution(function, point, float(y.sum()), iterations, converged)


def whole_space(quad: Matrix, groups: BudgetGroups, u: Vector) -> ConvexFunction:
    """The function of u with the alpha that makes P as convex everywhere as on the budgets.

    With E the normalised indicators and M = Q - Diag(u), P keeps M on the space orthogonal to E,
    has the mean diagonal of M on E, and nothing in between.
    """
    normal = groups.indicator().T / np.sqrt(groups.size)
    shifted = quad - np.diag(u)
    image = shifted @ normal
    within = normal.T @ image
    mean = float(np.abs(shifted.diagonal()).mean())
    alpha = -2.0 * (image - normal @ within) - normal @ (within - mean * np.eye(groups.count))
    return ConvexFunction(u, alpha.T / np.sqrt(groups.size))


def _basis(groups: BudgetGroups) -> Matrix:
    """(n + 1, n + 1 - groups) orthonormal columns, orthogonal to every a_g."""
    budgets = np.zeros((groups.n + 1, groups.count))
    budgets[0] = 0.5 * groups.size - groups.pruned
    budgets[1:] = 0.5 * groups.indicator().T
    full, _ = np.linalg.qr(budgets, mode="complete")
    return np.asarray(full[:, groups.count :])


def _lifted(quad: Matrix) -> Matrix:
    """C (n + 1, n + 1), so that <C, (1, s)(1, s)^T> is the loss."""
    n = len(quad)
    cost = np.empty((n + 1, n + 1))
    cost[1:, 1:] = quad
    cost[0, 1:] = cost[1:, 0] = quad.sum(axis=1)
    cost[0, 0] = quad.sum()
    return 0.25 * cost


class _Newton:
    """The HKM system at one iterate, solved for any centring and second-order term."""

    def __init__(
        self,
        basis: Matrix,
        factor: Matrix,
        inverse: Matrix,
        primal: Matrix,
        residual: Vector,
        lifted: Matrix,
        spread: Matrix,
    ) -> None:
        self.basis, self.factor, self.inverse, self.primal = basis, factor, inverse, primal
        self.target = residual + lifted.diagonal()
        self.pull = spread.diagonal()

    def direction(self, centre: float, bent: Matrix | None) -> tuple[Vector, Matrix, Matrix]:
        """Steps of y, S and R that aim at R S = centre I."""
        right = self.target - centre * self.pull
        if bent is not None:
            right = right + ((self.basis @ bent) * self.basis).sum(axis=1)
        y = np.asarray(scipy.linalg.cho_solve((self.factor, True), right, check_finite=False))
        slack = -(self.basis.T @ (y[:, None] * self.basis))
        image = self.inverse @ slack @ self.primal
        primal = centre * self.inverse - self.primal - 0.5 * (image + image.T)
        return y, slack, primal if bent is None else primal - bent


def _cholesky(matrix: Matrix) -> Matrix | None:
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def _inverse(lower: Matrix) -> Matrix:
    """The inverse of L L^T."""
    half, _ = scipy.linalg.lapack.dpotri(lower, lower=1)
    half = np.tril(half)
    return np.asarray(half + np.tril(half, -1).T)


def _step(lower: Matrix, direction: Matrix) -> float:
    """How far L L^T + t * direction stays positive definite, at most 1, with a margin."""
    half = scipy.linalg.solve_triangular(lower, direction, lower=True, check_finite=False)
    scaled = scipy.linalg.solve_triangular(lower, half.T, lower=True, check_finite=False)
    least = float(scipy.linalg.eigvalsh(scaled, subset_by_index=[0, 0], check_finite=False)[0])
    return 1.0 if least > -STEP_TO_BOUNDARY else -STEP_TO_BOUNDARY / least
