"""`maskgap solve`: one solver on rows of a layer; a line a row, certified, as it is done.

Where the pattern couples rows, a row's line has its own loss and no bound, which belongs to all of
a part together; a last line has the totals.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.api import Runs
from benchmarks.certify import BoundKind, Verdict, summed
from benchmarks.commands.numbers import check_numbers, number
from benchmarks.judge import Judged, pruned_columns
from benchmarks.objective import Loss, row_losses
from benchmarks.runner import parse_rows
from instances import files
from instances.errors import InputError, Refused
from instances.patterns import CoupledPattern, parse_pattern
from instances.problem import Problem
from instances.proof import RowProof, trivial_proof
from instances.proof_file import write_proof
from solvers import registry
from solvers.base import Stop
from solvers.scores import WARM_STARTS

LAYER_PROOF = "layer.proof.safetensors"
"""Where rows are coupled, the file of the proofs of all parts."""

COUNTERS = ("swaps", "nodes", "oracle_calls")


def run(
    file: Path,
    pattern: str,
    solver: str,
    rows: str | None,
    time_limit: float,
    gap: float,
    seed: int,
    threads: int | None,
    device: str,
    warm_start: str | None,
    assignments: list[str],
    proof: Path | None,
    out: Path | None,
    log: Path | None,
    as_json: bool,
) -> int:
    """Exit code 0, 1, 2 or 130, as `benchmarks.cli` defines them. Raises InputError, Refused."""
    check_numbers(time_limit, gap, seed, threads)
    spec = registry.spec_of(solver)
    if spec.missing is not None:
        raise Refused(f"{file}: solver '{solver}' is not installed: {spec.missing}")
    settings = parse_settings(assignments)
    layer = files.read_layer(file)
    start = None
    if warm_start is not None:
        if "warm_start" not in registry.setting_names(solver):
            raise InputError(f"solver '{solver}' takes no warm start; leave --warm-start out")
        if warm_start in (*WARM_STARTS, "none"):
            settings["warm_start"] = warm_start
        else:
            start = files.read_mask(Path(warm_start), layer)
    chosen = range(layer.d_out) if rows is None else parse_rows(rows, layer.d_out)
    problem = Problem.of(layer, parse_pattern(pattern), chosen, start)
    for directory in (proof, log):
        if directory is not None:
            _make(directory)
    runs = Runs(problem, solver, settings, time_limit, gap, seed, threads, device, log)
    done: list[Judged] = []
    coupled = isinstance(problem.pattern, CoupledPattern)
    for judged in _shown(runs, solver, as_json, coupled):
        done.append(judged)
        if proof is not None and not coupled:
            own = replace(problem, rows=judged.problem.rows)
            _write_proofs(proof / f"row{judged.problem.row}.proof.safetensors", own, [judged])
    if proof is not None and coupled:
        _write_proofs(proof / LAYER_PROOF, problem, done)
    if out is not None:
        _write_masks(out, problem, done, solver)
    if runs.interrupted:
        return 130
    refused = [j for j in done if j.answer.stop is Stop.REFUSED]
    if refused:
        reason = refused[0].answer.notes.get("reason", "no reason given")
        raise Refused(f"{file}: row {refused[0].problem.row}: {reason}")
    return 0 if all(_fulfilled(judged, spec.bound_only) for judged in done) else 1


def _write_proofs(target: Path, problem: Problem, done: list[Judged]) -> None:
    """Write the proofs of all parts of a problem, where one of them was checked."""
    if any(_has_proof(judged) for judged in done) and len(done) == len(problem):
        ordered = sorted(done, key=lambda judged: judged.problem.row)
        write_proof(target, problem, [_proof(judged) for judged in ordered])


def _has_proof(judged: Judged) -> bool:
    checked = judged.certificate.bound_kind is BoundKind.CHECKED
    return judged.answer.proof is not None and checked


def _proof(judged: Judged) -> RowProof:
    """The proof that was checked, or the trivial one."""
    proof = judged.answer.proof if _has_proof(judged) else None
    return proof or trivial_proof(judged.problem)


def _fulfilled(judged: Judged, bound_only: bool) -> bool:
    if judged.certificate.verdict is Verdict.WRONG or judged.answer.stop is Stop.CRASHED:
        return False
    if bound_only:
        return judged.certificate.bound_kind is not BoundKind.TRIVIAL
    return judged.certificate.objective is not None


def parse_settings(assignments: list[str]) -> dict[str, object]:
    """Settings from the words key=value of `--set`. Raises InputError."""
    settings: dict[str, object] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {text}: expected key=value")
        settings[key.strip()] = value
    return settings


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made a directory: {error.strerror}") from None


def coupled_lines(judged: Judged, solver: str) -> list[dict[str, object]]:
    """The JSON objects of the rows of a part that the pattern couples: losses, but no bounds."""
    part, mask = judged.problem, judged.answer.mask
    whole = row_line(judged, solver)
    losses: list[Loss] | None = None
    pruned: list[list[int] | None] = [None] * part.height
    if mask is not None and judged.certificate.objective is not None:
        losses = row_losses(part, mask)
        pruned = [np.flatnonzero(~row).tolist() for row in mask.reshape(part.height, -1)]
    return [
        {
            **whole,
            "row": row,
            "n": part.layer.d_in,
            "objective": None if losses is None else losses[place].value,
            "objective_low": None if losses is None else losses[place].low,
            "objective_high": None if losses is None else losses[place].high,
            "bound": None,
            "bound_kind": None,
            "gap": None,
            "pruned": pruned[place],
        }
        for place, row in enumerate(part.rows)
    ]


def total_line(done: list[Judged], solver: str) -> dict[str, object]:
    """The JSON object of all parts together."""
    sums = summed([judged.certificate for judged in done])
    answers = [judged.answer for judged in done]
    return {
        "total": True,
        "pattern": done[0].problem.pattern,
        "solver": solver,
        "rows": sum(judged.problem.height for judged in done),
        "objective": sums.objective,
        "objective_low": sums.objective_low,
        "objective_high": sums.objective_high,
        "objective_eval": sums.objective_eval,
        "bound": sums.bound,
        "bound_kind": str(sums.bound_kind),
        "gap": sums.gap,
        "stop": str(max((a.stop for a in answers), key=list(Stop).index)),
        "verdict": str(sums.verdict),
        "build_s": fsum(a.build_s for a in answers),
        "solve_s": fsum(a.solve_s for a in answers),
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
        "objective": certificate.objective,
        "objective_low": certificate.objective_low,
        "objective_high": certificate.objective_high,
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
    if certificate.objective_eval is not None:
        line["objective_eval"] = certificate.objective_eval
    reason = certificate.reason or answer.notes.get("reason")
    if reason:
        line["reason"] = reason
    return line


def _shown(runs: Runs, solver: str, as_json: bool, coupled: bool) -> Iterable[Judged]:
    """The same parts, each printed as it passes: JSON lines, or a table with a progress bar."""
    seen: list[Judged] = []

    def lines(judged: Judged) -> list[dict[str, object]]:
        seen.append(judged)
        return coupled_lines(judged, solver) if coupled else [row_line(judged, solver)]

    if as_json:
        for judged in runs:
            for line in lines(judged):
                print(json.dumps(line, allow_nan=False), flush=True)
            yield judged
        if coupled and seen:
            print(json.dumps(total_line(seen, solver), allow_nan=False), flush=True)
        return
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    table = Table("row", "objective", "bound", "kind", "gap", "verdict", "stop", "seconds")
    total = sum(len(task.problem.rows) for task in runs.tasks)
    errors = Console(file=sys.stderr)
    with Progress(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task, ended = bar.add_task(solver, total=total), 0
        runs.pool.progress = lambda rows: bar.update(task, completed=ended + rows)
        for judged in runs:
            ended += judged.problem.height
            bar.update(task, completed=ended)
            yield judged
            for line in lines(judged):
                table.add_row(*_cells(line, str(line["row"])))
            if "reason" in line and judged.answer.stop is not Stop.REFUSED:
                errors.print(f"row {line['row']}: {line['reason']}", highlight=False)
    if coupled and seen:
        table.add_section()
        table.add_row(*_cells(total_line(seen, solver), "total"))
    Console().print(table)


def _cells(line: dict[str, Any], name: str) -> list[str]:
    """A line as cells of the table for people."""
    return [
        name,
        number(line["objective"]),
        number(line["bound"]),
        line["bound_kind"] or "-",
        "-" if line["gap"] is None else f"{line['gap']:.2%}",
        line["verdict"],
        line["stop"],
        f"{line['build_s'] + line['solve_s']:.3f}",
    ]


def _write_masks(out: Path, problem: Problem, done: list[Judged], solver: str) -> None:
    """Write the masks of the leading rows that have one; the rows beyond stay unpruned."""
    mask = np.ones(problem.layer.weight.shape, dtype=bool)
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
        print(f"maskgap: {out}: no row has a mask, nothing is written", file=sys.stderr)
        return
    rows = range(problem.rows.start, last)
    files.write_mask(out, mask, problem.layer, problem.pattern.text, solver, rows)
    if last < problem.rows.stop:
        print(f"maskgap: {out}: holds rows {rows.start}:{last} only", file=sys.stderr)
