"""Bound-only solvers: lower bounds on the loss of every legal mask of a row, with their proofs.

    qp-bound    min of x^T Q x over the hull { 0 <= x <= 1, sum of each group = k }
    sdp-bound   min of x^T P x + q^T x over the same hull, with P and q from the dual of
                min <Q, Z>,  diag(Z) = z,  Z e_g = k z,  [1 z^T; z Z] semidefinite,
                with triangle inequalities on Z where they are asked for

Sets of masks other than equal groups have their equality rows in the place of budgets, and the
hull of their masks, through their oracle. No number is taken from a native solver. Multipliers are
repaired until P is semidefinite (`objectives.convexify`), a point x near the minimiser is found,
and the bound is that of the convex function's linearisation at x less a rounding margin
(`frank_wolfe.hull`), so a solver stopped early costs tightness and never validity. A singular Gram,
one legal mask, or Q = 0 need no other way.

On a device other than the processor, `sdp-bound` takes the interior-point steps of equal groups
there (`bounds.interior_batch`), unless triangle inequalities are asked for.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part
from maskgap.solvers.bounds import conic, triangles
from maskgap.solvers.bounds.root_bound import RootBound
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.bounds.tilts import relaxations
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import Count, NotNegative, settings

INTERIOR_POINT_COLUMNS = 1000
"""Widest row whose quadratic programme goes on to Clarabel, whose factors are dense."""

INTERIOR_POINT_GAP = 1e-8
"""Relative gap above which the gradient method's point is improved by Clarabel."""

CONVERGED = "converged"
"""The status of a relaxation solved to the end."""

TRIANGLE_SHARE = 0.9
"""Share of the seconds left that triangle inequalities may take; the rest is for the proof."""


def _bound(
    problem: Part, function: ConvexFunction, limits: Limits, start: Vector | None = None
) -> RootBound:
    legal = problem.legal
    repaired = convexify.repair(problem.quad, legal, function)
    convex = Quadratic(*convexify.quadratic(problem.quad, legal, repaired))
    matrix, linear = convex.matrix, convex.linear
    plain = Quadratic(matrix, linear, 0.0)  # gaps are shares of the value without the constant
    point = hull.minimise(plain, legal, limits.deadline, start=start)
    groups = legal.equal_groups
    if (
        groups is not None
        and point.gap > INTERIOR_POINT_GAP
        and problem.n <= INTERIOR_POINT_COLUMNS
        and not limits.deadline.expired()
    ):
        x = conic.minimise_on_hull(matrix, linear, groups, limits.deadline)
        if x is not None:
            other = hull.linearise(plain, legal, x)
            point = other if other.bound > point.bound else point
    bound = RootBound.at(problem, repaired, convex, point)
    limits.journal.bound(bound.stated)
    return bound


def _answer(
    problem: Part,
    bound: RootBound,
    stop: Stop,
    notes: dict[str, str | float],
    beside: Matrix | None = None,
) -> Answer:
    return Answer(
        None,
        stop,
        claimed_bound=bound.stated,
        counters={"iterations": bound.point.iterations},
        notes={"hull_gap": bound.point.gap, **notes},
        proof=bound.proof(problem, beside),
    )


@settings
class QpBound:
    """The convex relaxation of the loss itself."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return hull.warm_ups()

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """A bound with a proof, no mask; no bound when the deadline has passed before it starts.

        The note hull_gap is the relative distance to the relaxation's value that is left.
        """
        if limits.deadline.expired():
            return Answer(None, limits.deadline.stop())
        bound = _bound(problem, convexify.plain(problem.legal), limits)
        stop = limits.deadline.stop() if limits.deadline.expired() else Stop.FINISHED
        return _answer(problem, bound, stop, {})


@settings
class SdpBound:
    """The semidefinite relaxation; `bounds.semidefinite.Effort` has more on triangles."""

    sdp_solver: Literal["interior", "CLARABEL", "SCS"] = "interior"
    """The one made for it, or a general conic solver through cvxpy to compare with."""
    triangle_rounds: Count = 0
    """Rounds of triangle inequalities, which only 'interior' takes; 0 for none."""
    triangle_batch: Count = Effort.batch
    """Triangle inequalities that a round adds at most."""
    triangle_most: Count = Effort.most
    """Triangle inequalities at most."""
    triangle_least: NotNegative = Effort.least
    """Violation from which on a triangle inequality is added."""
    triangle_inactive: NotNegative = Effort.inactive
    """A triangle inequality is dropped when its weight is below this share of its slack."""
    triangle_tolerance: NotNegative = Effort.tolerance
    """Relative gap at which the relaxation with triangle inequalities is left."""
    beside: bool = False
    """Whether the proof gets points for other budgets of the row too."""

    def __post_init__(self) -> None:
        """Raise InputError for settings that exclude each other."""
        if self.triangle_rounds and self.sdp_solver != "interior":
            raise InputError(
                f"sdp-bound: triangle_rounds is {self.triangle_rounds}, and only "
                f"sdp_solver=interior takes triangle inequalities, not {self.sdp_solver}"
            )

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return triangles.warm_up, *hull.warm_ups()

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """A bound with a proof, no mask: qp-bound's where the relaxation did not converge.

        Notes: sdp_solver, sdp_status (how it ended), relaxation ('qp', 'sdp' or 'sdp-triangles',
        whichever gave the bound), triangles (how many it has).
        """
        deadline = limits.deadline
        if deadline.expired():
            return Answer(None, deadline.stop())
        notes: dict[str, str | float] = {"relaxation": "qp", "sdp_solver": self.sdp_solver}
        plain = convexify.plain(problem.legal)
        single = problem.legal.equal_groups is not None and problem.legal.single
        if single or not problem.quad.any():
            # the hull is exact already
            return self._finish(
                problem, _bound(problem, plain, limits), Stop.FINISHED, notes, limits
            )
        function, start, status, late = self._dual(problem, limits)
        notes["sdp_status"] = status
        best = None
        if function is not None:
            best = _bound(problem, function, limits, start)
            count = len(function.triangles)
            notes |= {"relaxation": "sdp-triangles" if count else "sdp", "triangles": count}
        if best is None or status != CONVERGED:
            weaker = _bound(problem, plain, limits)
            if best is None or weaker.stated > best.stated:
                best = weaker
                notes |= {"relaxation": "qp"}
        stop = deadline.stop() if late or deadline.expired() else Stop.FINISHED
        return self._finish(problem, best, stop, notes, limits)

    def _finish(
        self,
        problem: Part,
        bound: RootBound,
        stop: Stop,
        notes: dict[str, str | float],
        limits: Limits,
    ) -> Answer:
        beside = bound.beside(problem, limits.deadline) if self.beside else None
        return _answer(problem, bound, stop, notes, beside)

    def _dual(
        self, problem: Part, limits: Limits
    ) -> tuple[ConvexFunction | None, Vector | None, str, bool]:
        """Multipliers or None, a point to start from, how the solver ended, whether by time."""
        quad, legal, deadline = problem.quad, problem.legal, limits.deadline
        if deadline.expired():
            return None, None, "no time left", True
        if self.sdp_solver != "interior":
            dual = conic.sdp_dual(quad, legal, self.sdp_solver, deadline, limits.journal)
            return dual.function, None, dual.status, dual.late
        groups = legal.equal_groups
        with limits.journal.phase("build"):
            if limits.device != "cpu" and groups is not None and not self.triangle_rounds:
                from maskgap.solvers.bounds.interior_batch import solve_rows

                (solution,) = solve_rows([quad], groups, limits.device, deadline)
            elif self.triangle_rounds:
                effort = Effort(
                    self.triangle_rounds,
                    self.triangle_batch,
                    self.triangle_most,
                    self.triangle_least,
                    self.triangle_tolerance,
                    self.triangle_inactive,
                    share=TRIANGLE_SHARE,
                    alone=True,
                )
                solution = relaxations(quad, legal, deadline, effort)[-1]
            else:
                solution = relaxations(quad, legal, deadline)[-1]
        status = CONVERGED if solution.converged else "stopped early"
        return solution.function, solution.point, status, deadline.expired()
