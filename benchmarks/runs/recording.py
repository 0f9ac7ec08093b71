"""From judged answers to records: all there is to say of a run, written down.

A run is written down as one record a part, or as one record of sums for all of its parts: whole
layers have thousands. A record also says what its solver is, so that whoever reads it needs to know
no solver.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

import numpy as np

from maskgap.benchmarks.runs.descent import by_swaps, counts_swaps, over_time, steps_of
from maskgap.benchmarks.runs.environment import here, solver_version
from maskgap.benchmarks.runs.judge import Judged, judge, part_losses, pruned_columns
from maskgap.benchmarks.runs.record import Record, run_key
from maskgap.benchmarks.runs.task import Outcome, Task
from maskgap.benchmarks.verify.certificate import summed, total_of
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.layer import Layer, array_digest
from maskgap.instances.problem import Part
from maskgap.solvers import registry
from maskgap.solvers.protocol import Answer, Stop


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a suite has a run. instance: the layer's name there.

    per_layer: whether it has one record for all its parts. defaults: all settings of the solver
    when it is told none, in its order; None where that is not known.
    """

    suite: str = ""
    group: str = ""
    instance: str = ""
    per_layer: bool = False
    defaults: Mapping[str, object] | None = None


def keys_of(task: Task, per_layer: bool = False) -> list[str]:
    """The run key of each record of a task, whose settings are all there, defaults included."""
    version = solver_version(registry.spec_of(task.solver))
    limits: dict[str, object] = {
        "time_s": task.limits.limit_s,
        "gap": task.limits.gap,
        "threads": task.limits.threads,
        "device": task.limits.device,
    }
    problems = [task.problem.digest] if per_layer else [part.digest for part in task.problem]
    return [
        run_key(
            problem,
            task.solver,
            version,
            settings=task.settings,
            seed=task.limits.seed,
            limits=limits,
        )
        for problem in problems
    ]


def records_of(task: Task, outcome: Outcome, origin: Origin, keys: Sequence[str]) -> list[Record]:
    """The records of a run, one for each of its keys: one a part, or one of all parts."""
    judged, limits = judge(task, outcome), task.limits
    place = outcome.place or here()
    problem, held_out = task.problem, task.problem.layer.gram_eval
    nothing_kept = Kept(np.zeros((len(problem), problem.height * problem.layer.d_in), dtype=bool))
    energies = part_losses(problem, nothing_kept)
    energies_eval = None if held_out is None else part_losses(problem, nothing_kept, held_out)
    shared: dict[str, object] = {
        "suite": origin.suite,
        "group": origin.group,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "instance": origin.instance,
        "n": problem.height * problem.layer.d_in,
        "height": problem.height,
        "layer_type": layer_type(problem.layer),
        "pattern": problem.pattern.text,
        "ridge": problem.objective.ridge if problem.objective.refits else None,
        "pruned_per_row": judged[0].problem.legal.total_pruned / problem.height,
        "solver": task.solver,
        **_of_solver(task.solver, origin.defaults),
        "settings": dict(sorted(task.settings.items())),
        "seed": limits.seed,
        "time_limit_s": limits.limit_s,
        "gap_tolerance": limits.gap,
        "threads": limits.threads,
        "device": limits.device,
        "wall_s": outcome.wall_s,
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "exception": outcome.exception,
        "traceback": outcome.traceback,
        "checker": CHECKER,
        "host": place.host,
        "packages": place.packages,
    }
    if origin.per_layer:
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
                **_of_part(part),
            }
        )
        for place, (key, part) in enumerate(zip(keys, judged, strict=True))
    ]


def _of_solver(name: str, defaults: Mapping[str, object] | None) -> dict[str, object]:
    """What a record says of its solver."""
    spec = registry.spec_of(name)
    names = list(registry.SPECS)
    return {
        "solver_version": solver_version(spec),
        "gives": spec.gives,
        "batched": spec.batched,
        "register_place": names.index(name) if name in names else None,
        "install": spec.missing,
        "summary": spec.summary,
        "defaults": None if defaults is None else dict(defaults),
    }


def _record(fields: dict[str, object]) -> Record:
    return Record(**fields)  # type: ignore[arg-type]


def _of_part(judged: Judged) -> dict[str, object]:
    """What a record says of one part."""
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
        "error_without_ridge": certificate.error_without_ridge,
        "error_own_weights": certificate.error_own_weights,
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


def _of_layer(parts: Sequence[Judged], digest: str) -> dict[str, object]:
    """What a record says of all parts: sums, the weakest kind of bound, the worst stop and verdict.

    Times are those of the batch, which each of its parts repeats. Notes are the first part's.
    """
    answers = [judged.answer for judged in parts]
    certificates = [judged.certificate for judged in parts]
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
        "row": parts[0].problem.row,
        "rows": len(parts),
        "problem": digest,
        "sparsity": fmean(_sparsity(judged.problem, judged.answer) for judged in parts),
        "stop": str(stop),
        "verdict": str(sums.verdict),
        "reason": sums.reason or str(first.notes.get("reason", "")),
        "objective": objective,
        "objective_low": sums.objective_low,
        "objective_high": sums.objective_high,
        "objective_eval": sums.objective_eval,
        "error_without_ridge": sums.error_without_ridge,
        "error_own_weights": sums.error_own_weights,
        "bound": sums.bound,
        "bound_kind": str(sums.bound_kind),
        "gap": sums.gap,
        "claimed_objective": total_of([_finite(a.claimed_objective) for a in answers]),
        "claimed_bound": total_of([_finite(a.claimed_bound) for a in answers]),
        "mask_digest": array_digest(np.stack(masks)) if whole else None,
        "build_s": first.build_s,
        "warmup_s": first.warmup_s,
        "solve_s": first.solve_s,
        "check_s": sum(judged.check_s for judged in parts),
        "counters": dict(sum((Counter(a.counters) for a in answers), Counter())),
        "notes": first.notes,
        "trace": over_time(steps) if any(a.trace for a in answers) and whole else [],
        "by_swaps": _by_swaps(parts) if whole else [],
    }


def _by_swaps(parts: Sequence[Judged]) -> list[tuple[int, float]]:
    """Losses by swaps, where a trace counts them and every part has a mask."""
    finals = [judged.certificate.objective for judged in parts]
    if not any(counts_swaps(judged.answer) for judged in parts):
        return []
    return by_swaps(
        [
            steps_of(judged.answer, final)
            for judged, final in zip(parts, finals, strict=True)
            if final is not None
        ]
    )


def _sparsity(problem: Part, answer: Answer) -> float:
    """Realised share pruned, measured on the mask; the share asked for when there is none."""
    if answer.mask is None:
        return problem.legal.total_pruned / problem.n
    return float(pruned_of(answer.mask).mean())


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def layer_type(layer: Layer) -> str:
    """What layers of a model have in common that do the same work in its blocks.

    The name of an extracted layer after its last number ('attention.self.query'); the shape
    'd_out x d_in' of one without a name.
    """
    parts = layer.meta.get("layer", "").split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    named = ".".join(parts[numbers[-1] + 1 :] if numbers else parts)
    return named or f"{layer.d_out} x {layer.d_in}"
