"""Two relaxations of a row as conic programmes in cvxpy; what comes back is a hint, never a bound.

Quadratic programme, for a convex F(x) = x^T P x + q^T x over the hull of the legal masks:

    minimise F(x)   subject to   0 <= x <= 1,   sum of each group = k.

Semidefinite programme, with Z in place of z z^T:

    minimise <Q, Z>   subject to   diag(Z) = z,   Z e_g = k z,   e_g^T z = k,   [1 z^T; z Z] >= 0,

with e_g the indicators of groups; any other set of masks has its equality rows in their place.

Its Lagrangian has Q - Diag(u) + sum_g (alpha_g e_g^T + e_g alpha_g^T) / 2 in front of Z and
u - k sum_g alpha_g in front of z, where -u and alpha_g are the multipliers of the first two rows:
those of `convexify`. No dual of a conic solver is feasible to the last bit, and one stopped by time
is not nearly so; the caller repairs it by a shift.

The sign that cvxpy (1.9.3) gives the multiplier of an equality depends on how its terms are
bracketed: A == 2 (x b) and A == (2 x) b come back with opposite signs. So the signs are not
trusted: of the four ways, the one whose P has the largest least eigenvalue is taken.

cvxpy reads a stopped solver's status as a failure and drops the point, so the raw result is
inverted by hand. The time limit given to the solver is what building has left.
"""

import time
from dataclasses import dataclass
from typing import Any

import cvxpy
import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.objectives import convexify
from maskgap.solvers.protocol import Deadline, Journal

cp: Any = cvxpy  # its annotations hide the functions that it re-exports

SCS_EPS = 1e-6
"""Residuals at which SCS stops; the repair costs about n times as much of the mean diagonal."""

SETUP_S = 4e-6
"""Seconds of set-up an entry of Z that a conic solver's own limit does not count."""

TIME_OPTION = {"CLARABEL": "time_limit", "SCS": "time_limit_secs"}

_STOPPED = ("optimal", "optimal_inaccurate")


@dataclass(frozen=True, eq=False)
class SdpDual:
    """Multipliers as read.

    function: None when none came back. status: cvxpy's word for the end. late: whether the time
    limit ended it, which SCS reports as an inaccurate optimum.
    """

    function: ConvexFunction | None
    status: str
    late: bool


@dataclass(frozen=True, eq=False)
class _Model:
    """A cvxpy problem compiled for one solver: building is over before the limit is set."""

    problem: Any
    solver: str
    data: Any
    chain: Any
    inverse: Any

    @staticmethod
    def of(problem: Any, solver: str) -> "_Model":
        return _Model(problem, solver, *problem.get_problem_data(solver, solver_opts={}))

    def solve(self, seconds: float, options: dict[str, float] | None = None) -> Any:
        """The Solution of cvxpy after at most `seconds`, whatever its status."""
        settings = {TIME_OPTION[self.solver]: seconds} | (options or {})
        raw = self.chain.solve_via_data(self.problem, self.data, False, False, settings)
        return self.chain.invert(raw, self.inverse)


def minimise_on_hull(
    matrix: Matrix, linear: Vector, groups: BudgetGroups, deadline: Deadline
) -> Vector | None:
    """A near-minimiser x (n,) of F in [0, 1] by Clarabel, or None when it gives none in time."""
    x = cp.Variable(groups.n)
    # psd_wrap keeps cvxpy from testing P, which is semidefinite only up to rounding
    objective = cp.quad_form(x, cp.psd_wrap(matrix)) + linear @ x
    problem = cp.Problem(
        cp.Minimize(objective), [x >= 0, x <= 1, groups.indicator() @ x == groups.pruned]
    )
    model = _Model.of(problem, "CLARABEL")
    if deadline.expired():
        return None
    solution = model.solve(deadline.remaining())
    value = solution.primal_vars.get(x.id) if solution.primal_vars else None
    if solution.status not in _STOPPED or value is None or not np.isfinite(value).all():
        return None
    return np.clip(np.asarray(value, dtype=np.float64), 0.0, 1.0)


def sdp_dual(
    quad: Matrix, legal: MaskSet, solver: str, deadline: Deadline, journal: Journal
) -> SdpDual:
    """Multipliers of the semidefinite relaxation by 'CLARABEL' or 'SCS', converged or not.

    quad: (n, n) float64 of mean diagonal near 1. A fifth of the time left is kept for the caller's
    repair. Building is noted in the journal's phase 'build'.
    """
    n = legal.n
    rows, budget = equality_rows(legal)
    count = len(budget)
    with journal.phase("build"):
        lifted = cp.Variable((n + 1, n + 1), PSD=True)
        z, square = lifted[1:, 0], lifted[1:, 1:]
        column = cp.reshape(z, (n, 1), order="F")
        diagonal = cp.diag(square) == z
        products = square @ rows.T == column @ budget[None, :]
        problem = cp.Problem(
            cp.Minimize(cp.sum(cp.multiply(quad, square))),
            [diagonal, products, rows @ z == budget, lifted[0, 0] == 1],
        )
        model = _Model.of(problem, solver)
    seconds = 0.8 * deadline.remaining() - SETUP_S * n * n
    if seconds <= 0.0:
        return SdpDual(None, "no time left after building", late=True)
    options: dict[str, float] = {}
    if solver == "SCS":
        options = {"eps_abs": SCS_EPS, "eps_rel": SCS_EPS, "max_iters": 1_000_000}
    start = time.perf_counter()
    solution = model.solve(seconds, options)
    late = time.perf_counter() - start >= 0.95 * seconds
    duals = solution.dual_vars or {}
    if diagonal.id not in duals or products.id not in duals:
        return SdpDual(None, solution.status, late)
    u = -np.asarray(duals[diagonal.id], dtype=np.float64).reshape(n)
    alpha = np.asarray(duals[products.id], dtype=np.float64).reshape(n, count, order="F").T
    if not (np.isfinite(u).all() and np.isfinite(alpha).all()) or not (u.any() or alpha.any()):
        return SdpDual(None, solution.status, late)
    return SdpDual(_signed(quad, legal, u, alpha), solution.status, late)


def _signed(quad: Matrix, legal: MaskSet, u: Vector, alpha: Matrix) -> ConvexFunction:
    """The multipliers with the signs under which P is nearest to semidefinite."""
    ways = [ConvexFunction(s * u, t * alpha) for s in (1.0, -1.0) for t in (1.0, -1.0)]
    least = [np.linalg.eigvalsh(convexify.quadratic(quad, legal, way)[0])[0] for way in ways]
    return ways[int(np.argmax(least))]
