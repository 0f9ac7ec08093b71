"""Layer error against the quality of the pruned model.

    python -m maskgap.benchmarks.models.quality --out DIR [--set llm]

Models are pruned by masks of several methods under several patterns, with the weights that stay as
they are or re-optimised, all on the dense model's inputs, and each pruned model is measured on
held-out text (`benchmarks.models.evaluate`):

    small language model     trained here (`instances.models.small_lm`); all layers of its blocks
    all-MiniLM-L6-v2         the layers of its blocks with 384 inputs; those with 1536 would take a
                             search too long for a table of minutes
    SmolLM2-135M-Instruct    (set llm) all layers of its blocks, on English text: hours

Each (model, pattern, method) is a line of `quality.csv` and one for each layer of `layers.csv`,
written as it is done; a line that is there under the same setup is not repeated. Extracted layers
and masks are kept in the folder of work, so that a run that was cut off goes on with the layer it
was at. `quality.md` has the tables (`benchmarks.models.quality_page`).
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from maskgap.benchmarks.models.quality_bench import LM, Amounts, Bench, setup
from maskgap.benchmarks.models.quality_pace import CellPace
from maskgap.benchmarks.models.quality_page import (
    DENSE,
    LAYER_FIELDS,
    Key,
    Row,
    Subject,
    key,
    read,
    render,
    text_of,
)
from maskgap.instances.errors import InputError, MaskgapError
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.models.load import MINILM
from maskgap.instances.models.pace import clock

SMOLLM2 = "SmolLM2-135M-Instruct"
TABLE = "quality.csv"
LAYERS = "layers.csv"
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


LLM_METHODS = (
    "magnitude", "wanda", "swap", "sparsegpt", "ria", "wanda + refit", "sparsegpt + refit",
    "swap + refit", "alps + refit", "search", "search + refit",
)  # fmt: skip
"""Cheap ones first, so that a run that is cut off has said much."""

LLM_SUBJECTS = (
    Subject(
        SMOLLM2,
        "model.layers.*",
        4,
        ("perplexity", "kl", "agreement"),
        ("agreement",),
        LLM_METHODS,
        english=True,
        held_out=False,
    ),
)


LLM_AMOUNTS = Amounts(samples=32, sequence_length=512, evaluated=16)

SETS = {"small": (SUBJECTS, Amounts()), "llm": (LLM_SUBJECTS, LLM_AMOUNTS)}


def run(
    out: Path,
    work: Path = WORK,
    *,
    amounts: Amounts | None = None,
    subjects: Sequence[Subject] = SUBJECTS,
    say: Say = lambda text: None,
    fresh: bool = False,
    only: Callable[[str, str], bool] | None = None,
) -> str:
    """Make what is missing of the table in a folder, and return its page. Raises MaskgapError.

    fresh: make all of it anew. only: whether a cell, by pattern and method, is to be made if it is
    missing; None for all.
    """
    amounts = amounts or Amounts()
    rows, layers, pace = _known(out, subjects, amounts, fresh)
    benches = {s.name: Bench(s, amounts, work, say) for s in subjects}
    missing = [cell for cell, row in rows.items() if not row]
    wanted = [cell for cell in missing if only is None or only(cell[1], cell[2])]
    say(f"{len(rows) - len(missing)} of {len(rows)} cells are known; {pace.told(wanted)}")
    for number, cell in enumerate(wanted, start=1):
        name, pattern, method, _ = cell
        begun = time.perf_counter()
        rows[cell], own = benches[name].cell(pattern, method)
        layers[cell] = list(own)
        done = [layer for each in layers.values() for layer in each]
        write_atomically(out / LAYERS, text_of(done, LAYER_FIELDS).encode())
        write_atomically(out / TABLE, text_of([r for r in rows.values() if r]).encode())
        seconds = time.perf_counter() - begun
        pace.took(rows[cell], seconds)
        say(
            f"cell {number} of {len(wanted)}: {name}, {pattern}, {method}: {clock(seconds)}; "
            f"{pace.told(wanted[number:])}"
        )
    made = [row for row in rows.values() if row]
    page = render(made, subjects, [layer for each in layers.values() for layer in each])
    write_atomically(out / PAGE, page.encode())
    return page


def _known(
    out: Path, subjects: Sequence[Subject], amounts: Amounts, fresh: bool
) -> tuple[dict[Key, Row], dict[Key, list[Row]], CellPace]:
    """All cells with their lines, empty where they are missing, those of their layers, the pace."""
    there = read(out / TABLE)
    known = {} if fresh else {key(row): row for row in there}
    known_layers: dict[Key, list[Row]] = {}
    for layer in () if fresh else read(out / LAYERS, LAYER_FIELDS):
        known_layers.setdefault(key(layer), []).append(layer)
    rows: dict[Key, Row] = {}
    for subject in subjects:
        pairs = itertools.product(subject.patterns, subject.methods)
        for pattern, method in [("-", DENSE), *pairs]:
            cell = (subject.name, pattern, method, setup(subject, method, amounts))
            rows[cell] = known.get(cell, {})
    return rows, {cell: known_layers.get(cell, []) for cell in rows}, CellPace(there)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m maskgap.benchmarks.models.quality",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the trained model")
    parser.add_argument("--fresh", action="store_true", help="make every cell anew")
    parser.add_argument("--set", choices=SETS, default="small", help="which models")
    parser.add_argument("--layers", help="globs of the layers to prune, instead of all of a set's")
    parser.add_argument("--samples", type=int, help="sequences to calibrate with")
    parser.add_argument("--evaluated", type=int, help="sequences to measure on")
    parser.add_argument("--patterns", help="those of the cells to make, separated by commas")
    parser.add_argument("--methods", help="those of the cells to make, separated by commas")
    return parser


def _some(option: str, words: str | None, known: Iterable[str]) -> list[str]:
    """The words of an option, all that are known where it is absent. Raises InputError."""
    every = list(dict.fromkeys(known))
    found = every if words is None else [word.strip() for word in words.split(",")]
    for word in found:
        if word not in every:
            raise InputError(f"{option} '{word:.60}': expected some of {', '.join(every)}")
    return found


def _expect_amount(option: str, given: int | None) -> None:
    if given is not None and given < 1:
        raise InputError(f"{option} {given}: expected a whole number, 1 or more")


def main(words: Sequence[str] | None = None) -> None:
    """Make the table in the folder named on the command line, and print the page."""
    chosen = _parser().parse_args(words)
    subjects, amounts = SETS[chosen.set]
    if chosen.layers is not None:
        subjects = tuple(replace(subject, layers=chosen.layers) for subject in subjects)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        patterns = _some("--patterns", chosen.patterns, (p for s in subjects for p in s.patterns))
        methods = _some("--methods", chosen.methods, (m for s in subjects for m in s.methods))
        _expect_amount("--samples", chosen.samples)
        _expect_amount("--evaluated", chosen.evaluated)
        amounts = replace(
            amounts,
            samples=chosen.samples or amounts.samples,
            evaluated=chosen.evaluated or amounts.evaluated,
        )
        page = run(
            chosen.out,
            chosen.work,
            amounts=amounts,
            subjects=subjects,
            say=say,
            fresh=chosen.fresh,
            only=lambda pattern, method: (
                method == DENSE or (pattern in patterns and method in methods)
            ),
        )
        print(page)
    except MaskgapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
