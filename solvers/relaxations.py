"""Bound-only solvers: lower bounds on the loss of every legal mask of a row, with their proofs.

    qp-bound    min of x^T Q x over the hull { 0 <= x <= 1, sum of each group = k }
    sdp-bound   min of x^T P x + q^T x over the same hull, with P and q from the dual of
                min <Q, Z>,  diag(Z) = z,  Z e_g = k z,  [1 z^T; z Z] semidefinite

Neither takes a number from a native solver. Multipliers are repaired until P is semidefinite
(`bounds.convexify`), a point x near the minimiser is found, and the bound is that of the convex
function's linearisation at x less a rounding margin (`bounds.hull`), so a solver stopped early
costs tightness and never validity. A singular Gram, one legal mask, or Q = 0 need no other way.
"""

from dataclasses import dataclass

from instances.errors import InputError
from instances.problem import RowProblem
from instances.proof import ConvexFunction, ProofKind, RowProof, root_leaves
from solvers.base import Answer, Limits, Stop
from solvers.bounds import conic, convexify, hull

INTERIOR_POINT_COLUMNS = 1000
"""Widest row whose quadratic programme goes on to Clarabel, whose factors are dense."""

INTERIOR_POINT_GAP = 1e-8
"""Relative gap above which the gradient method's point is improved by Clarabel."""

CLARABEL_COLUMNS = 40
"""Widest row that 'auto' gives to Clarabel; SCS takes an eighth of its time at twice this width."""


@dataclass(frozen=True, eq=False)
class _Bound:
    """A repaired function, a point, and the bound to state, in units of `quad`."""

    function: ConvexFunction
    point: hull.HullPoint
    stated: float


def _bound(problem: RowProblem, function: ConvexFunction, limits: Limits) -> _Bound:
    groups = problem.groups
    repaired = convexify.repair(problem.quad, groups, function)
    matrix, linear = convexify.quadratic(problem.quad, groups, repaired)
    point = hull.minimise(matrix, linear, groups, limits.deadline)
    if (
        point.gap > INTERIOR_POINT_GAP
        and problem.n <= INTERIOR_POINT_COLUMNS
        and not limits.deadline.expired()
    ):
        x = conic.minimise_on_hull(matrix, linear, groups, limits.deadline)
        if x is not None:
            other = hull.linearise(matrix, linear, groups, x)
            point = other if other.bound > point.bound else point
    stated = hull.stated_bound(problem.quad, groups, repaired, point.x)
    limits.journal.bound(stated)
    return _Bound(repaired, point, stated)


def _answer(
    problem: RowProblem, bound: _Bound, stop: Stop, notes: dict[str, str | float]
) -> Answer:
    proof = RowProof(
        row=problem.row,
        problem=problem.digest,
        bound=problem.rescale(bound.stated),
        mask=None,
        kind=ProofKind.LEAVES,
        leaves=root_leaves(bound.function, bound.point.x),
    )
    return Answer(
        None,
        stop,
        claimed_bound=bound.stated,
        counters={"iterations": bound.point.iterations},
        notes={"hull_gap": bound.point.gap, **notes},
        proof=proof,
    )


@dataclass(frozen=True)
class QpBound:
    """The convex relaxation of the loss itself."""

    def solve(self, problem: RowProblem, limits: Limits, seed: int) -> Answer:
        """A bound with a proof, no mask; no bound when the deadline has passed before it starts.

        The note hull_gap is the relative distance to the relaxation's value that is left.
        """
        if limits.deadline.expired():
            return Answer(None, limits.deadline.stop())
        bound = _bound(problem, convexify.plain(problem.groups), limits)
        stop = limits.deadline.stop() if limits.deadline.expired() else Stop.FINISHED
        return _answer(problem, bound, stop, {})


@dataclass(frozen=True)
class SdpBound:
    """The semidefinite relaxation.

    sdp_solver: 'CLARABEL' (accurate, slow past 60 columns), 'SCS', or 'auto': Clarabel up to
    CLARABEL_COLUMNS columns, SCS beyond and where Clarabel fails.
    """

    sdp_solver: str = "auto"

    def solve(self, problem: RowProblem, limits: Limits, seed: int) -> Answer:
        """The better of this bound and qp-bound's, with a proof, no mask.

        Notes: sdp_solver, sdp_status (cvxpy's word), relaxation ('sdp' or 'qp', whichever won).
        Raises InputError for an unknown sdp_solver.
        """
        if self.sdp_solver not in ("auto", *conic.TIME_OPTION):
            raise InputError(
                f"sdp-bound: sdp_solver is '{self.sdp_solver}', expected auto, CLARABEL or SCS"
            )
        deadline = limits.deadline
        if deadline.expired():
            return Answer(None, deadline.stop())
        best = _bound(problem, convexify.plain(problem.groups), limits)
        notes: dict[str, str | float] = {"relaxation": "qp"}
        if problem.groups.masks == 1 or not problem.quad.any():
            return _answer(problem, best, Stop.FINISHED, notes)  # the hull is exact already
        late = False
        for solver in self._solvers(problem.n):
            if deadline.expired():
                break
            dual = conic.sdp_dual(problem.quad, problem.groups, solver, deadline, limits.journal)
            notes |= {"sdp_solver": solver, "sdp_status": dual.status}
            late = dual.late
            if dual.function is not None:
                found = _bound(problem, dual.function, limits)
                if found.stated > best.stated:
                    best, notes = found, notes | {"relaxation": "sdp"}
                break
        stop = deadline.stop() if late or deadline.expired() else Stop.FINISHED
        return _answer(problem, best, stop, notes)

    def _solvers(self, columns: int) -> tuple[str, ...]:
        if self.sdp_solver != "auto":
            return (self.sdp_solver,)
        return ("CLARABEL", "SCS") if columns <= CLARABEL_COLUMNS else ("SCS",)
