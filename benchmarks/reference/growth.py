"""Bounds of wide rows: how much of the best error is proved, in what time, as rows grow.

    python -m maskgap.benchmarks.reference.growth DIRECTORY [LAYER=ROWS ...]

solves some rows of layers of 384 to 4096 columns with each bound, every case in a process of its
own, and writes what it says (`growth.jsonl`, a line a case) and a table into the directory; a case
that is there is not run again. LAYER is anything that `maskgap solve` takes, beside a shipped layer
and synthetic ones with outlier features. The best error is that of `search` within SEARCH_S seconds
a row.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

from maskgap.benchmarks.reading.typeset import markdown, percent
from maskgap.benchmarks.runs.environment import cores
from maskgap.instances.formats.files import write_layer
from maskgap.instances.sources.llm import parse_llm

SEARCH_S = 20.0
PATTERN = "50%"

SHIPPED = ("intermediate2-n384", 4)
SYNTHETIC = ((384, 4), (576, 4), (1024, 4), (1536, 4), (2048, 2), (4096, 2))


@dataclass(frozen=True, slots=True)
class Bound:
    """A solver with its settings. widest: columns up to which it is run."""

    name: str
    solver: str
    settings: tuple[str, ...]
    widest: int


BOUNDS = (
    Bound("shared shift", "shift-bound", (), 1 << 20),
    Bound("low rank", "lowrank-bound", (), 1 << 20),
    Bound("low rank, triangles", "lowrank-bound", ("triangle_rounds=12",), 2048),
    Bound("interior point", "sdp-bound", (), 1024),
    Bound("interior point, triangles", "sdp-bound", ("triangle_rounds=12",), 576),
)

LEGEND = (
    "proved: sum of the checked bounds over the sum of the best errors, those of `search` in "
    f"{SEARCH_S:g} s a row",
    "a row: seconds of the solver, and of the checker; peak: memory of the process that had the "
    "layer, the solver and the checker in it",
)


@contextmanager
def _layers(words: Sequence[str]) -> Iterator[list[tuple[str, str, int]]]:
    """(what it is called, what `solve` is given, rows) of each layer."""
    # layers are made apart, as a process is said to have held at least what its parent did
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, spawn) as apart:
        found = [(SHIPPED[0], *SHIPPED)]
        named = [word.rpartition("=") for word in words]
        found += [(Path(layer).stem, layer, int(rows)) for layer, _, rows in named]
        for n, rows in SYNTHETIC:
            path = Path(folder) / f"synthetic-{n}.safetensors"
            apart.submit(_write_synthetic, path, n).result()
            found.append((f"synthetic, {n} columns", str(path), rows))
        yield found


def _write_synthetic(path: Path, n: int) -> None:
    write_layer(path, parse_llm(f"llm:rows=16,n={n},seed=1").layer())


def _solve(layer: str, rows: int, solver: str, options: Sequence[str]) -> dict[str, Any]:
    """Sums over the rows of what `maskgap solve` says, with its peak memory."""
    command = [
        sys.executable, "-m", "maskgap", "solve", layer, "--pattern", PATTERN, "--rows",
        f"0:{rows}", "--solver", solver, "--threads", "1", "--json", *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [json.loads(line) for line in process.stdout]
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    own = [line for line in said if "row" in line]
    batched = solver in ("shift-bound", "lowrank-bound")
    spent = own[0]["solve_s"] + own[0]["build_s"] if batched else _sum(own, "solve_s", "build_s")
    return {
        "n": own[0]["n"],
        "objective": _sum(own, "objective") if own[0]["objective"] is not None else None,
        "bound": _sum(own, "bound") if own[0]["bound"] is not None else None,
        "checked": all(line["bound_kind"] == "checked" for line in own),
        "solve_s": spent / rows,
        "check_s": _sum(own, "check_s") / rows,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def _sum(lines: Sequence[dict[str, Any]], *names: str) -> float:
    return fsum(line[name] for line in lines for name in names)


def run_cases(directory: Path, words: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each layer and bound, each written when it is there, after those that are."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "growth.jsonl"
    held = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = [json.loads(line) for line in held]
    with _layers(words) as layers, path.open("a", encoding="utf-8") as file:
        for name, layer, rows in layers:
            own = {line["method"]: line for line in lines if line["layer"] == name}
            if own:
                known = next(iter(own.values()))
                n, best = known["n"], known["best"]
            else:
                found = _solve(layer, rows, "search", ("--time-limit", str(SEARCH_S)))
                n, best = found["n"], found["objective"]
            for bound in BOUNDS:
                if n <= bound.widest and bound.name not in own:
                    options = [word for one in bound.settings for word in ("--set", one)]
                    found = _solve(layer, rows, bound.solver, [*options, "--time-limit", "3600"])
                    case = {"layer": name, "rows": rows, "method": bound.name, "cores": cores()}
                    lines.append({**case, **found, "best": best})
                    print(json.dumps(lines[-1]), file=file, flush=True)
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The cases in Markdown."""
    shown = [
        {
            "layer": line["layer"],
            "rows": str(line["rows"]),
            "method": line["method"],
            "proved": percent(line["bound"] / line["best"]) if line["checked"] else "-",
            "a row (s)": f"{line['solve_s']:.2f} + {line['check_s']:.2f}",
            "peak (MiB)": f"{line['peak_mib']:.0f}",
        }
        for line in lines
    ]
    return "\n\n".join([markdown(shown), "\n".join(f"* {line}" for line in LEGEND)])


def main(directory: Path, words: Sequence[str] = (), *, fresh: bool = False) -> str:
    """Run the cases and return the table. fresh: those too that are there."""
    if fresh:
        (directory / "growth.jsonl").unlink(missing_ok=True)
    text = table(run_cases(directory, words))
    (directory / "growth.md").write_text(text + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2:]))
