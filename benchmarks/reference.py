"""Regenerate results/reference and what the README shows of it: `make reference`.

The suites named here are run afresh, their tables and figures are written beside their records, the
README's table is replaced, and the manifest of the shipped layers gets the best objectives known.
It works on a checkout, not on an installed wheel.
"""

import sys
from pathlib import Path

from benchmarks.certify import cross_check
from benchmarks.commands.run import run
from benchmarks.plots import write_figures
from benchmarks.record import load_run
from benchmarks.tables import readme_table, write_tables
from instances.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"
SUITES = ("small",)
BEGIN, END = "<!-- reference:table -->", "<!-- reference:end -->"


def replace_block(text: str, block: str) -> str:
    """The text with what stands between the two marks replaced. Raises InputError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"README.md: the marks {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{after}"


def main() -> int:
    """0 when every suite ran without a crashed or wrong row."""
    worst = 0
    for name in SUITES:
        directory = REFERENCE / name
        worst = max(worst, run(name, None, None, None, "local", directory, True, False))
        for old in directory.glob("*.old.jsonl"):
            old.unlink()  # the history of this folder is kept by git
        write_tables(directory, "md")
        write_figures(directory, "png")
    readme = ROOT / "README.md"
    records = cross_check(load_run(REFERENCE / SUITES[0]))
    readme.write_text(replace_block(readme.read_text(), readme_table(records)))
    return worst


if __name__ == "__main__":
    sys.exit(main())
