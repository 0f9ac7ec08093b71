"""The semidefinite relaxation of a row, without and with triangle inequalities.

With s = 2 z - 1 and Y = (1, s)(1, s)^T, the loss is <C, Y> with 4 C = [e^T Q e, e^T Q; Q e, Q], and

    minimise <C, Y>   subject to   diag(Y) = 1,   Y a_g = 0 for each budget group,   Y >= 0,

where a_g . (1, s) = sum of z over the group - k. This is the relaxation with diag(Z) = z and
Z e_g = k z (Helmberg, Rendl, Weismantel, Journal of Combinatorial Optimization 4, 2000). On its
face (`bounds.face`) it is smaller, has interior points, and n + 1 constraints of rank one. About
fifteen steps (`bounds.interior`) of a few n^3 operations are needed at any n. Any other set of
masks has its equality rows in the place of budgets (`bounds.rows_face`). What its inequality rows
say can enter as a tilt: a linear function, at most 0 on every mask, that is added to the loss.

Triangle inequalities (`bounds.triangles`) are found and added while the method runs: not at the
optimum of each set of them but wherever the iterate is roughly centred, so that the whole sequence
of relaxations costs about as many steps as two of them (Mitchell, SIAM Review 42, 2000, surveys
such methods). A new inequality is violated, so its x starts at a positive number that misses the
primal constraint, and its w at a share of mu / x; y is lowered at its indices to make room in S.

Every iterate is strictly dual feasible, so stopping early weakens the bound and never breaks it.
What an iterate says as a convex function is read in `bounds.sdp_solution`.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.interior import advance
from maskgap.solvers.bounds.iterate import Iterate, begin, centre, cholesky
from maskgap.solvers.bounds.rows_face import rows_face
from maskgap.solvers.bounds.sdp_solution import SdpSolution
from maskgap.solvers.bounds.step_length import to_boundary
from maskgap.solvers.bounds.triangles import Cuts, separate
from maskgap.solvers.protocol import Deadline

TOLERANCE = 1e-6
"""Relative gap of primal and dual value at which the method stops."""

MISSED = 1e-4
"""By how much the primal constraints may be missed then."""

LEAST_SCALE = 1e-4
"""What gaps are relative to where the value is less, as a share of the mean diagonal of Q."""

MOST_STEPS = 60
STEPS_PER_ROUND = 10
"""Steps at most without triangle inequalities, and what a round of them adds to that."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on triangle inequalities.

    rounds: times that some are added. batch: added in a round, at most. most: held at a time; a
    step takes (n + most)^3 / 3 operations. least: c^T Y c below 1 - least counts as violated.
    tolerance: relative gap at the end. inactive: one is dropped when its weight is below this share
    of its excess. share: of the seconds left once the relaxation without them
    is solved; half of it passes before the last round. alone: whether that is left unsolved.

    On one core the defaults take 0.3 s at n = 128, 1 s at 192, 3 s at 256 and 6 s at 384. Twice
    the rounds and `most`, and a third of `least`, take ten times as long and halve the gap left.
    """

    rounds: int = 12
    batch: int = 250
    most: int = 2500
    least: float = 0.1
    tolerance: float = 1e-3
    inactive: float = 1e-3
    share: float = 0.5
    alone: bool = False


ADD_GAP = 0.4
ADD_MISSED = 0.8
"""Relative gap, and what the primal constraints miss, below which inequalities are added.

Waiting for a smaller gap takes more steps in all and finds no better inequalities.
"""

FIRST_EXCESS = 0.2
FIRST_ROOM = 0.9
FIRST_SHARE = 0.8
"""A new inequality's x; what y yields per unit of its w; its share of the way to a singular S."""

INACTIVE_EXCESS = 0.3
"""What the excess of an inequality is at least when it is dropped.

At the optimum one of the two is 0; a new inequality, of small weight, must have time to grow.
"""


@dataclass(frozen=True, eq=False)
class Tilt:
    """constant + linear . z, linear (n,), which is at most 0 on every legal mask."""

    linear: Vector
    constant: float


def solve_sdp(
    quad: Matrix,
    legal: MaskSet,
    deadline: Deadline,
    tolerance: float = TOLERANCE,
    tilt: Tilt | None = None,
) -> SdpSolution:
    """Solve the relaxation; quad: (n, n) float64, mean diagonal near 1.

    A row with one legal mask, or with Q = 0, has all multipliers zero: its hull says everything.
    """
    first = _first(quad, legal, tilt)
    if first is None:
        return SdpSolution.trivial(legal)
    at, _, iterations = _relax(first, deadline, tolerance)
    return SdpSolution.of(quad, legal, at, iterations, closed(at, tolerance))


def solve_with_triangles(
    quad: Matrix, legal: MaskSet, deadline: Deadline, effort: Effort, tilt: Tilt | None = None
) -> list[SdpSolution]:
    """The relaxation without triangle inequalities, as `solve_sdp` has it, and with them.

    The second is the stronger; it is left out where no inequality helps, or the deadline came
    before one did. An effort that says so has the second alone.
    """
    first = _first(quad, legal, tilt)
    if first is None:
        return [SdpSolution.trivial(legal)]
    if effort.alone:
        at = first
        while not ready(at) and not deadline.expired():
            following = advance(at)
            if following is None:
                break
            at = following
        best, iterations = lift(at, deadline, effort)
        return [SdpSolution.of(quad, legal, best, iterations, closed(best, effort.tolerance))]
    at, fork, iterations = _relax(first, deadline, TOLERANCE)
    plain = SdpSolution.of(quad, legal, at, iterations, closed(at, TOLERANCE))
    best, iterations = lift(at if fork is None else fork, deadline, effort)
    if best.value <= plain.bound:
        return [plain]
    return [plain, SdpSolution.of(quad, legal, best, iterations, closed(best, effort.tolerance))]


def _first(quad: Matrix, legal: MaskSet, tilt: Tilt | None) -> Iterate | None:
    """The first iterate; None where the hull says everything or there is no iterate."""
    if not quad.any():
        return None
    groups = legal.equal_groups
    if groups is not None:
        return None if groups.single else centre(Face(groups), lifted_cost(quad))
    face, cost = rows_face(*equality_rows(legal)), lifted_cost(quad)
    if tilt is not None:
        half = 0.25 * tilt.linear
        cost[0, 0] += tilt.constant + 2.0 * half.sum()
        cost[0, 1:] += half
        cost[1:, 0] += half
    return None if face.order == 1 else begin(face, face.reduced(cost))


def _relax(
    at: Iterate, deadline: Deadline, tolerance: float
) -> tuple[Iterate, Iterate | None, int]:
    """The last iterate without triangle inequalities, the first that is ready for them, steps."""
    fork = None
    for steps in range(MOST_STEPS):
        fork = at if fork is None and ready(at) else fork
        following = None if closed(at, tolerance) or deadline.expired() else advance(at)
        if following is None:
            return at, fork, steps
        at = following
    return at, fork, MOST_STEPS


def lift(
    at: Iterate, deadline: Deadline, effort: Effort, aim: float = np.inf
) -> tuple[Iterate, int]:
    """The iterate of largest value on the way on with triangle inequalities, and steps.

    aim: the value at which to stop.
    """
    best, rounds, left = at, 0, deadline.remaining()
    most = MOST_STEPS + STEPS_PER_ROUND * effort.rounds
    for steps in range(most):
        at = _active(at, effort.inactive)
        spent = left - deadline.remaining()
        adding = rounds < effort.rounds and not spent > 0.5 * effort.share * left and ready(at)
        fuller = _with_violated(at, effort) if adding else None
        if fuller is not None:
            at, rounds = fuller, rounds + 1
        elif closed(at, effort.tolerance):
            return at, steps
        over = deadline.expired() or spent > effort.share * left
        following = None if over else advance(at)
        if following is None:
            return best, steps
        at = following
        best = at if at.value > best.value else best
        if best.value >= aim:
            return best, steps + 1
    return best, most


def lifted_cost(quad: Matrix) -> Matrix:
    """C (n + 1, n + 1), so that <C, (1, s)(1, s)^T> is the loss."""
    n = len(quad)
    cost = np.empty((n + 1, n + 1))
    cost[1:, 1:] = quad
    cost[0, 1:] = cost[1:, 0] = quad.sum(axis=1)
    cost[0, 0] = quad.sum()
    return 0.25 * cost


def _scale(at: Iterate) -> float:
    """What gaps are relative to; not nothing, as triangle inequalities may lift a value of 0."""
    return max(abs(at.value), LEAST_SCALE)


def closed(at: Iterate, tolerance: float) -> bool:
    """Whether the gap is, and the primal constraints are met."""
    return at.gap <= tolerance * _scale(at) and at.missed <= MISSED


def ready(at: Iterate) -> bool:
    """Whether the iterate is near enough to say which inequalities matter."""
    return at.gap <= ADD_GAP * _scale(at) and at.missed <= ADD_MISSED


def _active(at: Iterate, inactive: float) -> Iterate:
    """Without the inequalities of no effect; what they took from S is given back."""
    keep = (at.weight > inactive * at.excess) | (at.excess < INACTIVE_EXCESS)
    if keep.all():
        return at
    gone = at.cuts.where(~keep).weighted(at.weight[~keep], len(at.y))
    return replace(
        at,
        cuts=at.cuts.where(keep),
        weight=at.weight[keep],
        slack=at.slack + at.face.project(gone),
        excess=at.excess[keep],
        known=None,
    )


def _with_violated(at: Iterate, effort: Effort) -> Iterate | None:
    """With the inequalities that Y violates most; None where there are none, or no room."""
    most = max(0, min(effort.batch, effort.most - len(at.cuts)))
    return with_cuts(at, separate(at.lifted, at.cuts, most, effort.least))


def with_cuts(at: Iterate, new: Cuts) -> Iterate | None:
    """With more inequalities; None where there are none, or S has no room for them."""
    lower = cholesky(at.slack)
    if not len(new) or lower is None:
        return None
    n = len(at.y)
    excess = np.full(len(new), FIRST_EXCESS)
    weight = at.mu / excess
    y = -FIRST_ROOM * new.touching(weight, n)
    move = -at.face.project(new.weighted(weight, n) + np.diag(y))
    share = to_boundary(lower, move, FIRST_SHARE)
    return replace(
        at,
        cuts=at.cuts.joined(new),
        y=at.y + share * y,
        weight=np.concatenate([at.weight, share * weight]),
        slack=at.slack + share * move,
        excess=np.concatenate([at.excess, excess]),
        known=None,
    )
