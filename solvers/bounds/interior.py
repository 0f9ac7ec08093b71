"""One step of the interior-point method of the semidefinite relaxation.

It is predictor-corrector with the HKM direction (`bounds.newton`): a first direction aims at a gap
of 0; how much of the gap it would leave says how much is centred in the second, which also takes
off what the first one's products of steps would add. Each side goes its own way to its boundary.
"""

from dataclasses import dataclass

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.bounds.iterate import Iterate, cholesky
from maskgap.solvers.bounds.newton import Direction, Newton, symmetric
from maskgap.solvers.bounds.step_length import STEP_TO_BOUNDARY, to_boundary

SHORTER = 0.7
TRIES = 12
"""What a step is shortened by where it left the positive definite matrices, and how often."""


def advance(at: Iterate) -> Iterate | None:
    """The next iterate, or None where the arithmetic ends the method."""
    factors = at.factors()
    if factors is None:
        return None
    lower, upper = factors
    newton = Newton.at(at, lower)
    if newton is None:
        return None
    guess = newton.direction(0.0, None, None)
    if guess is None:
        return None
    primal_step, dual_step = _steps(at, lower, upper, guess)
    ahead = float(
        ((at.primal + primal_step * guess.primal) * (at.slack + dual_step * guess.slack)).sum()
        + (at.excess + primal_step * guess.excess) @ (at.weight + dual_step * guess.weight)
    )
    centring = min(1.0, max(0.0, ahead / at.gap)) ** 2
    bent = guess.image @ guess.primal
    step = newton.direction(centring * at.mu, symmetric(bent), guess.excess * guess.weight)
    if step is None:
        return None
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
        moved = symmetric(matrix + share * step)
        lower = cholesky(moved)
        if lower is not None:
            return _Moved(moved, lower, share)
        share *= SHORTER
    return None


def _steps(at: Iterate, lower: Matrix, upper: Matrix, step: Direction) -> tuple[float, float]:
    """How far to go in the primal and in the dual."""
    return (
        min(to_boundary(upper, step.primal), _ratio(at.excess, step.excess)),
        min(to_boundary(lower, step.slack), _ratio(at.weight, step.weight)),
    )


def _ratio(values: Vector, direction: Vector) -> float:
    """How far values + t direction stay positive, with a margin; at most 1."""
    least = float((direction / values).min(initial=0.0))
    return 1.0 if least > -STEP_TO_BOUNDARY else -STEP_TO_BOUNDARY / least
