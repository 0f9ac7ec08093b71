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
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import scores_of
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
    masks = Kept(np.ones((len(problem), problem.height * problem.layer.d_in), dtype=bool))
    for place, (part, answer) in enumerate(zip(problem, answers, strict=True)):
        if answer.mask is not None and is_mask(part, answer.mask):
            masks[place] = answer.mask
    by_row = Kept(masks.reshape(len(problem.rows), -1))
    scores = scores_of(problem, by_row, width_for(task.limits.gap))
    limit_s = max(LEAST_CHECK_S, CHECK_SHARE * task.limits.limit_s)
    share = (time.perf_counter() - start) / len(problem)
    judged = []
    for part, answer, score in zip(problem, answers, scores, strict=True):
        start = time.perf_counter()
        certificate = certify_part(
            part,
            answer.mask,
            answer.claimed_objective,
            answer.claimed_bound,
            answer.proof,
            tolerance=task.limits.gap,
            recomputed=score,
            weights=answer.weights,
            clock=Clock(limit_s),
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
