"""What a search of masks begins with, what it may use, what it goes by, and whom it tells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from maskgap.instances.arrays import Kept
from maskgap.instances.objective import MASK
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Answer, BatchSolver, Journal, Limits

Loss = Literal["objective", "mask"]
"""What a search goes by: the objective, or the loss of a mask whatever the objective."""


def _never() -> bool:
    return False


def _nobody(mask: Kept, loss: float) -> None:
    pass


@dataclass(frozen=True, eq=False, slots=True)
class Terms:
    """The terms of one search.

    start: a legal mask (n,), True = kept, or None for one that the search finds itself. seed: whole
    numbers. population: members of the last stage; 1 is a descent alone. max_moves: in all, -1 for
    no limit. expired: asked every few milliseconds whether to end. report: called with each better
    mask and its loss. Where `expired` stays False, what is found depends on the others alone.
    """

    start: Kept | None
    seed: Sequence[int]
    population: int
    max_moves: int = -1
    expired: Callable[[], bool] = _never
    report: Callable[[Kept, float], None] = _nobody


def masks_of(solver: BatchSolver, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
    """A solver's answers by the mask loss, for their masks: they claim nothing of the objective.

    Masks are reported at the end, since what they are said to lose on the way is another loss.
    """
    journal = Journal()
    answers = solver.solve_rows(problem.under(MASK), replace(limits, journal=journal), seed)
    limits.journal.phases.update(journal.phases)
    limits.journal.rows_done(len(problem.rows))
    return [replace(answer, claimed_objective=None, trace=()) for answer in answers]
