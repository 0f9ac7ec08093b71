"""`maskgap bound`: how far the masks of a whole layer are from the best ones, certified."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.bounding import RowState
from benchmarks.certify import Verdict
from benchmarks.commands.numbers import check_numbers, number
from benchmarks.environment import cores
from benchmarks.executor import elsewhere
from benchmarks.proof_check import require_same_question
from benchmarks.runner import parse_rows
from benchmarks.whole_layer import Course, LayerWork, bounding
from instances import files
from instances.errors import InputError, ProofError
from instances.patterns import parse_pattern
from instances.problem import Problem
from instances.proof import RowProof
from instances.proof_file import read_proof, write_proof

PROOF_NAME = "bound.proof.safetensors"

SAVE_INTERVAL_S = 60.0
"""Proofs found are on disk after this time, whatever happens to the command."""

TERMINAL_INTERVAL_S = 0.2

PLAIN_INTERVAL_S = 10.0
"""Time between lines of progress where there is no terminal."""


def run(
    file: Path,
    pattern: str,
    time_limit: float,
    mask: Path | None,
    rows: str | None,
    gap: float,
    seed: int,
    threads: int | None,
    device: str,
    max_runs: int | None,
    proof: Path | None,
    out: Path | None,
    resume: bool,
    executor: str,
    scheduler: str | None,
    as_json: bool,
) -> int:
    """Exit code 0, 1 when a row is wrong, or 130. Raises InputError."""
    check_numbers(time_limit, gap, seed, threads)
    if max_runs is not None and max_runs < 0:
        raise InputError(f"--max-runs {max_runs}: expected a whole number, 0 or more")
    if resume and proof is None:
        raise InputError("--resume goes on from the proofs in a directory; name it by --proof DIR")
    layer = files.read_layer(file)
    chosen = range(layer.d_out) if rows is None else parse_rows(rows, layer.d_out)
    start = None if mask is None else files.read_mask(mask, layer)
    problem = Problem.of(layer, parse_pattern(pattern), chosen, start)
    target = None if proof is None else proof / PROOF_NAME
    held = {} if target is None else _held(target, problem, resume)
    width = threads or cores()
    with elsewhere(executor, scheduler, 1, width, None, False, _say) as cluster:
        if scheduler is not None and threads is None:
            width = sys.maxsize  # as many as the cluster has
        work = bounding(problem, time_limit, width, device, gap, seed, max_runs, held, cluster)
        saved, course = time.monotonic(), Course()
        with _reporting(file.stem) as report:
            for _ in work:
                report(work)
                course.look(work)
                if target is not None and time.monotonic() - saved > SAVE_INTERVAL_S:
                    write_proof(target, problem, work.proofs())
                    saved = time.monotonic()
    if target is not None:
        write_proof(target, problem, work.proofs())
    masks = work.masks()
    if out is not None and masks is not None:
        whole = np.ones(layer.weight.shape, dtype=bool)
        whole[chosen.start : chosen.stop] = masks
        files.write_mask(out, whole, layer, problem.pattern.text, "bound", chosen)
    course.look(work, last=True)
    _show(work, course, as_json)
    if work.interrupted:
        return 130
    return 1 if work.total.verdict is Verdict.WRONG else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _held(target: Path, problem: Problem, resume: bool) -> dict[int, RowProof]:
    """The proofs to go on from, by row. Raises InputError rather than lose or mistake any."""
    if not target.exists():
        return {}
    if not resume:
        raise InputError(f"{target} exists; go on from it with --resume, or move it away")
    try:
        file = read_proof(target)
        require_same_question(problem, file)
    except ProofError as error:
        raise InputError(f"{target}: cannot be gone on from: {error}; move it away") from None
    return {proof.row: proof for proof in file.proofs}


def _line(state: RowState) -> dict[str, object]:
    certificate = state.certificate
    line: dict[str, object] = {
        "row": state.problem.row,
        "objective": certificate.objective,
        "objective_low": certificate.objective_low,
        "objective_high": certificate.objective_high,
        "bound": certificate.bound,
        "bound_kind": str(certificate.bound_kind),
        "gap": certificate.gap,
        "verdict": str(certificate.verdict),
        "pruned": None if state.mask is None else np.flatnonzero(~state.mask).tolist(),
    }
    if certificate.objective_eval is not None:
        line["objective_eval"] = certificate.objective_eval
    if certificate.reason:
        line["reason"] = certificate.reason
    return line


def _show(work: LayerWork, course: Course, as_json: bool) -> None:
    total = work.total
    if as_json:
        for state in work.rows:
            print(json.dumps(_line(state), allow_nan=False))
        line = {"total": True, **asdict(total), "trace": course.points}
        print(json.dumps(line, allow_nan=False), flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "objective", "bound", "kind", "gap", "verdict")
    for state in work.rows:
        certificate = state.certificate
        table.add_row(
            str(state.problem.row),
            number(certificate.objective),
            number(certificate.bound),
            str(certificate.bound_kind),
            _share(certificate.gap),
            str(certificate.verdict),
        )
    table.add_section()
    table.add_row(
        "total", number(total.objective), number(total.bound), str(total.bound_kind),
        _share(total.gap), str(total.verdict),
    )  # fmt: skip
    Console().print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


@contextmanager
def _reporting(name: str) -> Iterator[Callable[[LayerWork], None]]:
    """The total gap as it falls: in place on a terminal, elsewhere a line now and then."""
    from rich.console import Console

    console = Console(file=sys.stderr)
    interval = TERMINAL_INTERVAL_S if console.is_terminal else PLAIN_INTERVAL_S
    begun = said = time.monotonic()

    def say(work: LayerWork) -> None:
        """Sums take all rows, so they are made only when they are shown."""
        nonlocal said
        now = time.monotonic()
        if now - said < interval:
            return
        said, total = now, work.total
        text = (
            f"{name}: {now - begun:.0f} s, total gap {_share(total.gap)}, "
            f"{total.closed} of {total.rows} rows closed"
        )
        if status is None:
            print(text, file=sys.stderr, flush=True)
        else:
            status.update(text)

    status = console.status(f"{name}: begun") if console.is_terminal else None
    with status or nullcontext():
        yield say
