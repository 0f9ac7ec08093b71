"""Bounds of whole shipped layers: how the certified gap falls with time.

    python -m maskgap.benchmarks.reference.bound_course DIRECTORY

runs `maskgap bound` on the shipped layers of 384 columns under each pattern and writes what it says
(`bound.jsonl`, a total line each), a table and a figure into the directory.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from maskgap.benchmarks.reading.figures.bound_course import falling_figure
from maskgap.benchmarks.reading.typeset import markdown, percent
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.verify.certificate import gap_of
from maskgap.instances.sources import shipped

LAYERS = ("value1-n384", "intermediate2-n384")
PATTERNS = ("50%", "2:4", "layer:50%")
SECONDS = 90.0
CHOSEN_TIMES = (10.0, 20.0, 40.0)

LEGEND = (
    "gap: (sum of the masks' errors - sum of the checked bounds) / the first: no legal mask of the "
    "layer can be better by more",
)


def run_cases(directory: Path) -> list[dict[str, Any]]:
    """The total line of each case, with its layer, pattern, seconds and threads."""
    lines = []
    for layer in LAYERS:
        for pattern in PATTERNS:
            command = [
                sys.executable, "-m", "maskgap", "bound", str(shipped.path(layer)),
                "--pattern", pattern, "--time-limit", str(SECONDS), "--json",
            ]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            total = json.loads(done.stdout.splitlines()[-1])
            case = {"layer": layer, "pattern": pattern, "seconds": SECONDS, "threads": cores()}
            lines.append({**case, **total})
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "bound.jsonl").write_text(text, encoding="utf-8")
    return lines


def table(lines: list[dict[str, Any]]) -> str:
    """The cases in Markdown: the gap after some times and at the end."""
    rows = [
        {
            "layer": line["layer"],
            "rows": str(line["rows"]),
            "pattern": line["pattern"],
            **{f"{s:.0f} s": percent(_gap_at(line["trace"], s)) for s in CHOSEN_TIMES},
            f"{line['seconds']:.0f} s": percent(line["gap"]),
            "bound": line["bound_kind"],
        }
        for line in lines
    ]
    return "\n\n".join([markdown(rows), "\n".join(f"* {line}" for line in LEGEND)])


def _gap_at(trace: list[tuple[float, float | None, float]], seconds: float) -> float:
    gaps = [gap_of(objective, bound) for s, objective, bound in trace if s <= seconds]
    return next((gap for gap in reversed(gaps) if gap is not None), 1.0)


def main(directory: Path) -> str:
    """Run the cases, draw them, and return the table."""
    lines = run_cases(directory)
    curves = {f"{line['layer']}, {line['pattern']}": line["trace"] for line in lines}
    falling_figure(curves).savefig(directory / "falling.png", dpi=130, metadata={"Software": None})
    text = table(lines)
    (directory / "bound.md").write_text(text + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
