"""Regenerate results/reference, its page, and what the README shows of it: `make reference`.

The suites named here are run afresh, their tables and figures are written beside their records,
what results/reference/README.md shows of them is replaced, in the README too where it shows one,
and better masks go into the manifest of the shipped layers. Some of them alone may be named as
arguments (`python -m maskgap.benchmarks.reference coupled`), or directories of other runs, of which
only the masks are taken into the manifest. It works on a checkout, not on an installed wheel.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from maskgap.benchmarks.commands.run import RunOptions, run
from maskgap.benchmarks.models import quality
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.run_directory import read_run
from maskgap.benchmarks.reading.tables.ablation import render_ablations
from maskgap.benchmarks.reading.tables.coupled import render_coupled
from maskgap.benchmarks.reading.tables.gaps import render_gaps, render_short
from maskgap.benchmarks.reading.tables.layers import render_summed
from maskgap.benchmarks.reading.tables.summary import origin, page_table, write_tables
from maskgap.benchmarks.reference import bound_course, growth
from maskgap.benchmarks.reference.published import sweep as published
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.errors import InputError
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.sources import shipped
from maskgap.instances.sources.best_known import Found, record_best

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
PAGE = REFERENCE / "README.md"
SUITES = (
    "small", "gaps", "refit", "sparsegpt", "gaps-refit", "block", "block-refit", "ablation",
    "coupled", "llm-real",
)  # fmt: skip

IN_README = "gaps"
"""The marks of the README's table."""

OF_README = ("gaps", "gaps-refit")
"""The suites whose records it sums up."""

MEASURED: dict[str, Callable[[Path], str]] = {
    "bound": bound_course.main,
    "growth": lambda directory: growth.main(directory, fresh=True),
    "published": published.main,
    "quality": lambda directory: quality.run(directory, quality.WORK, say=print, fresh=True),
    "llm": lambda directory: quality.run(
        directory,
        quality.WORK,
        amounts=quality.LLM_AMOUNTS,
        subjects=quality.LLM_SUBJECTS,
        say=print,
    ),
}
"""What is no suite: each writes into its directory and returns what the page shows."""

NAMES = (*SUITES, *MEASURED)
"""All that has a place in the page."""


def marks(name: str) -> tuple[str, str]:
    """Between which marks a document shows what came of a suite, or of what else is measured."""
    return f"<!-- reference:{name} -->", f"<!-- reference:{name}:end -->"


def replace_block(path: Path, name: str, block: str) -> None:
    """Replace what stands in a document between the marks of a name.

    Raises InputError without them.
    """
    first, last = marks(name)
    before, begin, rest = path.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise InputError(f"{path}: the marks {first} and {last} are missing")
    path.write_text(f"{before}{begin}\n\n{block.strip()}\n\n{end}{after}", encoding="utf-8")


def page_block(suite: str, records: Sequence[Record]) -> str:
    """What a document shows of the cross-checked records of a suite."""
    if suite == "ablation":
        return f"{render_ablations(records, 'md')}\n\n{origin(records)}"
    if suite in (*OF_README, "llm-real"):
        return f"{render_gaps(records)}\n\n{origin(records)}"
    if suite == "coupled":
        return f"{render_coupled(records)}\n\n{origin(records)}"
    if suite in ("block", "block-refit"):
        return f"{render_summed(records)}\n\n{origin(records)}"
    return page_table(records)


def _show(name: str, block: str) -> None:
    """Put what came of a suite where the documents show it."""
    replace_block(PAGE, name, block)
    if name in OF_README:
        read = [read_run(REFERENCE / suite).records for suite in OF_README]
        short = render_short([record for records in read for record in records])
        origins = "\n\n".join(origin(records) for records in read)
        replace_block(ROOT / "README.md", IN_README, f"{short}\n\n{origins}")


def note_best(records: Sequence[Record], directory: Path) -> int:
    """Take the masks of cross-checked records on shipped layers into the manifest of a folder.

    Those of objective mask alone, which is the manifest's. Returns the number of entries that
    changed. Only a checked bound makes an entry proved.
    """
    names = set(shipped.names())
    found = [
        Found(
            record.instance,
            record.row,
            record.pattern,
            tuple(record.pruned),
            record.solver,
            record.solver if record.verdict == Verdict.PROVED else None,
        )
        for record in records
        if record.pruned is not None
        and not record.refits
        and record.instance in names
        and record.verdict != Verdict.WRONG
        and parse_pattern(record.pattern).equal_rows  # the manifest has no others
    ]
    return record_best(directory, found)


def main(words: Sequence[str]) -> int:
    """0 when every suite ran without a crashed or wrong row."""
    chosen = [word for word in words if word in NAMES]
    for other in (word for word in words if word not in NAMES):
        changed = note_best(read_run(Path(other)).records, shipped.folder())
        print(f"{other}: {changed} entries of the manifest changed")
    if words and not chosen:
        return 0
    worst = 0
    for name in chosen or NAMES:
        directory = REFERENCE / name
        if name in MEASURED:
            block = MEASURED[name](directory)
            _show(name, block)
            continue
        worst = max(worst, run(RunOptions(name, out=directory, fresh=True)))
        for old in directory.glob("*.old.jsonl"):
            old.unlink()  # the history of this folder is kept by git
        reading = read_run(directory)
        write_tables(directory, "md", reading)
        write_figures(directory, "png", reading)
        records = reading.records
        note_best(records, shipped.folder())
        _show(name, page_block(name, records))
    return worst
