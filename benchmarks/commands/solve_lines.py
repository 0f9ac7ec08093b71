"""The JSON objects of `maskgap solve`: one a row; where rows are coupled, a last one of sums."""

from math import fsum

import numpy as np

from maskgap.benchmarks.runs.judge import Judged, pruned_columns
from maskgap.benchmarks.verify.certificate import Certificate, summed
from maskgap.benchmarks.verify.objective import Loss, Score, row_scores
from maskgap.instances.arrays import pruned_of
from maskgap.instances.objective import ObjectiveSpec
from maskgap.instances.problem import Part
from maskgap.solvers.protocol import Stop
from maskgap.solvers.registry import spec_of

COUNTERS = ("swaps", "nodes", "oracle_calls")


def coupled_lines(judged: Judged, solver: str) -> list[dict[str, object]]:
    """The JSON objects of the rows of a part that the pattern couples: losses, but no bounds."""
    part, mask = judged.problem, judged.answer.mask
    whole = row_line(judged, solver)
    whole.pop("error_own_weights", None)  # of all rows together
    scores: list[Score | None] = [None] * part.height
    pruned: list[list[int] | None] = [None] * part.height
    if mask is not None and judged.certificate.objective is not None:
        scores = list(row_scores(part, mask))
        pruned = [np.flatnonzero(row).tolist() for row in pruned_of(mask).reshape(part.height, -1)]
    return [
        {
            **whole,
            "row": row,
            "n": part.layer.d_in,
            **interval(None if (score := scores[place]) is None else score.loss),
            "bound": None,
            "bound_kind": None,
            "gap": None,
            "pruned": pruned[place],
            **_without_ridge(part, score),
        }
        for place, row in enumerate(part.rows)
    ]


def _without_ridge(part: Part, score: Score | None) -> dict[str, object]:
    """The field of a row's own error on the Gram as it is, under the objective refit."""
    if not part.objective.refits:
        return {}
    return {"error_without_ridge": None if score is None else score.error_without_ridge}


def interval(loss: Loss | None) -> dict[str, object]:
    """The fields of a loss, None without one."""
    return {
        "objective": None if loss is None else loss.value,
        "objective_low": None if loss is None else loss.low,
        "objective_high": None if loss is None else loss.high,
    }


def refit_fields(objective: ObjectiveSpec, certificate: Certificate) -> dict[str, object]:
    """The fields of a line under the objective refit; none under another."""
    if not objective.refits:
        return {}
    found: dict[str, object] = {
        "ridge": objective.ridge,
        "error_without_ridge": certificate.error_without_ridge,
    }
    if certificate.error_own_weights is not None:
        found["error_own_weights"] = certificate.error_own_weights
    return found


def total_line(done: list[Judged], solver: str) -> dict[str, object]:
    """The JSON object of all parts together. Parts of one batch repeat its times, told once."""
    sums = summed([judged.certificate for judged in done])
    answers = [judged.answer for judged in done]
    timed = answers[:1] if spec_of(solver).batched else answers
    return {
        "total": True,
        "pattern": done[0].problem.pattern,
        "solver": solver,
        "rows": sum(judged.problem.height for judged in done),
        **interval(sums.loss),
        "objective_eval": sums.objective_eval,
        **refit_fields(done[0].problem.objective, sums),
        "bound": sums.bound,
        "bound_kind": str(sums.bound_kind),
        "gap": sums.gap,
        "stop": str(max((a.stop for a in answers), key=list(Stop).index)),
        "verdict": str(sums.verdict),
        "build_s": fsum(a.build_s for a in timed),
        "solve_s": fsum(a.solve_s for a in timed),
        "check_s": fsum(judged.check_s for judged in done),
    }


def row_line(judged: Judged, solver: str) -> dict[str, object]:
    """The JSON object of one row, as the contract lists its keys."""
    answer, certificate, problem = judged.answer, judged.certificate, judged.problem
    line: dict[str, object] = {
        "row": problem.row,
        "n": problem.n,
        "pattern": problem.pattern,
        "solver": solver,
        **interval(certificate.loss),
        "bound": certificate.bound,
        "bound_kind": str(certificate.bound_kind),
        "gap": certificate.gap,
        "stop": str(answer.stop),
        "verdict": str(certificate.verdict),
        "build_s": answer.build_s,
        "warmup_s": answer.warmup_s,
        "solve_s": answer.solve_s,
        "check_s": judged.check_s,
        "pruned": pruned_columns(answer),
    }
    line |= {name: answer.counters[name] for name in COUNTERS if name in answer.counters}
    line |= refit_fields(problem.objective, certificate)
    if certificate.objective_eval is not None:
        line["objective_eval"] = certificate.objective_eval
    reason = certificate.reason or answer.notes.get("reason")
    if reason:
        line["reason"] = reason
    return line
