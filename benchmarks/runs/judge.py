"""From the answers of a run to what stands: every part certified.

Losses are recomputed for all rows of a run at once.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from maskgap.benchmarks.runs.task import Outcome, Task, handed_over, without_claims
from maskgap.benchmarks.verify.certificate import (
    Certificate,
    certify_part,
    is_mask,
    width_for,
)
from maskgap.benchmarks.verify.check import checked_together
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import scores_of_parts
from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.protocol import Answer

LEAST_CHECK_S, CHECK_SHARE = 600.0, 10.0
"""Seconds that a proof may take to check: at least, and as a multiple of the run's limit."""


@dataclass(frozen=True, eq=False, repr=False)
class Judged:
    """A part's answer with its certificate. check_s: seconds spent on certifying it."""

    problem: Part
    answer: Answer
    certificate: Certificate
    check_s: float

    def __repr__(self) -> str:
        found = repr(self.certificate).removeprefix("Certificate(")
        return f"Judged({self.problem!r}, {found}"


def judge(task: Task, outcome: Outcome) -> list[Judged]:
    """Certify each part of an outcome. check_s: a share of recomputing, and the part's own."""
    start = time.perf_counter()
    problem = task.problem
    answers = [without_claims(a) if handed_over(task) else a for a in outcome.answers]
    parts = list(problem)
    legal = {
        place: answer.mask
        for place, (part, answer) in enumerate(zip(parts, answers, strict=True))
        if answer.mask is not None and is_mask(part, answer.mask)
    }
    found = scores_of_parts(
        [parts[place] for place in legal], list(legal.values()), width_for(task.limits.gap)
    )
    scores = dict(zip(legal, found, strict=True))
    checked = checked_together(parts, [answer.proof for answer in answers])
    limit_s = max(LEAST_CHECK_S, CHECK_SHARE * task.limits.limit_s)
    share = (time.perf_counter() - start) / len(problem)
    judged = []
    for place, (part, answer) in enumerate(zip(parts, answers, strict=True)):
        start = time.perf_counter()
        certificate = certify_part(
            part,
            answer.mask,
            answer.claimed_objective,
            answer.claimed_bound,
            answer.proof,
            tolerance=task.limits.gap,
            recomputed=scores.get(place),
            weights=answer.weights,
            clock=Clock(limit_s),
            checked=checked.get(place),
        )
        judged.append(Judged(part, answer, certificate, share + time.perf_counter() - start))
    return judged


def part_losses(problem: Problem, masks: Kept, gram: Matrix | None = None) -> Vector:
    """(parts,) losses of masks (parts, n); `gram` replaces the layer's."""
    rows = problem.losses(Kept(masks.reshape(len(problem.rows), -1)), gram)
    return np.asarray(rows.reshape(len(problem), -1).sum(axis=1))


def pruned_columns(answer: Answer) -> list[int] | None:
    """Sorted pruned column indices, None without a mask."""
    if answer.mask is None:
        return None
    return [int(j) for j in np.flatnonzero(pruned_of(answer.mask))]


def parts_of(problem: Problem) -> list[Problem]:
    """The same rows, one problem a part: what row solvers are given."""
    return [replace(problem, rows=part.rows) for part in problem]
