"""`maskgap prune`: masks for the layers of a model, and a checkpoint that holds them, verified."""

import json
import sys
from pathlib import Path

from maskgap.benchmarks.commands.numbers import check_amounts, check_numbers
from maskgap.benchmarks.commands.solve import parse_settings
from maskgap.instances.errors import InputError


def run(
    model: str,
    out: Path,
    masks: Path | None,
    solver: str | None,
    pattern: str | None,
    layers: str,
    extracted: Path | None,
    calibration: list[Path],
    samples: int,
    sequence_length: int,
    propagate: bool,
    time_limit: float,
    assignments: list[str],
    seed: int,
    threads: int | None,
    device: str,
    trust: bool,
    as_json: bool,
) -> int:
    """Print a table, or a JSON object a layer and one for the total.

    0, or 1 when a row ended without a mask. Raises InputError, Refused.
    """
    check_numbers(time_limit, 0.0, seed, threads)
    check_amounts(samples, sequence_length)
    if (masks is None) == (solver is None):
        raise InputError("prune takes masks from --masks DIR or finds them by --solver NAME")
    if (solver is None) != (pattern is None):
        raise InputError("--solver and --pattern go together, and mask files have their pattern")
    if masks is not None and (propagate or assignments):
        raise InputError("--propagate and --set are for --solver; masks of files are found already")
    settings = parse_settings(assignments)
    from maskgap.benchmarks.models.masks import Masks, Solved, Stored, Unsolved

    source_of_masks: Masks
    if masks is not None:
        source_of_masks = Stored(masks)
    else:
        source_of_masks = Solved(
            solver or "", pattern or "", settings, time_limit, seed, threads, device
        )
    from maskgap.benchmarks.models.checkpoint import check_free
    from maskgap.benchmarks.models.prune import Source, prune_model, render, total
    from maskgap.instances.models.load import load_model

    check_free(out)
    source = Source(extracted, calibration, samples, sequence_length, propagate)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        reports = prune_model(
            load_model(model, device, trust), source_of_masks, out, layers, source, say
        )  # fmt: skip
    except Unsolved as error:
        print(f"maskgap: {error}; no checkpoint is written", file=sys.stderr)
        return 1
    if as_json:
        for line in (*(one.line() for one in reports), {"total": True, **total(reports)}):
            print(json.dumps(line, allow_nan=False))
        return 0
    print(render(reports))
    print(f"\nsaved and read back: {out}")
    return 0
