"""`maskgap solve`: one solver on rows of a layer; a line a row, certified, as it is done.

Where the pattern couples rows, a row's line has its own loss and no bound, which belongs to all of
a part together; a last line has the totals.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskgap.benchmarks.commands.limit_options import LimitOptions
from maskgap.benchmarks.commands.objective_options import DEFAULT_OBJECTIVE, ObjectiveOptions
from maskgap.benchmarks.commands.screen import Results, say
from maskgap.benchmarks.commands.solve_lines import coupled_lines, row_line, total_line
from maskgap.benchmarks.layers.found import Found
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.environment import require_device
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats import files
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.outputs import (
    Kind,
    Writes,
    check_file,
    format_of,
    replacing,
    try_directory,
    try_file,
)
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import PROOF, write_proof
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.one_shot.scores import WARM_STARTS
from maskgap.solvers.protocol import Stop

LAYER_PROOF = "layer.proof.safetensors"
"""Where rows are coupled, the file of the proofs of all parts."""

LOG = Kind("log file", lambda path: format_of(path) is None)


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """What `maskgap solve` is told; absent options are None. limits: for a row."""

    file: Path
    pattern: str
    solver: str
    limits: LimitOptions
    objective: ObjectiveOptions = DEFAULT_OBJECTIVE
    rows: str | None = None
    warm_start: str | None = None
    assignments: Sequence[str] = ()
    proof: Path | None = None
    out: Path | None = None
    log: Path | None = None
    as_json: bool = False


def run(options: SolveOptions) -> int:
    """Exit code 0, 1, 2, 130 or 143, as `benchmarks.commands.cli` defines them.

    Raises InputError, Refused, and OSError when standard output cannot be written to.
    """
    file, solver, warm_start = options.file, options.solver, options.warm_start
    limits = options.limits.checked()
    spec = registry.spec_of(solver)
    if spec.missing is not None:
        raise Refused(f"{file}: solver '{solver}' is not installed: {spec.missing}")
    settings = parse_settings(options.assignments)
    require_device(limits.device)
    layer = files.read_layer(file)
    start = None
    if warm_start is not None:
        if warm_start in (*WARM_STARTS, "none"):
            settings["warm_start"] = warm_start
        else:
            start = files.read_mask(Path(warm_start), layer)
    rows = options.rows
    chosen = range(layer.d_out) if rows is None else parse_rows(rows, layer.d_out)
    objective = options.objective.checked()
    problem = Problem.of(layer, parse_pattern(options.pattern), chosen, start, objective)
    runs = Runs(problem, solver, settings, limits, options.log)
    if warm_start is not None and "warm_start" not in runs.setting_names():
        raise InputError(f"solver '{solver}' takes no warm start; leave --warm-start out")
    coupled = problem.pattern.coupled
    proofs, out = _proof_files(options.proof, problem, coupled), options.out
    logs = [task.limits.log for task in runs.tasks if task.limits.log is not None]
    inputs = (file, None if start is None else warm_start)
    _try_outputs((options.proof, options.log), proofs, logs, out, inputs)

    done: list[Judged] = []
    writes, results = Writes(), Results(kept=out is not None or options.proof is not None)
    for judged in _shown(runs, file, results, options.as_json, coupled):
        done.append(judged)
        if not coupled and proofs:
            own = replace(problem, rows=judged.problem.rows)
            _write_proofs(proofs[judged.problem.row - chosen.start], own, [judged], writes)
    if coupled and proofs:
        _write_proofs(proofs[0], problem, done, writes)
    if out is not None:
        _write_masks(out, problem, done, solver, writes)
    writes.close()
    results.close()
    if runs.interrupted:
        say(f"interrupted: {sum(j.problem.height for j in done)} of {len(chosen)} rows are done")
        return runs.interrupt_code
    refused = [j for j in done if j.answer.stop is Stop.REFUSED]
    if refused:
        reason = refused[0].answer.notes.get("reason", "no reason given")
        raise Refused(f"{file}: row {refused[0].problem.row}: {reason}")
    return 0 if all(_fulfilled(judged, spec.bound_only) for judged in done) else 1


def parse_settings(assignments: Sequence[str]) -> dict[str, object]:
    """Settings from the words key=value of `--set`. Raises InputError."""
    settings: dict[str, object] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {text}: expected key=value")
        if key.strip() in settings:
            raise InputError(f"--set {text}: '{key.strip()}' is set twice")
        settings[key.strip()] = value
    return settings


def _proof_files(proof: Path | None, problem: Problem, coupled: bool) -> list[Path]:
    """The files that may be written into the directory of proofs: one a row, or one of all."""
    if proof is None:
        return []
    if coupled:
        return [proof / LAYER_PROOF]
    return [proof / f"row{row}.proof.safetensors" for row in problem.rows]


def _try_outputs(
    directories: Iterable[Path | None],
    proofs: list[Path],
    logs: list[Path],
    out: Path | None,
    inputs: tuple[Path, str | None],
) -> None:
    """See that all outputs can be written, none over an input, a file of a user's or another."""
    sources = [Path(source) for source in inputs if source is not None]
    for directory in directories:
        if directory is not None:
            try_directory(directory)
    for paths, kind in ((proofs, PROOF), (logs, LOG)):
        for path in paths:
            check_file(path, kind, sources)
    if out is not None:
        try_file(out, files.MASK, sources)
        if os.path.realpath(out) in {os.path.realpath(path) for path in (*proofs, *logs)}:
            raise InputError(f"{out}: this is the name of a proof or log; give another to --out")


def _write_proofs(target: Path, problem: Problem, done: list[Judged], writes: Writes) -> None:
    """Write the proofs of all parts of a problem, where one of them was checked."""
    if any(_has_proof(judged) for judged in done) and len(done) == len(problem):
        ordered = sorted(done, key=lambda judged: judged.problem.row)
        with writes.attempt(), replacing(target, say) as new:
            write_proof(new, problem, [_proof(judged) for judged in ordered])


def _has_proof(judged: Judged) -> bool:
    checked = judged.certificate.bound_kind is BoundKind.CHECKED
    return judged.answer.proof is not None and checked


def _proof(judged: Judged) -> PartProof:
    """The proof that was checked, or the trivial one."""
    proof = judged.answer.proof if _has_proof(judged) else None
    return proof or trivial_proof(judged.problem)


def _fulfilled(judged: Judged, bound_only: bool) -> bool:
    if judged.certificate.verdict is Verdict.WRONG or judged.answer.stop is Stop.CRASHED:
        return False
    if bound_only:
        return judged.certificate.bound_kind is not BoundKind.TRIVIAL
    return judged.certificate.objective is not None


def _shown(
    runs: Runs, file: Path, results: Results, as_json: bool, coupled: bool
) -> Iterable[Judged]:
    """The same parts: JSON lines as they pass, or a table when all have."""
    if not as_json:
        from maskgap.benchmarks.commands.solve_table import tabled

        yield from tabled(runs, file, results, coupled)
        return
    seen: list[Judged] = []
    for judged in runs:
        seen.append(judged)
        for line in (
            coupled_lines(judged, runs.solver) if coupled else [row_line(judged, runs.solver)]
        ):
            results.line(line)
        yield judged
    if coupled and seen:
        results.line(total_line(seen, runs.solver))


def _write_masks(
    out: Path, problem: Problem, done: list[Judged], solver: str, writes: Writes
) -> None:
    """Write the masks of the leading rows that have one; the rows beyond stay unpruned."""
    layer = problem.layer
    mask = Kept(np.ones(layer.weight.shape, dtype=bool))
    last = problem.rows.start
    for judged in sorted(done, key=lambda j: j.problem.row):
        if (
            judged.problem.row != last
            or judged.certificate.objective is None
            or judged.answer.mask is None
        ):
            break
        mask[last : last + judged.problem.height] = judged.answer.mask.reshape(
            judged.problem.height, -1
        )
        last += judged.problem.height
    if last == problem.rows.start:
        say(f"maskgap: {out}: no row has a mask, nothing is written")
        return
    rows = range(problem.rows.start, last)
    with writes.attempt(), replacing(out, say) as new:
        found = Found(replace(problem, rows=rows), Kept(mask[rows.start : rows.stop]))
        found.write(new, solver)
        if last < problem.rows.stop:
            say(f"maskgap: {out}: holds rows {rows.start}:{last} only")
