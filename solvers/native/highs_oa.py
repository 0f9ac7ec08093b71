"""HiGHS by outer approximation: a convex function in place of the loss, and tangents in its place.

With a diagonal shift d (`solvers.objectives.shift`), on every binary z the loss z^T Q z equals

    F(z) = z^T P z + d^T z,   P = Q - Diag(d) positive semidefinite;

under refit F is the perspective function of a diagonal (`solvers.objectives.perspective`). At any
point x, a minimiser or not, F(z) >= F(x) + grad F(x) . (z - x). The master problem

    min t,   t >= 0,   t >= F(x_s) + grad F(x_s) . (z - x_s)  for each point x_s,   z a mask

is a mixed-integer linear one that never exceeds the loss, and the *dual bound* of every master,
finished or not, is a lower bound (its primal value is none). Duran and Grossmann, Mathematical
Programming 36 (1986). HiGHS never calls its lazy-constraint callback, so each master has a tree of
its own ("multi-tree"). The first point is the minimiser of F over the hull, which gives the root
the bound of that relaxation; then each mask that a master comes across is one, and under refit
some points on the way to it. A master is solved
to a share of the gap that is left, since the tangents of its masks matter more than its optimum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.perspective import saddle
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import NativeRun, Outcome, round_to_mask
from maskgap.solvers.native.perspective_diagonal import (
    Diagonal,
    best_point,
    perspective_diagonal,
)
from maskgap.solvers.objectives import shift
from maskgap.solvers.objectives.perspective import Perspective
from maskgap.solvers.objectives.protocol import Quadratic, Underestimator
from maskgap.solvers.objectives.shift import Shift
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import WarmStart, settings

TOLERANCE = 1e-7
"""Absolute slack of the dual bound in units of the model."""

MASTER_SHARE = 0.2
"""Share of the gap left to which the next master is solved."""

ON_THE_WAY = (0.75, 0.5, 0.25)
"""Under refit, the shares of the way from the first point to a mask where tangents are taken. Those
at masks are steep and say little of the rest: with them alone a bound stays at that of the root."""

FIRST_STEPS = 100
"""Frank-Wolfe steps to the first point; any point gives a valid tangent."""

LARGEST_ROW = 2000
"""Columns; the shift takes two eigenvalue decompositions of that size."""


@dataclass(eq=False)
class _Tangents:
    """The tangents collected so far.

    function: the convex one. first: the point (n,) of the first tangent. shares: of the way from
    there to each mask, where it has further tangents. slopes, offsets: t >= slope . z + offset.
    seen: masks that have a tangent, as bytes.
    """

    function: Underestimator
    first: Vector
    shares: tuple[float, ...] = ()
    slopes: list[Vector] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.add(self.first)

    def add(self, x: Vector) -> None:
        """The tangent at a point x (n,)."""
        value, slope = self.function.at(x)
        offset = value - float(slope @ x)
        # HiGHS drops tiny entries, which would lift the tangent where they are negative
        tiny = np.abs(slope) < highs.SMALLEST_ENTRY
        self.offsets.append(float(np.minimum(slope[tiny], 0.0).sum()) + offset)
        self.slopes.append(np.where(tiny, 0.0, slope))

    def add_mask(self, mask: Kept) -> bool:
        """The tangent at a mask; False when it is there already."""
        key = mask.tobytes()
        if key in self.seen:
            return False
        self.seen.add(key)
        z = pruned_of(mask).astype(np.float64)
        self.add(z)
        for share in self.shares:
            self.add(share * z + (1.0 - share) * self.first)
        return True

    def height(self, mask: Kept) -> float:
        """The least t that the tangents allow at a mask."""
        z = pruned_of(mask).astype(np.float64)
        return max(0.0, *(float(a @ z) + b for a, b in zip(self.slopes, self.offsets, strict=True)))


def build(run: NativeRun, kind: str, diagonal: str) -> _Tangents:
    """The convex function and its first tangents. Raises OutOfTime, or Refused.

    kind: of shift, of the loss of a mask; diagonal: the kind of that, under refit.
    """
    if run.problem.objective.refits:
        tangents = _of_refit(run, diagonal)
    else:
        d = shift.diagonal_shift(run.quad, kind)
        run.check_time()
        quadratic = Quadratic(run.quad - np.diag(d), d, 0.0)
        tangents = _Tangents(quadratic, _first_point(quadratic, run))
    run.check_time()
    if run.start is not None:
        tangents.add_mask(run.start)
    return tangents


def _of_refit(run: NativeRun, kind: str) -> _Tangents:
    """With the perspective function of a diagonal, and the tangent at the best one's minimum."""
    best, x = best_point(run)
    d = best if kind == "best" else perspective_diagonal(run, kind)
    run.check_time()
    return _Tangents(Perspective(run.quad, run.target, d), x, ON_THE_WAY)


def _first_point(function: Quadratic, run: NativeRun) -> Vector:
    """About the minimiser of F over the hull of the masks (n,).

    Where they are not those of equal groups, by Frank-Wolfe steps with the set's own oracle, each
    as long as the line through the vertex lets F fall.
    """
    groups = run.legal.equal_groups
    if groups is not None:
        return hull.minimise(function, groups, run.limits.deadline).x
    x = pruned_of(run.cheap).astype(np.float64)
    for _ in range(FIRST_STEPS):
        if run.limits.deadline.expired():
            break
        _, gradient = function.at(x)
        pruned = run.legal.minimise(gradient)
        if pruned is None:
            break
        step = pruned - x
        slope, curve = float(gradient @ step), float(step @ function.matrix @ step)
        if slope >= 0.0:
            break
        x += min(1.0, -0.5 * slope / curve if curve > 0.0 else 1.0) * step
    return x


def master(run: NativeRun, tangents: _Tangents) -> highs.LinearModel:
    """The master problem: columns z, then t."""
    rows = run.legal.linear_rows()
    matrix, lower, upper = highs.rows_of(rows)
    cuts = np.column_stack([-np.stack(tangents.slopes), np.ones(len(tangents.slopes))])
    budgets = scipy.sparse.hstack([matrix, scipy.sparse.csr_matrix((matrix.shape[0], 1))])
    return highs.LinearModel(
        cost=np.append(np.zeros(run.legal.n), 1.0),
        lower=np.append(rows.state == PRUNED, 0.0).astype(np.float64),
        upper=np.append((rows.state != KEPT).astype(np.float64), np.inf),
        matrix=scipy.sparse.csr_matrix(
            scipy.sparse.vstack([budgets, scipy.sparse.csr_matrix(cuts)])
        ),
        row_lower=np.append(lower, tangents.offsets),
        row_upper=np.append(upper, np.full(len(cuts), np.inf)),
        integers=run.legal.n,
    )


def solve_master(
    run: NativeRun, tangents: _Tangents, gap: float, seed: int
) -> tuple[Outcome, list[Kept]]:
    """One master on a new Highs object, and the masks it came across."""
    with run.limits.journal.phase("build"):
        native = highs.load(master(run, tangents), run.limits, gap, seed)
        if run.mask is not None:
            height = tangents.height(run.mask)
            highs.give_start(native, np.append(pruned_of(run.mask).astype(np.float64), height))
    masks: list[Kept] = []

    def keep(x: Vector) -> None:
        mask = round_to_mask(x[: run.legal.n], run.legal)
        if mask is not None:
            run.offer(mask)
            masks.append(mask)

    highs.optimise(native, run.limits, keep, run.offer_bound)
    outcome = highs.read_back(native, run.legal.n)
    if outcome.vector is not None:
        keep(np.asarray(outcome.vector))
    return outcome, masks


def solve_masters(run: NativeRun, tangents: _Tangents, seed: int) -> tuple[Outcome, int]:
    """Masters until the gap is closed or the deadline has passed; their number.

    The outcome is that of all: its bound is the best dual bound of any master, its nodes their sum;
    its vector is left out, as a master's objective is no mask's loss.
    """
    bound, nodes, number, gap_left, any_fresh = 0.0, 0, 0, 1.0, True
    while True:
        gap = max(run.native_gap, MASTER_SHARE * gap_left) if any_fresh else run.native_gap
        outcome, masks = solve_master(run, tangents, gap, seed)
        number += 1
        nodes += outcome.nodes
        bound = max(bound, outcome.bound if outcome.bound is not None else 0.0)
        total = replace(outcome, bound=bound, nodes=nodes, vector=None, objective=None)
        if outcome.stop not in (Stop.FINISHED, Stop.GAP):
            return total, number
        claimed = run.claim(bound)
        if run.mask is not None and claimed is not None:
            gap_left = (run.loss - max(0.0, claimed)) / run.loss if run.loss > 0 else 0.0
        if gap_left <= run.limits.gap:
            closed = gap_left <= highs.GAP_LEFT
            return replace(total, stop=Stop.FINISHED if closed else Stop.GAP), number
        any_fresh = sum(tangents.add_mask(mask) for mask in masks) > 0
        if not any_fresh and gap <= run.native_gap:
            return replace(total, stop=Stop.FINISHED), number  # the slack is all that is left
        if run.limits.deadline.expired():
            return replace(total, stop=run.limits.deadline.stop()), number


@settings
class HighsOuterApproximation:
    """HiGHS, multi-tree outer approximation."""

    shift: Shift = "diag"
    """The diagonal that is taken off to make the matrix semidefinite."""
    diagonal: Diagonal = "best"
    """Under refit, that of the perspective function in its place."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return (saddle.warm_up,) if objective is ObjectiveName.REFIT else hull.warm_ups()

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes; notes the number of masters. Raises Refused."""
        run = NativeRun(problem, limits, self.warm_start, seed, TOLERANCE)

        def finish(tangents: _Tangents) -> Answer:
            outcome, masters = solve_masters(run, tangents, seed)
            notes = {"masters": float(masters), "tangents": float(len(tangents.offsets))}
            return run.answer(outcome, **notes)

        return run.three_steps(
            LARGEST_ROW,
            "its shift needs dense eigenvalue decompositions",
            lambda: build(run, self.shift, self.diagonal),
            finish,
        )
