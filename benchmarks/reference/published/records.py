"""Records of runs on published instances: one line of JSON a run, appended when it ends.

A run that is recorded is not repeated; to make it again, take its line out of the file. A run that
outlives its limit by GRACE_S is ended, and recorded without a point. On a machine that others use a
run may be given `patience` times the limit in wall time; what it took is its processor time.
"""

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

from maskgap.benchmarks.reference.published.case import OWN, PEERS, PLAIN
from maskgap.instances.errors import InputError
from maskgap.instances.sources.published import own
from maskgap.instances.sources.published.make import FAMILIES
from maskgap.instances.sources.published.reported import reported

LIMIT_S = 60.0
GAP = 1e-6
GRACE_S = 120.0
"""Kernels may have to be compiled before the first run of a process."""

SEEDS = (1, 2, 3, 4, 5)
OWN_SIZES = (10, 20)
FEASIBLE = 1e-6
"""By how much a point may miss a row."""

EXACT = 1e-9
"""The same of a point that others are measured by: FEASIBLE is worth 1e-6 of some
objectives here."""

ROOTS = (
    ("sparse_reg", 1, "dimension=15"),
    ("sparse_reg", 1, "dimension=30"),
    ("sparse_reg", 2, "dimension=30"),
)
"""Cases whose first node is bounded without the perspective too."""

FILE = "runs.jsonl"


@dataclass(frozen=True, slots=True)
class Run:
    """A judged run. objective: +inf without a feasible point; bound: -inf without one.

    exact: its point is feasible to EXACT.
    """

    solver: str
    family: str
    seed: int
    size: str
    stop: str
    objective: float
    exact: bool
    bound: float
    root_bound: float | None
    calls: int
    seconds: float
    cpu_s: float

    @property
    def case(self) -> tuple[str, int, str]:
        """Family, seed and size."""
        return self.family, self.seed, self.size

    @property
    def gap(self) -> float:
        """(objective - bound) / |objective|, +inf where one is missing; 0 where they cross."""
        if self.objective == inf or self.bound == -inf:
            return inf
        missing = max(0.0, self.objective - self.bound)
        return missing / abs(self.objective) if missing else 0.0


def number(size: str) -> int:
    """The number in a size by which sizes of a family are in order."""
    return int(size.rpartition("=")[2])


def cases(family: str, largest: int | None = None) -> list[tuple[str, int, str]]:
    """All cases of a family, small ones first: the published ones, or OWN_SIZES of our own."""
    sizes = {row.size for row in reported() if row.family == family}
    if family in own.KINDS:
        sizes = {f"dimension={n}" for n in OWN_SIZES}
    kept = [size for size in sizes if largest is None or number(size) <= largest]
    return [(family, seed, size) for size in sorted(kept, key=number) for seed in SEEDS]


def solvers() -> list[str]:
    """Ourselves and the peers that are installed."""
    return [OWN, PLAIN, *(name for name, (package, _) in PEERS.items() if find_spec(package))]


def read_runs(directory: Path) -> list[Run]:
    """The records of a directory, refused runs left out; none where there is no file.

    Raises InputError for a line that is no record.
    """
    return [_run(line) for line in _lines(directory / FILE) if line["stop"] != "refused"]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for place, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            _key(line)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {place}: no record of a run; take it out") from error
        found.append(line)
    return found


def _key(line: dict[str, Any]) -> tuple[str, str, int, str]:
    return line["solver"], line["family"], line["seed"], line["size"]


def _run(line: dict[str, Any]) -> Run:
    feasible = line["objective"] is not None and line["violation"] <= FEASIBLE
    return Run(
        line["solver"], line["family"], line["seed"], line["size"], line["stop"],
        line["objective"] if feasible else inf, feasible and line["violation"] <= EXACT,
        -inf if line["claimed_bound"] is None else line["claimed_bound"],
        line["root_bound"], line["calls"], line["seconds"], line["cpu_s"],
    )  # fmt: skip


def sweep(
    directory: Path,
    wanted: Iterable[tuple[str, int, str]],
    names: Sequence[str],
    say: Callable[[str], None] = print,
    patience: float = 1.0,
) -> None:
    """Run what is not recorded yet, case by case, every solver on each.

    Raises InputError for a directory that cannot be made, or records that cannot be read.
    """
    path = directory / FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    done = {_key(line) for line in _lines(path)}
    worker = _Worker(LIMIT_S * patience)
    try:
        for case in wanted:
            for solver in names:
                if (solver, *case) in done or (solver == PLAIN and case not in ROOTS):
                    continue
                told = worker.ask(solver, case)
                with path.open("a", encoding="utf-8") as file:
                    print(json.dumps(told), file=file, flush=True)
                say(_line(told))
    finally:
        worker.end()


def _line(told: dict[str, Any]) -> str:
    return (
        f"{told['solver']:10} {told['family']} {told['size']} seed {told['seed']}: {told['stop']}, "
        f"{told.get('objective')} >= {told.get('claimed_bound')}, {told.get('seconds', 0.0):.1f} s"
    )


class _Worker:
    """A process that answers requests; a new one after one that had to be ended.

    limit: seconds of a run, wall.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None

    def ask(self, solver: str, case: tuple[str, int, str]) -> dict[str, Any]:
        """The answer to one request."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps([solver, *case, self._limit, GAP]), file=process.stdin, flush=True)
        ready, _, _ = select.select([process.stdout], [], [], self._limit + GRACE_S)
        line = process.stdout.readline() if ready else ""
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        self.end()
        family, seed, size = case
        return {
            "solver": solver, "family": family, "seed": seed, "size": size, "limit_s": self._limit,
            "objective": None, "violation": None, "claimed_bound": None, "root_bound": None,
            "nodes": 0, "calls": 0, "seconds": self._limit, "cpu_s": self._limit,
            "stop": "crashed" if ready else "killed",
        }  # fmt: skip

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "maskgap.benchmarks.reference.published.case"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        return self._process


def families(words: Sequence[str]) -> list[tuple[str, int, str]]:
    """Cases by words FAMILY or FAMILY=LARGEST; all of them without words. Raises InputError."""
    found = []
    for word in words or (*FAMILIES, *own.KINDS):
        family, _, largest = word.partition("=")
        if family not in (*FAMILIES, *own.KINDS) or not (largest.isdecimal() or word == family):
            known = ", ".join([*FAMILIES, *own.KINDS])
            raise InputError(f"'{word}': expected FAMILY or FAMILY=LARGEST; families are {known}")
        found += cases(family, int(largest) if largest else None)
    return found
