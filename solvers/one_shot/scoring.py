"""One-shot solvers: score every weight, prune the lowest in each budget group.

The scores are defined in `solvers.one_shot.scores`. Nothing is claimed beyond the mask.
"""

from maskgap.instances.arrays import Matrix
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot import scores
from maskgap.solvers.one_shot.hessian import DAMPING
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import NotNegative, settings


def _answers(
    problem: Problem, values: Matrix, notes: dict[str, str | float] | None = None
) -> list[Answer]:
    masks = scores.lowest(problem, values)
    return [Answer(mask, Stop.FINISHED, notes=dict(notes or {})) for mask in masks]


@settings
class Random:
    """Uniformly random legal masks."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row."""
        return _answers(problem, scores.random(problem.layer, seed))


@settings
class Magnitude:
    """Smallest weights go first."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row."""
        return _answers(problem, scores.magnitude(problem.layer))


@settings
class Wanda:
    """Smallest weight times input norm goes first."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row."""
        return _answers(problem, scores.wanda(problem.layer))


@settings
class Ria:
    """Relative importance and activations."""

    exponent: NotNegative = scores.RIA_EXPONENT
    """Power of the input norm."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row."""
        return _answers(problem, scores.ria(problem.layer, self.exponent))


@settings
class Obs:
    """Optimal Brain Surgeon saliency."""

    damping: NotNegative = DAMPING
    """Share of the mean diagonal that is added to the Gram."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row; notes the damping used. Raises Refused when the Gram stays singular."""
        values, used = scores.obs(problem.layer, self.damping)
        return _answers(problem, values, {"damping": used})
