"""From the answers of a run to its records: certify every row, and write down all there is."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from benchmarks.certify import Certificate, certify_row
from benchmarks.child import Outcome, Task
from benchmarks.environment import host, packages, solver_version
from benchmarks.record import Record, run_key
from instances.problem import Problem, RowProblem
from solvers import registry
from solvers.base import Answer


@dataclass(frozen=True, eq=False)
class Judged:
    """A row's answer with its certificate. check_s: seconds spent on certifying it."""

    problem: RowProblem
    answer: Answer
    certificate: Certificate
    check_s: float


def judge(task: Task, outcome: Outcome) -> list[Judged]:
    """Certify each row of an outcome."""
    judged = []
    for problem, answer in zip(task.problem, outcome.answers, strict=True):
        start = time.perf_counter()
        certificate = certify_row(
            problem,
            answer.mask,
            answer.claimed_objective,
            answer.claimed_bound,
            answer.proof,
            task.gap,
        )
        judged.append(Judged(problem, answer, certificate, time.perf_counter() - start))
    return judged


def settings_in_force(task: Task) -> dict[str, object]:
    """The settings of a task with the solver's defaults, where its module can be imported."""
    if registry.spec_of(task.solver).missing is not None:
        return dict(sorted(task.settings.items()))
    return registry.settings_of(registry.build(task.solver, task.settings))


def row_keys(task: Task) -> list[str]:
    """The run key of each row of a task."""
    version = solver_version(registry.spec_of(task.solver))
    settings = settings_in_force(task)
    limits: dict[str, object] = {
        "time_s": task.limit_s,
        "gap": task.gap,
        "threads": task.threads,
        "device": task.device,
    }
    return [
        run_key(row.digest, task.solver, version, settings, task.seed, limits)
        for row in task.problem
    ]


def records_of(task: Task, outcome: Outcome, suite: str, group: str, instance: str) -> list[Record]:
    """One record a row."""
    spec = registry.spec_of(task.solver)
    settings = settings_in_force(task)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    records = []
    for key, judged in zip(row_keys(task), judge(task, outcome), strict=True):
        answer, certificate, problem = judged.answer, judged.certificate, judged.problem
        records.append(
            Record(
                key=key,
                suite=suite,
                group=group,
                started=started,
                instance=instance,
                row=problem.row,
                n=problem.n,
                pattern=problem.pattern,
                problem=problem.digest,
                pruned_per_row=problem.groups.total_pruned,
                sparsity=_sparsity(problem, answer),
                solver=task.solver,
                solver_version=solver_version(spec),
                settings=settings,
                seed=task.seed,
                time_limit_s=task.limit_s,
                gap_tolerance=task.gap,
                threads=task.threads,
                device=task.device,
                stop=str(answer.stop),
                verdict=str(certificate.verdict),
                reason=certificate.reason or str(answer.notes.get("reason", "")),
                objective=certificate.objective,
                objective_eval=certificate.objective_eval,
                energy=problem.loss(np.zeros(problem.n, dtype=bool)),
                energy_eval=_held_out_energy(problem),
                bound=certificate.bound,
                bound_kind=str(certificate.bound_kind),
                gap=certificate.gap,
                claimed_objective=_finite(answer.claimed_objective),
                claimed_bound=_finite(answer.claimed_bound),
                pruned=pruned_columns(answer),
                build_s=answer.build_s,
                warmup_s=answer.warmup_s,
                solve_s=answer.solve_s,
                check_s=judged.check_s,
                wall_s=outcome.wall_s,
                peak_memory_bytes=outcome.peak_memory_bytes,
                counters=answer.counters,
                notes=answer.notes,
                trace=[
                    (point.seconds, _finite(point.objective), _finite(point.bound))
                    for point in answer.trace
                ],
                exception=outcome.exception,
                traceback=outcome.traceback,
                host=host(),
                packages=packages(),
            )
        )
    return records


def pruned_columns(answer: Answer) -> list[int] | None:
    """Sorted pruned column indices, None without a mask."""
    return None if answer.mask is None else [int(j) for j in np.flatnonzero(~answer.mask)]


def _sparsity(problem: RowProblem, answer: Answer) -> float:
    """Realised share pruned, measured on the mask; the share asked for when there is none."""
    if answer.mask is None:
        return problem.groups.total_pruned / problem.n
    return float((~answer.mask).mean())


def _held_out_energy(problem: RowProblem) -> float | None:
    held_out = problem.layer.gram_eval
    return None if held_out is None else problem.loss(np.zeros(problem.n, dtype=bool), held_out)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def rows_of(problem: Problem) -> list[Problem]:
    """The same rows, one problem each: what row solvers are given."""
    return [
        Problem(problem.layer, problem.pattern, range(row, row + 1), problem.start)
        for row in problem.rows
    ]
