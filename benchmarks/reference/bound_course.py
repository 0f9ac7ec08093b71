"""Bounds of whole layers: how the certified gap falls with time.

    python -m maskgap.benchmarks.reference.bound_course DIRECTORY [LAYER PATTERN SECONDS[:GAP] ...]

runs `maskgap bound` on the shipped layers of 384 columns under each pattern and writes what it says
(`bound.jsonl`, a total line each), a table and a figure into the directory. LAYER is a file, or
LAYER+N one of which N rows are sampled; a case ends before its SECONDS when the total gap is GAP.
Such cases go into `named.jsonl`, each when it is done, and are shown in a table of their own; one
that is there is not run again. They are run alone then.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from maskgap.benchmarks.commands.entry import enter
from maskgap.benchmarks.reading.figures.bound_course import falling_figure
from maskgap.benchmarks.reading.typeset import markdown, percent
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.verify.certificate import gap_of
from maskgap.instances.errors import InputError
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.sources import shipped

LAYERS = ("value1-n384", "intermediate2-n384")
PATTERNS = ("50%", "2:4", "layer:50%")
SECONDS = 90.0
CHOSEN_TIMES = (10.0, 20.0, 40.0)

NAMED_TIMES = (20.0, 60.0, 300.0, 600.0)

LEGEND = (
    "gap: (sum of the masks' errors - sum of the checked bounds) / the first: no legal mask of the "
    "layer can be better by more",
)

SAMPLED_LEGEND = "of a sample: the gap that it estimates, with its interval of confidence 0.95"


@dataclass(frozen=True, slots=True)
class Case:
    """What `maskgap bound` is asked. layer: what it takes; LAYER+N for a sample of N rows.

    total_gap: at which it ends; None for no such end.
    """

    layer: str
    pattern: str
    seconds: float
    total_gap: float | None = None

    @staticmethod
    def of(layer: str, pattern: str, seconds: str) -> "Case":
        """A case that can be run. Raises InputError for one that cannot."""
        path, plus, sample = layer.partition("+")
        if plus and not (sample.isascii() and sample.isdecimal() and int(sample) > 0):
            raise InputError(f"{layer}: expected a number of rows after the +, 1 or more")
        shipped.find(Path(path))
        parse_pattern(pattern)
        first, colon, last = seconds.partition(":")
        try:
            limit_s, gap = float(first), float(last) if colon else None
        except ValueError:
            limit_s, gap = 0.0, None
        if not (0.0 < limit_s < inf and (gap is None or 0.0 <= gap < 1.0)):
            raise InputError(
                f"{layer} {pattern}: expected seconds above 0, maybe with :GAP, found '{seconds}'"
            )
        return Case(layer, pattern, limit_s, gap)

    @property
    def name(self) -> str:
        """What its layer is called by."""
        return Path(self.layer).name.replace(".safetensors", "")

    def run(self) -> dict[str, Any]:
        """The total line, with layer, pattern, seconds, gap asked for and threads.

        Raises InputError where the command fails, which has said why.
        """
        path, _, sample = self.layer.partition("+")
        command = [
            sys.executable, "-m", "maskgap", "bound", path, "--pattern", self.pattern,
            "--time-limit", str(self.seconds), "--json", *(("--sample", sample) if sample else ()),
            *(() if self.total_gap is None else ("--total-gap", str(self.total_gap))),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise InputError(f"{self.layer} {self.pattern}: bound ended with {done.returncode}")
        total = json.loads(done.stdout.splitlines()[-1])
        return {
            "layer": self.name,
            "pattern": self.pattern,
            "seconds": self.seconds,
            "total_gap": self.total_gap,
            "threads": cores(),
            **total,
        }


def cases_of(words: Sequence[str]) -> list[Case]:
    """LAYER PATTERN SECONDS[:GAP] of each. Raises InputError for words that are no cases."""
    if len(words) % 3:
        raise InputError(
            f"expected LAYER PATTERN SECONDS[:GAP] of each case, found '{' '.join(words)}'"
        )
    return [Case.of(*words[first : first + 3]) for first in range(0, len(words), 3)]


def run_shipped(directory: Path) -> list[dict[str, Any]]:
    """The cases of the shipped layers."""
    lines = [
        Case(str(shipped.path(layer)), pattern, SECONDS).run()
        for layer in LAYERS
        for pattern in PATTERNS
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "bound.jsonl").write_text(text, encoding="utf-8")
    return lines


def run_named(directory: Path, cases: Sequence[Case]) -> None:
    """Cases of layers that are named, after those that are there."""
    known = {(c["layer"], c["pattern"], c["seconds"]) for c in named(directory)}
    for case in cases:
        if (case.name, case.pattern, case.seconds) not in known:
            line = case.run()
            with (directory / "named.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def named(directory: Path) -> list[dict[str, Any]]:
    """The cases of named layers that are there."""
    path = directory / "named.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def table(lines: list[dict[str, Any]], times: Sequence[float] = CHOSEN_TIMES) -> str:
    """The cases in Markdown: the gap after some times and at the end."""
    sampled = any("estimate" in line for line in lines)
    legend = (*LEGEND, SAMPLED_LEGEND) if sampled else LEGEND
    rows = [
        {
            "layer": line["layer"],
            "rows": str(line["rows"]),
            "pattern": line["pattern"],
            **{f"{s:.0f} s": cell for s, cell in zip(times, _cells(line, times), strict=True)},
            "end": f"{_last(line)} ({_ended(line):.0f} s)",
            "bound": line["bound_kind"],
        }
        for line in lines
    ]
    return "\n\n".join([markdown(rows), "\n".join(f"* {line}" for line in legend)])


def _cells(line: dict[str, Any], times: Sequence[float]) -> Iterator[str]:
    """The gap after each time that lies within the run and that a course can tell."""
    for seconds in times:
        told = seconds < _ended(line) and "estimate" not in line
        yield percent(_gap_at(line["trace"], seconds)) if told else "-"


def _ended(line: dict[str, Any]) -> float:
    """Seconds after which a case came to its end."""
    if line.get("total_gap") is None:
        return float(line["seconds"])
    return float(line["trace"][-1][0])


def _last(line: dict[str, Any]) -> str:
    if "estimate" not in line:
        return percent(line["gap"])
    if line["estimate"] is None:
        return "-"
    ends = f"{percent(line['low'])} to {percent(line['high'])}"
    return f"{percent(line['estimate'])}, {ends}, of {line['rows_sampled']} rows"


def _gap_at(trace: list[tuple[float, float | None, float]], seconds: float) -> float:
    gaps = [gap_of(objective, bound) for s, objective, bound in trace if s <= seconds]
    return next((gap for gap in reversed(gaps) if gap is not None), 1.0)


def main(directory: Path, words: Sequence[str] = ()) -> str:
    """Run the cases, draw those of shipped layers, and return the tables.

    Raises InputError for words that are no cases, before any is run.
    """
    cases = cases_of(words)
    directory.mkdir(parents=True, exist_ok=True)
    run_named(directory, cases)
    texts = []
    if not words:
        lines = run_shipped(directory)
        curves = {f"{line['layer']}, {line['pattern']}": line["trace"] for line in lines}
        figure = falling_figure(curves)
        figure.savefig(directory / "falling.png", dpi=130, metadata={"Software": None})
        texts.append(table(lines) + "\n")
        (directory / "bound.md").write_text(texts[-1], encoding="utf-8")
    if others := named(directory):
        texts.append(table(others, NAMED_TIMES) + "\n")
        (directory / "named.md").write_text(texts[-1], encoding="utf-8")
    return "\n".join(texts)


def _command(words: Sequence[str]) -> None:
    if words[0].startswith("-"):
        raise InputError(
            f"expected DIRECTORY [LAYER PATTERN SECONDS[:GAP] ...], found '{words[0]}'"
        )
    print(main(Path(words[0]), words[1:]))


if __name__ == "__main__":
    enter(_command)
