"""Layer error against the quality of the pruned model.

    python -m maskgap.benchmarks.models.quality --out DIR

Two models are pruned by masks of several methods under several patterns, weights that stay are not
updated, and each pruned model is measured on held-out text (`benchmarks.models.evaluate`):

    small language model    trained here (`instances.models.small_lm`); all layers of its blocks
    all-MiniLM-L6-v2        the layers of its blocks with 384 inputs; those with 1536 would take a
                            search too long for a table of minutes

Each (model, pattern, method) is a line of `quality.csv`, written as it is done; a line that is
there under the same setup is not repeated. `quality.md` has the tables
(`benchmarks.models.quality_page`).
"""

import argparse
import copy
import hashlib
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum
from pathlib import Path

from maskgap.benchmarks.models.evaluate import Evaluation, HeldOut, held_out_data, measure
from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Report, Solved, ratio, report
from maskgap.benchmarks.models.quality_page import (
    DENSE,
    FIELDS,
    Row,
    Subject,
    key,
    read,
    render,
    text_of,
)
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.benchmarks.runs.environment import cores, solver_version
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.errors import MaskgapError
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.extract import extract_sites
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import MINILM, LoadedModel, load_model
from maskgap.instances.models.small_lm import STEPS, train
from maskgap.solvers.registry import spec_of

METHODS = ("magnitude", "wanda", "ria", "swap", "search")
PATTERNS = ("50%", "60%", "2:4")
LM = "small language model"
TABLE = "quality.csv"
PAGE = "quality.md"
WORK = Path("results/runs/quality")

Say = Callable[[str], None]


SUBJECTS = (
    Subject(LM, "transformer.h.*", 8, ("perplexity", "kl")),
    Subject(
        MINILM,
        "encoder.layer.*.attention.*,encoder.layer.*.intermediate.*",
        2,
        ("cosine", "spearman", "hidden_error"),
        ("cosine", "spearman"),
    ),
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done. samples: sequences of each half. steps: of training."""

    samples: int = 128
    sequence_length: int = 128
    steps: int = STEPS
    seed: int = 0


class Bench:
    """One dense model with its layers and data, loaded when a cell is missing."""

    def __init__(self, subject: Subject, amounts: Amounts, work: Path, say: Say) -> None:
        self._subject, self._amounts, self._work, self._say = subject, amounts, work, say

    @cached_property
    def dense(self) -> LoadedModel:
        """The dense model; the small language model is trained if it is not there."""
        if self._subject.name != LM:
            return load_model(self._subject.name)
        one = self._amounts
        folder = self._work / f"small-lm-{one.steps}-{one.seed}"
        if not folder.exists():
            self._say(f"training the small language model into {folder}")
            train(folder, one.steps, one.seed, self._say)
        return replace(load_model(str(folder)), name=LM)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, with Grams of both halves."""
        self._say(f"extracting {self._subject.layers} of {self._subject.name}")
        one = self._amounts
        data = load_calibration(self.dense, (), one.samples, one.sequence_length)
        module = self.dense.module
        sites = choose_linear(module, self._subject.layers, self.dense.absent, self._left_out)
        return list(extract_sites(module, sites, data.batches, held_out=data.held_out))

    @cached_property
    def held_out(self) -> HeldOut:
        """What to measure on."""
        one = self._amounts
        return held_out_data(self.dense, Sampling((), one.samples, one.sequence_length))

    def _left_out(self, name: str, reason: str) -> None:
        self._say(f"{name} is left out: {reason}")

    def cell(self, pattern: str, method: str) -> dict[str, str]:
        """Prune and measure. Raises InputError, Refused, Unsolved."""
        one, subject = self._amounts, self._subject
        reports: list[Report] = []
        pruned = replace(self.dense, module=copy.deepcopy(self.dense.module))
        if method != DENSE:
            settings = {"population": subject.population} if method == "search" else {}
            masks = Solved(method, pattern, settings, RunLimits(threads=cores(), seed=one.seed))
            sites = choose_linear(
                pruned.module, subject.layers, self.dense.absent, lambda name, reason: None
            )
            ledger = Ledger(pruned, sites)
            by_name = {site.name: site for site in sites}
            for layer in self.layers:
                begun = time.perf_counter()
                choice = masks.of(layer)
                reports.append(report(layer, choice, time.perf_counter() - begun))
                ledger.apply(by_name[layer.name], choice.mask, choice.weights)
        found = measure(pruned, self.dense, self.held_out)
        own = {
            "model": subject.name,
            "pattern": pattern,
            "method": method,
            "setup": setup(subject, method, one),
        }
        return _row(own, reports, found)


def setup(subject: Subject, method: str, amounts: Amounts) -> str:
    """A digest of what decides a cell besides its name: another one is made anew."""
    version = "" if method == DENSE else solver_version(spec_of(method))
    own = subject.population if method == "search" else None
    text = repr((subject.layers, own, amounts, version))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _row(cell: Mapping[str, str], reports: Sequence[Report], found: Evaluation) -> dict[str, str]:
    """A line of the table. cell: what names it."""
    error, energy = (fsum(getattr(r, n) for r in reports) for n in ("error", "energy"))
    weights = sum(r.d_out * r.d_in for r in reports)
    embedded = found.embeddings or {}
    values: dict[str, object] = {
        **cell,
        "layers": len(reports),
        "sparsity": sum(r.pruned for r in reports) / weights if weights else 0.0,
        "error": error,
        "relative_error": ratio(error, energy),
        "error_eval": fsum(r.error_eval or 0.0 for r in reports),
        "perplexity": found.perplexity,
        "kl": found.kl,
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


def run(
    out: Path,
    work: Path = WORK,
    *,
    amounts: Amounts | None = None,
    subjects: Sequence[Subject] = SUBJECTS,
    say: Say = lambda text: None,
    fresh: bool = False,
) -> str:
    """Make what is missing of the table in a folder, and return its page. Raises MaskgapError.

    fresh: make all of it anew.
    """
    amounts = amounts or Amounts()
    path = out / TABLE
    known = {} if fresh else {key(row): row for row in read(path)}
    wanted = [
        (subject, pattern, method)
        for subject in subjects
        for pattern, method in [("-", DENSE), *itertools.product(PATTERNS, METHODS)]
    ]
    rows: dict[tuple[str, str, str, str], Row] = {}
    for subject, pattern, method in wanted:
        cell = (subject.name, pattern, method, setup(subject, method, amounts))
        rows[cell] = known.get(cell, {})
    benches = {s.name: Bench(s, amounts, work, say) for s in subjects}
    begun = time.monotonic()
    for number, (cell, row) in enumerate(list(rows.items()), start=1):
        name, pattern, method, _ = cell
        if not row:
            rows[cell] = benches[name].cell(pattern, method)
            write_atomically(path, text_of([r for r in rows.values() if r]).encode())
        state = "known" if row else f"done, {time.monotonic() - begun:.0f} s"
        say(f"{number} of {len(wanted)}: {name}, {pattern}, {method}: {state}")
    page = render(list(rows.values()), subjects)
    write_atomically(out / PAGE, page.encode())
    return page


def main(words: Sequence[str] | None = None) -> None:
    """Make the table in the folder named on the command line, and print the page."""
    parser = argparse.ArgumentParser(
        prog="python -m maskgap.benchmarks.models.quality",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the trained model")
    parser.add_argument("--fresh", action="store_true", help="make every cell anew")
    chosen = parser.parse_args(words)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        print(run(chosen.out, chosen.work, say=say, fresh=chosen.fresh))
    except MaskgapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
