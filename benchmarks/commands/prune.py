"""`maskgap prune`: masks for the layers of a model, and a checkpoint that holds them, verified."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskgap.benchmarks.commands.limit_options import LimitOptions
from maskgap.benchmarks.commands.numbers import check_amounts
from maskgap.benchmarks.commands.objective_options import DEFAULT_OBJECTIVE, ObjectiveOptions
from maskgap.benchmarks.commands.solve import parse_settings
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.errors import InputError
from maskgap.instances.objective import MASK

if TYPE_CHECKING:
    from maskgap.benchmarks.models.masks import Masks


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What `maskgap prune` is told; absent options are None. limits: for a row.

    patterns: `GLOB=PATTERN`. resume: go on with what a killed call began.
    """

    model: str
    out: Path
    data: Sampling
    limits: LimitOptions
    masks: Path | None = None
    solver: str | None = None
    pattern: str | None = None
    objective: ObjectiveOptions = DEFAULT_OBJECTIVE
    layers: str = "*"
    exclude: str = ""
    patterns: Sequence[str] = ()
    resume: bool = False
    extracted: Path | None = None
    propagate: bool = False
    held_out: bool = False
    assignments: Sequence[str] = ()
    trust: bool = False
    as_json: bool = False


def run(options: PruneOptions) -> int:
    """Print a table, or a JSON object a layer and one for the total.

    0, or 1 when a row ended without a mask. Raises InputError, Refused.
    """
    limits, data = options.limits.checked(), options.data
    check_amounts(data.samples, data.sequence_length)
    _expect_together(options)
    masks = _masks(options, limits)
    from maskgap.benchmarks.models.journal import JOURNAL, expect_free
    from maskgap.benchmarks.models.masks import Unsolved
    from maskgap.benchmarks.models.prune import Source, prune_model
    from maskgap.benchmarks.models.selection import Selection
    from maskgap.benchmarks.models.summary import by_type, render, total
    from maskgap.instances.models.load import load_model

    expect_free(options.out, options.resume)
    source = Source(options.extracted, data, options.propagate, options.held_out, limits.device)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        loaded = load_model(options.model, "cpu", options.trust, say=say)
        reports = prune_model(
            loaded,
            masks,
            options.out,
            Selection(options.layers, options.exclude),
            source=source,
            say=say,
            resume=options.resume,
        )
    except KeyboardInterrupt:
        if (options.out / JOURNAL).exists():
            say("maskgap: interrupted; the same command with --resume goes on with what is left")
        raise
    except Unsolved as error:
        print(f"maskgap: {error}; no checkpoint is written", file=sys.stderr)
        return 1
    if options.as_json:
        for line in (*(one.line() for one in reports), {"total": True, **total(reports)}):
            print(json.dumps(line, allow_nan=False))
        return 0
    print(by_type(reports), end="\n\n")
    print(render(reports))
    print(f"\nsaved and read back: {options.out}")
    return 0


def _expect_together(options: PruneOptions) -> None:
    """Raise InputError for options that do not go together."""
    masks, solver = options.masks, options.solver
    if (masks is None) == (solver is None):
        raise InputError("prune takes masks from --masks DIR or finds them by --solver NAME")
    if (solver is None) != (options.pattern is None):
        raise InputError("--solver and --pattern go together, and mask files have their pattern")
    if masks is not None and (options.propagate or options.assignments or options.patterns):
        raise InputError(
            "--propagate and --set are for --solver, as --pattern-for is; masks of files are found "
            "already"
        )
    if options.extracted is not None and options.data.calibration and not options.propagate:
        raise InputError("--extracted layers have their Grams, so they take no --calibration")
    if masks is not None and options.objective.checked() != MASK:
        raise InputError("--objective is for --solver; mask files have theirs, and their weights")


def _masks(options: PruneOptions, limits: RunLimits) -> "Masks":
    """Where masks come from. Raises InputError, Refused."""
    objective, settings = options.objective.checked(), parse_settings(options.assignments)
    from maskgap.benchmarks.models.masks import Solved, Stored

    if options.masks is not None:
        return Stored(options.masks)
    return Solved(
        options.solver or "",
        options.pattern or "",
        settings,
        limits,
        objective,
        [_pattern_for(text) for text in options.patterns],
    )


def _pattern_for(text: str) -> tuple[str, str]:
    """The glob and the pattern of `GLOB=PATTERN`. Raises InputError."""
    glob, equals, pattern = text.partition("=")
    if not equals or not glob or not pattern:
        raise InputError(f"--pattern-for {text[:60]}: expected GLOB=PATTERN, as *.down_proj=2:4")
    return glob, pattern
