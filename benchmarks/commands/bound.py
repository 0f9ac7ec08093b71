"""`maskgap bound`: how far the masks of a whole layer are from the best ones, certified."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from maskgap.benchmarks.commands.bound_store import PROOF_NAME, Store
from maskgap.benchmarks.commands.limit_options import LimitOptions
from maskgap.benchmarks.commands.numbers import at_least, at_most, check_total_gap, percent
from maskgap.benchmarks.commands.objective_options import DEFAULT_OBJECTIVE, ObjectiveOptions
from maskgap.benchmarks.commands.screen import Results, errors, say
from maskgap.benchmarks.commands.solve_lines import interval, refit_fields
from maskgap.benchmarks.layers.bounding import bounding
from maskgap.benchmarks.layers.course import Course
from maskgap.benchmarks.layers.estimate import CONFIDENCE, Estimate
from maskgap.benchmarks.layers.found import Found
from maskgap.benchmarks.layers.sampled import Sample, SampledBound
from maskgap.benchmarks.layers.standing_rows import RowState
from maskgap.benchmarks.layers.work import LayerWork
from maskgap.benchmarks.runs.chosen_executor import chosen_cluster
from maskgap.benchmarks.runs.environment import require_device
from maskgap.benchmarks.runs.lock import locked
from maskgap.benchmarks.runs.placement import Placement
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, summed
from maskgap.instances.arrays import Matrix, pruned_of
from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.formats.outputs import Writes, replacing, try_directory, try_file
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem

SAVE_INTERVAL_S = 60.0
"""Proofs found are on disk after this time, whatever happens to the command."""

TERMINAL_INTERVAL_S = 0.2

PLAIN_INTERVAL_S = 10.0
"""Time between lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class BoundOptions:
    """What `maskgap bound` is told; absent options are None. limits: for the whole layer.

    total_gap: of all rows together, at which it ends.
    """

    file: Path
    pattern: str
    limits: LimitOptions
    objective: ObjectiveOptions = DEFAULT_OBJECTIVE
    mask: Path | None = None
    rows: str | None = None
    sample: int | None = None
    confidence: float = CONFIDENCE
    total_gap: float | None = None
    max_runs: int | None = None
    proof: Path | None = None
    out: Path | None = None
    resume: bool = False
    executor: str = "local"
    scheduler: str | None = None
    as_json: bool = False


def run(options: BoundOptions) -> int:
    """Exit code 0, 1 when a row is wrong, 130 or 143. Raises InputError, and OSError.

    OSError: standard output cannot be written to; all else is done by then.
    """
    limits = _checked(options)
    layer = files.read_layer(options.file)
    rows = range(layer.d_out) if options.rows is None else parse_rows(options.rows, layer.d_out)
    objective, given = options.objective.checked(), None
    if options.mask is not None:
        given = files.read_mask_file(options.mask, layer)
    start = None if given is None else given.mask
    problem = Problem.of(layer, parse_pattern(options.pattern), rows, start, objective)
    weights = None if given is None else weights_as_they_are(given, problem, options.mask)
    writes, results = Writes(), Results(kept=True)
    with ExitStack() as stack:
        store = None if options.proof is None else _opened(options, options.proof, problem, stack)
        _try_out(options, store)
        placement = Placement(options.executor, options.scheduler, threads=limits.threads)
        cluster = stack.enter_context(chosen_cluster(placement, say))
        if options.scheduler is not None and options.limits.threads is None:
            limits = replace(limits, threads=sys.maxsize)  # as many as the cluster has
        work = bounding(
            problem,
            limits,
            runs=options.max_runs,
            held={} if store is None else store.held,
            executor=cluster,
            weights=weights,
            sample=_sample(options, store),
            enough=options.total_gap,
        )
        course = _carry_out(work, options.file.stem, store, writes)
    masks = work.masks()
    if options.out is not None and masks is None:
        say(f"maskgap: {options.out}: a row has no mask, nothing is written")
    elif options.out is not None and masks is not None:
        with writes.attempt(), replacing(options.out, say) as new:
            Found(problem, masks, weights).write(new, "bound")
    course.look(work, last=True)
    _show(work, course, results, options.as_json)
    _advise(work, options.proof, options.max_runs)
    writes.close()
    results.close()
    if work.interrupted:
        return 128 + work.signal_number
    return 1 if work.total.verdict in (Verdict.WRONG, Verdict.EMPTY) else 0


def _checked(options: BoundOptions) -> RunLimits:
    """The limits. Raises InputError for an option that cannot be, before anything is read."""
    limits = options.limits.checked()
    if options.max_runs is not None and options.max_runs < 1:
        raise InputError(f"--max-runs {options.max_runs}: expected a whole number, 1 or more")
    if options.resume and options.proof is None:
        raise InputError("--resume goes on from the proofs in a directory; name it by --proof DIR")
    check_total_gap(options.total_gap)
    if options.sample is not None and options.total_gap is not None:
        raise InputError("--total-gap is of layers whose rows are all bounded, --sample of others")
    if options.sample is not None and options.sample < 1:
        raise InputError(f"--sample {options.sample}: expected a whole number of rows, 1 or more")
    if not 0.0 < options.confidence < 1.0:
        raise InputError(f"--confidence {options.confidence:g}: expected a number between 0 and 1")
    require_device(limits.device)
    return limits


def _opened(options: BoundOptions, proof: Path, problem: Problem, stack: ExitStack) -> Store:
    """The proof in a directory that is this call's until the stack ends. Raises InputError."""
    try_directory(proof)
    stack.enter_context(locked(proof, "wait for it or choose another --proof"))
    inputs = options.file, options.mask
    return Store.opened(proof / PROOF_NAME, problem, options.resume, inputs)


def _try_out(options: BoundOptions, store: Store | None) -> None:
    """Raise InputError where the masks could not be written."""
    if options.out is None:
        return
    try_file(options.out, files.MASK, [options.file, options.mask])
    if store is not None and os.path.realpath(options.out) == os.path.realpath(store.target):
        raise InputError(f"{options.out}: this is the name of the proof; give another to --out")


def _sample(options: BoundOptions, store: Store | None) -> Sample | None:
    """The rows that are bounded, None for all."""
    if options.sample is None:
        return None
    return Sample(options.sample, options.confidence, None if store is None else store.sizes)


def _carry_out(work: LayerWork, name: str, store: Store | None, writes: Writes) -> Course:
    """Have the work done; what it has proved is kept, whatever ends it. How it went."""
    if store is not None:
        store.tell(work)
    saved, course = time.monotonic(), Course()
    try:
        with _reporting(name) as report:
            work.watch(lambda: report(work))
            for _ in work:
                report(work)
                course.look(work)
                if store is not None and time.monotonic() - saved > SAVE_INTERVAL_S:
                    store.save_meanwhile(work)
                    saved = time.monotonic()
    finally:
        if store is not None:
            with writes.attempt():
                store.save(work)
    return course


def weights_as_they_are(
    given: files.MaskFile, problem: Problem, path: Path | None
) -> Matrix | None:
    """(rows, d_in) what a mask file has made of the weights that stay, None for the best there are.

    Under the objective mask they are not looked at, which is said.
    """
    if given.weights is None:
        return None
    if not problem.objective.refits:
        say(f"{path}: its mask alone is judged; its weights are, with --objective refit")
        return None
    return given.weights[problem.rows.start : problem.rows.stop]


def _line(state: RowState) -> dict[str, object]:
    certificate = state.certificate
    line: dict[str, object] = {
        "row": state.problem.row,
        **interval(certificate.loss),
        "bound": certificate.bound,
        "bound_kind": str(certificate.bound_kind),
        "gap": certificate.gap,
        "verdict": str(certificate.verdict),
        "pruned": None if state.mask is None else np.flatnonzero(pruned_of(state.mask)).tolist(),
    }
    line |= refit_fields(state.problem.objective, certificate)
    if certificate.objective_eval is not None:
        line["objective_eval"] = certificate.objective_eval
    if certificate.reason:
        line["reason"] = certificate.reason
    return line


def total_refit_fields(work: LayerWork) -> dict[str, object]:
    """What the total has under the objective refit alone."""
    return refit_fields(work.problem.objective, summed([s.certificate for s in work.rows]))


def _show(work: LayerWork, course: Course, results: Results, as_json: bool) -> None:
    """JSON lines, or a table."""
    total = work.total
    if as_json:
        for state in work.rows:
            results.line(_line(state))
        own = total_refit_fields(work)
        estimated = asdict(work.estimate) if isinstance(work, SampledBound) else {}
        results.line({"total": True, **asdict(total), **own, **estimated, "trace": course.points})
        return
    from rich.table import Table

    table = Table("row", "objective", "bound", "kind", "gap", "verdict")
    for state in work.rows:
        certificate = state.certificate
        table.add_row(
            str(state.problem.row),
            at_most(certificate.objective),
            at_least(certificate.bound),
            str(certificate.bound_kind),
            percent(certificate.gap),
            str(certificate.verdict),
        )
    table.add_section()
    table.add_row(
        "total", at_most(total.objective), at_least(total.bound), str(total.bound_kind),
        percent(total.gap), str(total.verdict),
    )  # fmt: skip
    results.table(table)
    if isinstance(work, SampledBound):
        results.text(_in_words(work.estimate, total.rows))


def _in_words(found: Estimate, rows: int) -> str:
    """An estimate, which is no bound."""
    if found.estimate is None:
        return "no estimate yet: no row drawn has a checked bound"
    return (
        f"estimated gap {percent(found.estimate)}, between {percent(found.low)} and "
        f"{percent(found.high)} at {100 * found.confidence:g}% confidence, from "
        f"{found.rows_sampled} of {rows} rows drawn at random; this is no bound"
    )


def _advise(work: LayerWork, proof: Path | None, max_runs: int | None) -> None:
    """Say what can be done about rows that are left without a bound, or an end that came early."""
    total = work.total
    drawn = isinstance(work, SampledBound)
    bare = [
        str(state.problem.row)
        for state in work.rows
        if not drawn
        and state.certificate.bound_kind is BoundKind.TRIVIAL
        and state.certificate.gap != 0
    ]
    if bare:
        names = ", ".join(bare[:5]) + (", ..." if len(bare) > 5 else "")
        longer = "a longer --time-limit" if max_runs is None else "more --max-runs"
        kept = "" if proof is None else "; their proof is that of the bound 0, which always holds"
        say(f"no bound yet for {len(bare)} of {total.rows} rows ({names}): give {longer}{kept}")
    if total.closed == total.rows:
        return
    if work.interrupted:
        if proof is not None:
            say(f"interrupted; the same command with --resume goes on from {proof}")
        else:
            say("interrupted; with --proof DIR a later call could go on by --resume")


@contextmanager
def _reporting(name: str) -> Iterator[Callable[[LayerWork], None]]:
    """The total gap as it falls: in place on a terminal, elsewhere a line now and then."""
    console = errors()
    interval = TERMINAL_INTERVAL_S if console.is_terminal else PLAIN_INTERVAL_S
    begun = said = time.monotonic()

    def report(work: LayerWork) -> None:
        """Sums take all rows, so they are made only when they are shown."""
        nonlocal said
        now = time.monotonic()
        if now - said < interval:
            return
        said, total = now, work.total
        if isinstance(work, SampledBound):
            known = work.estimate
            stands = f"estimated gap {percent(known.estimate)} from {known.rows_sampled} rows"
        else:
            stands = f"total gap {percent(total.gap)}"
        text = f"{name}: {now - begun:.0f} s, {stands}, {total.closed} of {total.rows} rows closed"
        if work.under_way:
            text += f" ({work.under_way})"
        if status is None:
            say(text)
        else:
            status.update(text)

    status = console.status(f"{name}: begun") if console.is_terminal else None
    with status or nullcontext():
        yield report
