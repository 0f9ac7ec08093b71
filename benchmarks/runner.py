"""Running a suite: plan the runs, skip those recorded, run the rest, append each as it ends.

The plan is a flat list of tasks in suite order. A run whose key is in the file is not repeated; a
crashed one only on request. Each run is certified and on disk before its slot is counted as done,
so a kill at any moment loses at most the runs under way. The file is locked while it is written.
A layer is made or read once, and large ones are shared with the runs (`benchmarks.sharing`).
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certify import Verdict, cross_check
from benchmarks.child import Outcome, Task, failed
from benchmarks.executor import Executor
from benchmarks.judge import keys_of, parts_of, records_of
from benchmarks.pool import Pool, memory_share
from benchmarks.record import RECORDS_FILE, Record, append_records, read_records
from benchmarks.sharing import share
from benchmarks.suite import Group, SolverEntry, Suite, load_instance
from instances.errors import InputError
from instances.layer import Layer
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers import registry
from solvers.base import Stop


@dataclass(frozen=True, eq=False)
class Planned:
    """A task with its place in the suite and the keys of its records.

    per_layer: whether it has one record for all its rows. missing: why the solver cannot run here,
    or does not take the pattern; None when it does.
    """

    task: Task
    group: str
    instance: str
    keys: list[str]
    per_layer: bool
    missing: str | None

    def records(self, outcome: Outcome, suite: str) -> list[Record]:
        """The records of an outcome."""
        return records_of(
            self.task, outcome, suite, self.group, self.instance, self.keys, self.per_layer
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: runs done of runs to do, and the record written last."""

    done: int
    total: int
    record: Record | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of a suite came to. records: all of the directory, cross-checked."""

    records: list[Record]
    interrupted: bool

    @property
    def faults(self) -> list[Record]:
        """Crashed or wrong rows: what makes a suite fail."""
        return [r for r in self.records if r.failed or r.verdict == Verdict.WRONG]


Settings = Callable[[SolverEntry], dict[str, object]]
"""All settings of a suite's entry, defaults included."""


def plan(
    suite: Suite,
    directory: Path,
    settings: Settings,
    solvers: list[str] | None = None,
    time_limit_s: float | None = None,
) -> list[Planned]:
    """All runs of a suite, in order. Raises InputError for anything it cannot mean."""
    planned = []
    layers: dict[str, Layer] = {}
    for group in suite.groups:
        entries = [entry for entry in group.solvers if solvers is None or entry.name in solvers]
        for instance in group.instances if entries else []:
            if instance not in layers:
                layers[instance] = share(load_instance(instance, suite, directory))
            layer = layers[instance]
            for pattern in group.patterns:
                problem = Problem.of(layer, parse_pattern(pattern), _rows(group, layer.d_out))
                for entry in entries:
                    spec = registry.spec_of(entry.name)
                    missing = spec.missing or spec.refusal(problem.pattern)
                    limit = time_limit_s or group.time_limit_s
                    seeds = group.seeds if spec.randomised else group.seeds[:1]
                    for part in [problem] if spec.batched else parts_of(problem):
                        for seed in seeds:
                            task = Task(
                                part,
                                entry.name,
                                settings(entry),
                                seed,
                                limit * len(part.rows),
                                group.gap,
                                group.threads,
                            )
                            per_layer = group.per == "layer"
                            keys = keys_of(task, per_layer)
                            planned.append(
                                Planned(task, group.name, instance, keys, per_layer, missing)
                            )
    if not planned:
        raise InputError(f"suite '{suite.name}' has no run left with solvers {solvers}")
    return planned


def _known(suite: Suite, solvers: list[str] | None) -> list[SolverEntry]:
    """The entries that run here, once each. Raises InputError for names and groups that cannot be.

    A group of sums over layers takes batched solvers only.
    """
    for name in solvers or []:
        registry.spec_of(name)
    found: list[SolverEntry] = []
    for group in suite.groups:
        for entry in group.solvers:
            spec = registry.spec_of(entry.name)
            if group.per == "layer" and not spec.batched:
                raise InputError(
                    f"suite '{suite.name}', group '{group.name}': per = \"layer\" needs solvers of "
                    f'all rows at once, and {entry.name} takes one row; use per = "row"'
                )
            if (
                spec.missing is None
                and (solvers is None or entry.name in solvers)
                and entry not in found
            ):
                found.append(entry)
    return found


def _rows(group: Group, d_out: int) -> range:
    return range(d_out) if group.rows is None else parse_rows(group.rows, d_out)


def parse_rows(text: str, d_out: int) -> range:
    """The half-open range 'A:B' of rows. Raises InputError."""
    first, colon, last = text.partition(":")
    try:
        rows = range(int(first or 0), int(last) if last else d_out)
    except ValueError:
        rows = range(0)
    if not colon or not 0 <= rows.start < rows.stop <= d_out:
        raise InputError(f"rows '{text}': write A:B with 0 <= A < B <= {d_out}")
    return rows


def run_suite(
    suite: Suite,
    directory: Path,
    solvers: list[str] | None = None,
    time_limit_s: float | None = None,
    jobs: int = 1,
    fresh: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    executor: Executor | None = None,
) -> Result:
    """Run what is not recorded yet and return all records of the directory, cross-checked.

    say: takes lines for people about what comes before the runs. executor: where the runs take
    place; None: in processes of this machine, `jobs` at a time. Raises InputError, also for bad
    input that only a solver can tell; the run that had it leaves no record.
    """
    entries = _known(suite, solvers)
    modules = {registry.spec_of(entry.name).target.partition(":")[0] for entry in entries}
    threads = max(group.threads for group in suite.groups)
    pool = executor or Pool(jobs, threads, memory_share(jobs))
    pool.preload(sorted(modules))
    told = pool.settings([(entry.name, entry.settings) for entry in entries])

    def settings(entry: SolverEntry) -> dict[str, object]:
        own = dict(sorted(entry.settings.items()))
        return told[entries.index(entry)] if entry in entries else own

    if suite.extract is not None:
        suite.extract.extract(directory, suite.directory, say)
    planned = plan(suite, directory, settings, solvers, time_limit_s)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / RECORDS_FILE
    with _locked(directory):
        done = _prepare(path, fresh)
        settled = {r.key for r in done.values() if not (retry_failed and r.failed)}
        todo = [p for p in planned if not settled.issuperset(p.keys)]
        count = 0
        progress(Progress(count, len(todo), None))

        def write(item: Planned, outcome: Outcome) -> None:
            nonlocal count
            records = item.records(outcome, suite.name)
            append_records(path, records)
            count += 1
            progress(Progress(count, len(todo), records[-1]))

        for item in (p for p in todo if p.missing is not None):
            write(item, failed(item.task, Stop.REFUSED, item.missing or ""))
        ready = [p for p in todo if p.missing is None]
        for index, outcome in pool.outcomes(p.task for p in ready):
            write(ready[index], outcome)
    records, _ = read_records(path)
    latest = list({record.key: record for record in records}.values())
    return Result(cross_check(latest), pool.interrupted)


def _prepare(path: Path, fresh: bool) -> dict[str, Record]:
    """Records to build on. A torn last line is cut; `fresh` sets an old file aside, never away."""
    if not path.exists():
        path.touch()
        return {}
    if fresh:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(path.stat().st_mtime))
        number = 0
        while (aside := path.with_name(f"records-{stamp}-{number}.old.jsonl")).exists():
            number += 1
        os.replace(path, aside)
        path.touch()
        return {}
    records, whole = read_records(path)
    os.truncate(path, whole)
    return {record.key: record for record in records}


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{directory}: another run is writing here; wait for it or choose another --out"
            ) from None
        yield
