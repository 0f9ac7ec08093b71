"""One dense model of `benchmarks.models.quality`: its layers, its masks, and what they are worth.

Layers and masks are kept in a folder of work, named by a digest of what decides them, and are taken
from there when they are needed again.
"""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum
from pathlib import Path

from maskgap.benchmarks.models.evaluate import Evaluation, HeldOut, held_out_data, measure
from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Choice, Solved, Stored
from maskgap.benchmarks.models.outputs import Ran
from maskgap.benchmarks.models.quality_page import DENSE, FIELDS, LAYER_FIELDS, REFIT, Subject
from maskgap.benchmarks.models.reports import Report, ratio, report
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.benchmarks.runs.environment import cores, solver_version
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.formats.files import (
    layer_path,
    read_layer,
    write_atomically,
    write_layer,
)
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.extract import extract_sites, work_of
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import LoadedModel, load_model
from maskgap.instances.models.pace import Pace, batches_told
from maskgap.instances.models.small_lm import STEPS, train
from maskgap.instances.objective import objective_spec
from maskgap.instances.sources.encyclopedia import write as write_encyclopedia
from maskgap.solvers.registry import spec_of

LM = "small language model"
TEXT = "encyclopedia.jsonl"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done. samples: sequences of each half. steps: of training.

    evaluated: sequences of the held-out half to measure on, None for as many as of the other.
    """

    samples: int = 128
    sequence_length: int = 128
    steps: int = STEPS
    seed: int = 0
    evaluated: int | None = None


class Bench:
    """One dense model with its layers and data, loaded when a cell is missing."""

    def __init__(self, subject: Subject, amounts: Amounts, work: Path, say: Say) -> None:
        self._subject, self._amounts, self._work, self._say = subject, amounts, work, say
        self._ran: Ran = {}

    @cached_property
    def dense(self) -> LoadedModel:
        """The dense model; the small language model is trained if it is not there."""
        if self._subject.name != LM:
            return load_model(self._subject.name, say=self._say)
        one = self._amounts
        folder = self._work / f"small-lm-{one.steps}-{one.seed}"
        if not folder.exists():
            self._say(f"training the small language model into {folder}")
            train(folder, one.steps, one.seed, self._say)
        return replace(load_model(str(folder)), name=LM)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The texts, none for the default."""
        if not self._subject.english:
            return ()
        path = self._work / TEXT
        if not path.exists():
            write_encyclopedia(path)
        return (path,)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, with Grams of both halves where both are wanted; kept in the work folder."""
        subject, one = self._subject, self._amounts
        module = self.dense.module
        sites = choose_linear(module, subject.layers, self.dense.absent, self._left_out)
        folder = self._work / f"layers-{setup(subject, DENSE, one)}"
        paths = [layer_path(folder, site.name) for site in sites]
        if not all(path.exists() for path in paths):
            self._say(f"extracting {subject.layers} of {subject.name} into {folder}")
            folder.mkdir(parents=True, exist_ok=True)
            data = load_calibration(self.dense, self.files, one.samples, one.sequence_length)
            held_out = data.held_out if subject.held_out else None
            work = work_of(sites)
            pace = Pace(sum(work.values()))
            progress = batches_told(self._say, pace)
            for layer in extract_sites(
                module, sites, data.batches, held_out=held_out, progress=progress
            ):
                write_layer(layer_path(folder, layer.name), layer)
                pace.done += work[layer.name]
        return [
            replace(read_layer(path), name=site.name)
            for path, site in zip(paths, sites, strict=True)
        ]

    @cached_property
    def held_out(self) -> HeldOut:
        """What to measure on."""
        one = self._amounts
        return held_out_data(
            self.dense, Sampling(self.files, one.evaluated or one.samples, one.sequence_length)
        )

    def _left_out(self, name: str, reason: str) -> None:
        self._say(f"{name} is left out: {reason}")

    def cell(self, pattern: str, method: str) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Prune and measure: the line of the model, those of its layers.

        Raises InputError, Refused, Unsolved.
        """
        subject = self._subject
        reports: list[Report] = []
        pruned = replace(self.dense, module=copy.deepcopy(self.dense.module))
        if method != DENSE:
            sites = choose_linear(
                pruned.module, subject.layers, self.dense.absent, lambda name, reason: None
            )
            ledger = Ledger(pruned, sites)
            by_name = {site.name: site for site in sites}
            pace = Pace(float(sum(site.d_out * site.d_in**2 for site in sites)))
            for number, (choice, told, kept) in enumerate(self._choices(pattern, method), start=1):
                reports.append(told)
                ledger.apply(by_name[told.layer], choice.mask, choice.weights)
                work = float(told.d_out * told.d_in**2)
                pace.done += work
                pace.before += work if kept else 0.0
                self._say(
                    f"{pattern}, {method}: {number} of {len(sites)}: {told.layer}: "
                    f"relative error {told.relative_error:.3%}, {told.seconds:.1f} s; {pace.told()}"
                )
        found = measure(pruned, self.dense, self.held_out, say=self._say, ran=self._ran)
        own = {
            "model": subject.name,
            "pattern": pattern,
            "method": method,
            "setup": setup(subject, method, self._amounts),
        }
        return _row(own, reports, found), [_layer_row(own, one) for one in reports]

    def _choices(self, pattern: str, method: str) -> Iterator[tuple[Choice, Report, bool]]:
        """The mask of each layer, and whether an earlier run left it in the work folder."""
        one, subject = self._amounts, self._subject
        name = method.removesuffix(REFIT)
        settings = {"population": subject.population} if name == "search" else {}
        limits = RunLimits(threads=cores(), seed=one.seed)
        objective = objective_spec("refit" if method.endswith(REFIT) else "mask")
        masks = Solved(name, pattern, settings, limits, objective)
        cell = f"{pattern}-{method}-{setup(subject, method, one)}"
        folder = self._work / "masks" / "".join(c if c.isalnum() else "-" for c in cell)
        times = folder / "seconds.json"
        seconds: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
        for layer in self.layers:
            kept = layer.name in seconds
            if kept:
                choice = Stored(folder).of(layer)
            else:
                begun = time.perf_counter()
                choice = masks.of(layer)
                seconds[layer.name] = time.perf_counter() - begun
                choice.write(folder, layer)
                write_atomically(times, json.dumps(seconds).encode())
            yield choice, report(layer, choice, seconds[layer.name]), kept


def setup(subject: Subject, method: str, amounts: Amounts) -> str:
    """A digest of what decides a cell beside pattern and method: another one is made anew.

    Layers and masks are kept under it, so it has the model's name.
    """
    name = method.removesuffix(REFIT)
    version = "" if method == DENSE else solver_version(spec_of(name))
    own = subject.population if name == "search" else None
    data = (subject.english, subject.held_out)
    text = repr((subject.name, subject.layers, own, amounts, version, data))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _row(cell: Mapping[str, str], reports: Sequence[Report], found: Evaluation) -> dict[str, str]:
    """A line of the table. cell: what names it."""
    error, energy = (fsum(getattr(r, n) for r in reports) for n in ("error", "energy"))
    weights = sum(r.d_out * r.d_in for r in reports)
    embedded = found.embeddings or {}
    held_out = [r.error_eval for r in reports if r.error_eval is not None]
    values: dict[str, object] = {
        **cell,
        "layers": len(reports),
        "sparsity": sum(r.pruned for r in reports) / weights if weights else 0.0,
        "error": error,
        "relative_error": ratio(error, energy),
        "error_eval": fsum(held_out) if len(held_out) == len(reports) else None,
        "perplexity": found.perplexity,
        "kl": found.kl,
        "agreement": found.agreement,
        "output_error": found.output_error,
        "hidden_error": found.hidden_error,
        **{name: embedded.get(name) for name in ("cosine", "pearson", "spearman")},
        "text": found.text,
        "sequences": found.sequences,
        "tokens": found.tokens,
        "predicted": found.predicted,
        "seconds": round(sum(r.seconds for r in reports), 3),
    }
    return {name: "" if values[name] is None else str(values[name]) for name in FIELDS}


def _layer_row(cell: Mapping[str, str], one: Report) -> dict[str, str]:
    """A line of the table of layers. cell: what names the model's."""
    values = {
        **cell,
        **{n: getattr(one, n) for n in ("layer", "d_out", "d_in", "error", "relative_error")},
        "seconds": round(one.seconds, 3),
    }
    return {name: str(values[name]) for name in LAYER_FIELDS}
