"""From the answers of a run to its records: certify every row, and write down all there is.

Losses are recomputed for all rows of a run at once. A run is written down as one record a row, or
as one record of sums for all of its rows: whole layers have thousands.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean

import numpy as np

from maskgap.benchmarks.runs.child import Outcome, Task
from maskgap.benchmarks.runs.descent import by_swaps, counts_swaps, over_time, steps_of
from maskgap.benchmarks.runs.environment import here, solver_version
from maskgap.benchmarks.runs.labels import layer_type
from maskgap.benchmarks.runs.record import Record, run_key
from maskgap.benchmarks.verify.certificate import (
    Certificate,
    certify_part,
    is_mask,
    summed,
    total_of,
    width_for,
)
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import losses_of
from maskgap.instances.arrays import Mask, Matrix, Vector
from maskgap.instances.layer import array_digest
from maskgap.instances.problem import Part, Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Answer, Stop

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
    problem, held_out = task.problem, task.problem.layer.gram_eval
    masks = np.ones((len(problem), problem.height * problem.layer.d_in), dtype=bool)
    for place, (part, answer) in enumerate(zip(problem, outcome.answers, strict=True)):
        if answer.mask is not None and is_mask(part, answer.mask):
            masks[place] = answer.mask
    losses = losses_of(problem, masks.reshape(len(problem.rows), -1), width_for(task.gap))
    losses_eval = None if held_out is None else _losses(problem, masks, held_out)
    limit_s = max(LEAST_CHECK_S, CHECK_SHARE * task.limit_s)
    share = (time.perf_counter() - start) / len(problem)
    judged = []
    for place, (row, answer) in enumerate(zip(problem, outcome.answers, strict=True)):
        start = time.perf_counter()
        certificate = certify_part(
            row,
            answer.mask,
            answer.claimed_objective,
            answer.claimed_bound,
            answer.proof,
            tolerance=task.gap,
            recomputed=(losses[place], None if losses_eval is None else float(losses_eval[place])),
            clock=Clock(limit_s),
        )
        judged.append(Judged(row, answer, certificate, share + time.perf_counter() - start))
    return judged


def _losses(problem: Problem, masks: Mask, gram: Matrix | None = None) -> Vector:
    """(parts,) losses of masks (parts, n)."""
    rows = problem.losses(masks.reshape(len(problem.rows), -1), gram)
    return np.asarray(rows.reshape(len(problem), -1).sum(axis=1))


def keys_of(task: Task, per_layer: bool = False) -> list[str]:
    """The run key of each record of a task, whose settings are all there, defaults included."""
    version = solver_version(registry.spec_of(task.solver))
    limits: dict[str, object] = {
        "time_s": task.limit_s,
        "gap": task.gap,
        "threads": task.threads,
        "device": task.device,
    }
    problems = [task.problem.digest] if per_layer else [row.digest for row in task.problem]
    return [
        run_key(problem, task.solver, version, task.settings, task.seed, limits)
        for problem in problems
    ]


def records_of(
    task: Task,
    outcome: Outcome,
    suite: str,
    group: str,
    instance: str,
    keys: Sequence[str],
    per_layer: bool = False,
) -> list[Record]:
    """The records of a run, one for each of its keys: one a row, or one of all rows."""
    judged = judge(task, outcome)
    place = outcome.place or here()
    problem, held_out = task.problem, task.problem.layer.gram_eval
    nothing_kept = np.zeros((len(problem), problem.height * problem.layer.d_in), dtype=bool)
    energies = _losses(problem, nothing_kept)
    energies_eval = None if held_out is None else _losses(problem, nothing_kept, held_out)
    shared: dict[str, object] = {
        "suite": suite,
        "group": group,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "instance": instance,
        "n": problem.height * problem.layer.d_in,
        "height": problem.height,
        "layer_type": layer_type(problem.layer),
        "pattern": problem.pattern.text,
        "pruned_per_row": judged[0].problem.legal.total_pruned / problem.height,
        "solver": task.solver,
        "solver_version": solver_version(registry.spec_of(task.solver)),
        "batched": registry.spec_of(task.solver).batched,
        "settings": task.settings,
        "seed": task.seed,
        "time_limit_s": task.limit_s,
        "gap_tolerance": task.gap,
        "threads": task.threads,
        "device": task.device,
        "wall_s": outcome.wall_s,
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "exception": outcome.exception,
        "traceback": outcome.traceback,
        "checker": CHECKER,
        "host": place.host,
        "packages": place.packages,
    }
    if per_layer:
        (key,) = keys
        sums = {
            "energy": float(energies.sum()),
            "energy_eval": None if energies_eval is None else float(energies_eval.sum()),
        }
        return [_record({"key": key, **shared, **sums, **_of_layer(judged, problem.digest)})]
    return [
        _record(
            {
                "key": key,
                **shared,
                "energy": float(energies[place]),
                "energy_eval": None if energies_eval is None else float(energies_eval[place]),
                **_of_row(row),
            }
        )
        for place, (key, row) in enumerate(zip(keys, judged, strict=True))
    ]


def _record(fields: dict[str, object]) -> Record:
    return Record(**fields)  # type: ignore[arg-type]


def _of_row(judged: Judged) -> dict[str, object]:
    """What a record says of one row."""
    answer, certificate, problem = judged.answer, judged.certificate, judged.problem
    return {
        "row": problem.row,
        "problem": problem.digest,
        "sparsity": _sparsity(problem, answer),
        "stop": str(answer.stop),
        "verdict": str(certificate.verdict),
        "reason": certificate.reason or str(answer.notes.get("reason", "")),
        "objective": certificate.objective,
        "objective_low": certificate.objective_low,
        "objective_high": certificate.objective_high,
        "objective_eval": certificate.objective_eval,
        "bound": certificate.bound,
        "bound_kind": str(certificate.bound_kind),
        "gap": certificate.gap,
        "claimed_objective": _finite(answer.claimed_objective),
        "claimed_bound": _finite(answer.claimed_bound),
        "pruned": pruned_columns(answer),
        "build_s": answer.build_s,
        "warmup_s": answer.warmup_s,
        "solve_s": answer.solve_s,
        "check_s": judged.check_s,
        "counters": answer.counters,
        "notes": answer.notes,
        "trace": [(p.seconds, _finite(p.objective), _finite(p.bound)) for p in answer.trace],
        "by_swaps": _by_swaps([judged]),
    }


def _of_layer(rows: Sequence[Judged], digest: str) -> dict[str, object]:
    """What a record says of all rows: sums, the weakest kind of bound, the worst stop and verdict.

    Times are those of the batch, which each of its rows repeats. Notes are the first row's.
    """
    answers = [judged.answer for judged in rows]
    certificates = [judged.certificate for judged in rows]
    first = answers[0]
    sums = summed(certificates)
    objective = sums.objective
    stop = max((a.stop for a in answers), key=list(Stop).index)
    steps = (
        []
        if objective is None
        else [steps_of(a, c.objective or 0.0) for a, c in zip(answers, certificates, strict=True)]
    )
    masks = [a.mask for a in answers if a.mask is not None]
    whole = objective is not None
    return {
        "row": rows[0].problem.row,
        "rows": len(rows),
        "problem": digest,
        "sparsity": fmean(_sparsity(judged.problem, judged.answer) for judged in rows),
        "stop": str(stop),
        "verdict": str(sums.verdict),
        "reason": sums.reason or str(first.notes.get("reason", "")),
        "objective": objective,
        "objective_low": sums.objective_low,
        "objective_high": sums.objective_high,
        "objective_eval": sums.objective_eval,
        "bound": sums.bound,
        "bound_kind": str(sums.bound_kind),
        "gap": sums.gap,
        "claimed_objective": total_of([_finite(a.claimed_objective) for a in answers]),
        "claimed_bound": total_of([_finite(a.claimed_bound) for a in answers]),
        "mask_digest": array_digest(np.stack(masks)) if whole else None,
        "build_s": first.build_s,
        "warmup_s": first.warmup_s,
        "solve_s": first.solve_s,
        "check_s": sum(judged.check_s for judged in rows),
        "counters": dict(sum((Counter(a.counters) for a in answers), Counter())),
        "notes": first.notes,
        "trace": over_time(steps) if any(a.trace for a in answers) and whole else [],
        "by_swaps": _by_swaps(rows) if whole else [],
    }


def _by_swaps(rows: Sequence[Judged]) -> list[tuple[int, float]]:
    """Losses by swaps, where a trace counts them and every row has a mask."""
    finals = [judged.certificate.objective for judged in rows]
    if not any(counts_swaps(judged.answer) for judged in rows):
        return []
    return by_swaps(
        [
            steps_of(judged.answer, final)
            for judged, final in zip(rows, finals, strict=True)
            if final is not None
        ]
    )


def pruned_columns(answer: Answer) -> list[int] | None:
    """Sorted pruned column indices, None without a mask."""
    return None if answer.mask is None else [int(j) for j in np.flatnonzero(~answer.mask)]


def _sparsity(problem: Part, answer: Answer) -> float:
    """Realised share pruned, measured on the mask; the share asked for when there is none."""
    if answer.mask is None:
        return problem.legal.total_pruned / problem.n
    return float((~answer.mask).mean())


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def parts_of(problem: Problem) -> list[Problem]:
    """The same rows, one problem a part: what row solvers are given."""
    return [replace(problem, rows=part.rows) for part in problem]
