"""From the answers of a run to its records: certify every row, and write down all there is.

Losses are recomputed for all rows of a run at once. A run is written down as one record a row, or
as one record of sums for all of its rows: whole layers have thousands.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import fsum
from statistics import fmean

import numpy as np

from benchmarks.certify import BoundKind, Certificate, Verdict, certify_row, gap_of
from benchmarks.child import Outcome, Task
from benchmarks.descent import by_swaps, counts_swaps, over_time, steps_of
from benchmarks.environment import host, packages, solver_version
from benchmarks.labels import layer_type
from benchmarks.record import Record, run_key
from instances.layer import array_digest
from instances.problem import Problem, RowProblem
from solvers import registry
from solvers.base import Answer, Stop


@dataclass(frozen=True, eq=False)
class Judged:
    """A row's answer with its certificate. check_s: seconds spent on certifying it."""

    problem: RowProblem
    answer: Answer
    certificate: Certificate
    check_s: float


def judge(task: Task, outcome: Outcome) -> list[Judged]:
    """Certify each row of an outcome. check_s: an equal share of recomputing, and the row's own."""
    start = time.perf_counter()
    problem, held_out = task.problem, task.problem.layer.gram_eval
    masks = np.ones((len(problem), problem.layer.d_in), dtype=bool)
    for place, answer in enumerate(outcome.answers):
        if answer.mask is not None and answer.mask.shape == masks[place].shape:
            masks[place] = answer.mask
    losses = problem.losses(masks)
    losses_eval = None if held_out is None else problem.losses(masks, held_out)
    share = (time.perf_counter() - start) / len(problem)
    judged = []
    for place, (row, answer) in enumerate(zip(problem, outcome.answers, strict=True)):
        start = time.perf_counter()
        certificate = certify_row(
            row,
            answer.mask,
            answer.claimed_objective,
            answer.claimed_bound,
            answer.proof,
            task.gap,
            (
                float(losses[place]),
                None if losses_eval is None else float(losses_eval[place]),
            ),
        )
        judged.append(Judged(row, answer, certificate, share + time.perf_counter() - start))
    return judged


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
    problem, held_out = task.problem, task.problem.layer.gram_eval
    nothing_kept = np.zeros((len(problem), problem.layer.d_in), dtype=bool)
    energies = problem.losses(nothing_kept)
    energies_eval = None if held_out is None else problem.losses(nothing_kept, held_out)
    shared: dict[str, object] = {
        "suite": suite,
        "group": group,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "instance": instance,
        "n": problem.layer.d_in,
        "layer_type": layer_type(problem.layer),
        "pattern": problem.pattern.text,
        "pruned_per_row": problem.groups.total_pruned,
        "solver": task.solver,
        "solver_version": solver_version(registry.spec_of(task.solver)),
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
        "host": host(),
        "packages": packages(),
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
    kind = min((c.bound_kind for c in certificates), key=list(reversed(BoundKind)).index)
    objective = _sum([c.objective for c in certificates])
    bound = _sum([c.bound for c in certificates])
    worst = max(certificates, key=lambda c: list(Verdict).index(c.verdict))
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
        "verdict": str(worst.verdict),
        "reason": worst.reason or str(first.notes.get("reason", "")),
        "objective": objective,
        "objective_eval": _sum([c.objective_eval for c in certificates]),
        "bound": bound,
        "bound_kind": str(kind),
        "gap": gap_of(objective, bound),
        "claimed_objective": _sum([_finite(a.claimed_objective) for a in answers]),
        "claimed_bound": _sum([_finite(a.claimed_bound) for a in answers]),
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


def _sum(values: Sequence[float | None]) -> float | None:
    """Their sum in float64, None where one is absent."""
    known = [value for value in values if value is not None]
    return fsum(known) if len(known) == len(values) else None


def pruned_columns(answer: Answer) -> list[int] | None:
    """Sorted pruned column indices, None without a mask."""
    return None if answer.mask is None else [int(j) for j in np.flatnonzero(~answer.mask)]


def _sparsity(problem: RowProblem, answer: Answer) -> float:
    """Realised share pruned, measured on the mask; the share asked for when there is none."""
    if answer.mask is None:
        return problem.groups.total_pruned / problem.n
    return float((~answer.mask).mean())


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def rows_of(problem: Problem) -> list[Problem]:
    """The same rows, one problem each: what row solvers are given."""
    return [
        Problem(problem.layer, problem.pattern, range(row, row + 1), problem.start)
        for row in problem.rows
    ]
