"""Prune a model: layers with their Grams, a mask for each, and a checkpoint that holds them.

Layers come from calibration data that runs through the model, or from files that `maskgap extract`
wrote. Each mask is found or read when its layer is there, so that with `propagate` later layers see
the inputs of the model pruned so far; without, all masks are applied at the end.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskgap.benchmarks.models.checkpoint import save, try_save
from maskgap.benchmarks.models.course import Course, Say
from maskgap.benchmarks.models.journal import Journal, expect_free
from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Masks
from maskgap.benchmarks.models.reports import Report
from maskgap.benchmarks.models.sampling import DEFAULT_SAMPLING, Sampling
from maskgap.benchmarks.models.selection import Selection, Skip, chosen_sites
from maskgap.benchmarks.models.summary import page, total
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import (
    layer_path,
    read_layer,
    write_atomically,
)
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import Calibration, load_calibration
from maskgap.instances.models.devices import usable_device
from maskgap.instances.models.extract import extract_sites
from maskgap.instances.models.few_tokens import few_tokens_told
from maskgap.instances.models.linear import Site
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.pace import batches_told, cost
from maskgap.instances.models.passes import Running
from maskgap.instances.peak_memory import peak_bytes

MASKS = "masks"
SUMMARY, PAGE = "pruning.json", "pruning.md"
FORMAT = "maskgap-pruning/1"


@dataclass(frozen=True, eq=False)
class Source:
    """Where the layers' Grams come from.

    extracted: folder of layer files, or None: the data run through the model. propagate: inputs
    are those of the model pruned so far. held_out: errors on held-out inputs are told too. device:
    of torch, where blocks run one at a time.
    """

    extracted: Path | None = None
    data: Sampling = DEFAULT_SAMPLING
    propagate: bool = False
    held_out: bool = False
    device: str = "cpu"


def prune_model(
    loaded: LoadedModel,
    masks: Masks,
    out: Path,
    layers: str | Selection = "*",
    *,
    source: Source | None = None,
    say: Say = lambda text: None,
    resume: bool = False,
) -> list[Report]:
    """Prune a loaded model in place, save it to a folder and verify what was saved.

    Saving is tried with the dense model before any layer is run. The folder gets the checkpoint,
    the masks (`masks/`) as they are found, `pruning.json` and a page, `pruning.md`. resume: go on
    where an earlier call with the same arguments was killed (`benchmarks.models.journal`); begin,
    where there is nothing to go on with. Returns what pruning did to each layer. Raises InputError,
    Refused, Unsolved; then there is no checkpoint.
    """
    with closing(Journal(out, out / MASKS)) as journal:
        return _prune(
            loaded,
            masks,
            out,
            layers,
            source=source or Source(),
            say=say,
            resume=resume,
            journal=journal,
        )


def _prune(
    loaded: LoadedModel,
    masks: Masks,
    out: Path,
    layers: str | Selection,
    *,
    source: Source,
    say: Say,
    resume: bool,
    journal: Journal,
) -> list[Report]:
    expect_free(out, resume)
    begun = time.perf_counter()
    chosen = layers if isinstance(layers, Selection) else Selection(layers)
    left_out: dict[str, str] = {}

    def skip(name: str, reason: str) -> None:
        left_out[name] = reason
        say(f"{name} is left out: {reason}")

    sites = chosen_sites(loaded, masks, chosen, skip)
    if source.extracted is not None:
        sites = _with_files(sites, source, skip)
    ledger = Ledger(loaded, sites)
    data = None if source.extracted is not None else _calibration(loaded, source)
    asked = _asked(ledger, masks, source, data, model=loaded.name, sites=sites)
    if not journal.claim():
        say(f"trying whether {loaded.name} can be saved and read back")
        try_save(loaded, ledger, out)
    journal.open(asked)
    if journal.reports:
        say(f"going on: {len(journal.reports)} of {len(sites)} layers are done")
    course = Course(
        masks,
        journal,
        ledger,
        sites,
        folder=out / MASKS,
        at_once=source.propagate,
        device=source.device,
        say=say,
    )
    see = few_tokens_told(say)
    for layer in _layers(loaded, sites, source, data, course=course, scratch=out):
        see(layer)
        course.take(layer)
    if not course.reports:
        reason = f"none of the layers that match '{chosen.layers}' saw inputs it can be judged by"
        raise InputError(reason)
    course.finish()
    say(f"saving to {out} and reading it back")
    save(loaded, ledger, out)
    spent = f"{cost(time.perf_counter() - begun, peak_bytes())} without that of solvers"
    _write_summary(out, asked, course.reports, {**left_out, **journal.left_out}, spent)
    journal.finish()
    say(f"{len(course.reports)} layers in {spent}")
    return course.reports


def _asked(
    ledger: Ledger,
    masks: Masks,
    source: Source,
    data: Calibration | None,
    *,
    model: str,
    sites: Sequence[Site],
) -> dict[str, object]:
    """What decides the masks, of values that JSON has: who goes on must ask for the same."""
    return {
        "model": model,
        "layers": [site.name for site in sites],
        **masks.asked(),
        "propagate": source.propagate,
        "held_out": source.held_out,
        "extracted": None if source.extracted is None else str(source.extracted.resolve()),
        "data": None if data is None else data.meta,
        "weights": ledger.digest,
    }


def _write_summary(
    out: Path,
    asked: Mapping[str, object],
    reports: Sequence[Report],
    left_out: Mapping[str, str],
    spent: str,
) -> None:
    """What pruning did, for programs and for people. left_out: names, with reasons."""
    model = str(asked["model"])
    summary = {
        "format": FORMAT,
        "model": model,
        "layers": [one.line() for one in reports],
        "left_out": dict(left_out),
        "total": total(reports),
    }
    text = json.dumps(summary, indent=1, allow_nan=False)
    write_atomically(out / PAGE, page(model, asked, reports, left_out, spent).encode())
    write_atomically(out / SUMMARY, text.encode())


def _calibration(loaded: LoadedModel, source: Source) -> Calibration:
    wanted = source.data
    return load_calibration(loaded, wanted.calibration, wanted.samples, wanted.sequence_length)


def _layers(
    loaded: LoadedModel,
    sites: list[Site],
    source: Source,
    data: Calibration | None,
    *,
    course: Course,
    scratch: Path,
) -> Iterator[Layer]:
    """The layers with their Grams. scratch: folder for states that memory has no room for."""
    if data is None:
        return _stored(sites, source.extracted or Path(), source.held_out, course)
    return extract_sites(
        loaded.module,
        sites,
        data.batches,
        held_out=data.held_out if source.held_out else None,
        meta={"model": loaded.name, **data.meta},
        propagate=source.propagate,
        on_skip=course.skipped,
        progress=batches_told(course.say, course.pace),
        running=Running(usable_device(source.device), scratch, course.say, course.settled),
    )


def _with_files(sites: list[Site], source: Source, skip: Skip) -> list[Site]:
    """The layers that were extracted. Raises InputError when there are none."""
    folder = source.extracted or Path()
    if source.propagate:
        raise InputError("--propagate collects inputs anew, so it takes no --extracted layers")
    found = []
    for site in sites:
        path = layer_path(folder, site.name)
        if path.exists():
            found.append(site)
        else:
            skip(site.name, f"there is no {path}")
    if not found:
        raise InputError(f"{folder}: holds no layer file of this model (<layer>.safetensors)")
    return found


def _stored(sites: list[Site], folder: Path, held_out: bool, course: Course) -> Iterator[Layer]:
    """Layers from files, checked to hold the model's weights, and held-out Grams where asked."""
    for site in sites:
        path = layer_path(folder, site.name)
        layer = replace(read_layer(path), name=site.name)
        weight = site.matrix().cpu().double().numpy()
        if not np.array_equal(layer.weight, weight):
            raise InputError(
                f"{path}: its weights are not those of {site.name} in this model; extract again"
            )
        if held_out and layer.gram_eval is None:
            raise InputError(f"{path}: has no held-out Gram; extract again with --held-out")
        if course.settled([site]):
            course.expect_found_for(layer, path)
        else:
            yield layer
