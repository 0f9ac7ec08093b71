"""Running a suite: plan the runs, skip those recorded, run the rest, append each as it ends.

The plan is a flat list of tasks in suite order. A run whose key is in the file is not repeated when
it ended by itself: a crashed one only on request, but one that was interrupted, had too little
memory or was judged by another version of the checker is run again. Each run is certified and on
disk before its slot is counted as done, so a kill at any moment loses at most the runs under way.
The file is locked while it is written, and an answer that cannot be judged is one rejected row.
A layer is made or read once, and large ones are shared with the runs (`benchmarks.runs.sharing`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskgap.benchmarks.runs.child import Outcome, Task, failed
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.judge import keys_of, parts_of, records_of
from maskgap.benchmarks.runs.lock import locked
from maskgap.benchmarks.runs.pool import Pool, memory_share
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import RECORDS_FILE, append_records, prepared, read_records
from maskgap.benchmarks.runs.rejection import records_or_rejection
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.suites.plan import PLAN_FILE, suite_digest, write_plan
from maskgap.benchmarks.suites.suite import Group, SolverEntry, Suite, load_instance
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.errors import InputError
from maskgap.instances.formats.inside import inside
from maskgap.instances.formats.outputs import try_directory
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.suggestions import did_you_mean
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop


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
        """The records of an outcome, whatever its answers hold."""

        def make(told: Outcome) -> list[Record]:
            return records_of(
                self.task, told, suite, self.group, self.instance, self.keys, self.per_layer
            )

        return records_or_rejection(self.task, outcome, make)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: runs done of runs to do, and the record written last."""

    done: int
    total: int
    record: Record | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of a suite came to.

    records: what the suite plans of what the directory has, cross-checked. signal_number: of the
    signal that ended it early, None when none did.
    """

    records: list[Record]
    signal_number: int | None = None

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
    have = dict.fromkeys(entry.name for group in suite.groups for entry in group.solvers)
    for name in solvers or []:
        if name not in have:
            raise InputError(
                f"suite '{suite.name}' has no solver '{name}'; it has {', '.join(have)}"
                f"{did_you_mean(name, have)}"
            )
    found: list[SolverEntry] = []
    for group in suite.groups:
        for entry in group.solvers:
            if solvers is not None and entry.name not in solvers:
                continue  # whose module may be one that the user did not name
            spec = registry.spec_of(entry.name)
            if group.per == "layer" and not spec.batched:
                raise InputError(
                    f"suite '{suite.name}', group '{group.name}': per = \"layer\" needs solvers of "
                    f'all rows at once, and {entry.name} takes one row; use per = "row"'
                )
            if spec.missing is None and entry not in found:
                found.append(entry)
    return found


def _rows(group: Group, d_out: int) -> range:
    return range(d_out) if group.rows is None else parse_rows(group.rows, d_out)


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
    """Run what is not recorded yet and return all that the suite plans, cross-checked.

    say: takes lines for people about what comes before the runs. executor: where the runs take
    place; None: in processes of this machine, `jobs` at a time. Raises InputError, also for bad
    input that only a solver can tell; the run that had it leaves no record.
    """
    _possible(directory)
    pool = executor or _processes(suite, jobs)
    settings = _settings(suite, solvers, pool)
    if suite.extract is not None:
        suite.extract.extract(directory, suite.directory, say)
    planned = plan(suite, directory, settings, solvers, time_limit_s)
    try_directory(directory)
    path = inside(directory, RECORDS_FILE)
    keys: dict[str, list[str]] = {}
    for item in planned:
        keys.setdefault(item.task.solver, []).extend(item.keys)
    digest = suite_digest(suite, time_limit_s)
    with locked(directory, "wait for it or choose another --out"):
        done = prepared(path, fresh)
        inside(directory, PLAN_FILE)
        wanted = write_plan(directory, digest, keys, whole=solvers is None)
        settled = _settled(done, retry_failed)
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
    told = [record for record in cross_check(latest) if record.key in wanted]
    return Result(told, pool.signal_number if pool.interrupted else None)


def dry_run(
    suite: Suite,
    directory: Path,
    solvers: list[str] | None = None,
    time_limit_s: float | None = None,
    retry_failed: bool = False,
) -> list[tuple[Planned, bool]]:
    """All runs of a suite, and whether each is recorded; nothing runs and nothing is written.

    Raises InputError, also for a suite whose layers are still to be extracted.
    """
    _possible(directory)
    if suite.extract is not None and not suite.extract.folder(directory, suite.directory).exists():
        raise InputError(
            f"suite '{suite.name}' extracts its layers when it is first run, and how many rows "
            "they have is not known before"
        )
    settings = _settings(suite, solvers, _processes(suite, 1))
    planned = plan(suite, directory, settings, solvers, time_limit_s)
    path = directory / RECORDS_FILE
    done = {r.key: r for r in read_records(path)[0]} if path.exists() else {}
    settled = _settled(done, retry_failed)
    return [(item, settled.issuperset(item.keys)) for item in planned]


def _processes(suite: Suite, jobs: int) -> Pool:
    """Processes of this machine, `jobs` at a time."""
    return Pool(jobs, max(group.threads for group in suite.groups), memory_share(jobs))


def _settings(suite: Suite, solvers: list[str] | None, pool: Executor) -> Settings:
    """All settings of the suite's entries, told by where they run. Raises InputError."""
    entries = _known(suite, solvers)
    modules = {registry.spec_of(entry.name).target.partition(":")[0] for entry in entries}
    pool.preload(sorted(modules))
    told = pool.settings([(entry.name, entry.settings) for entry in entries])

    def settings(entry: SolverEntry) -> dict[str, object]:
        own = dict(sorted(entry.settings.items()))
        return told[entries.index(entry)] if entry in entries else own

    return settings


def _settled(records: Mapping[str, Record], retry_failed: bool) -> set[str]:
    """The keys of the records that stand: their runs are not repeated."""
    return {key for key, r in records.items() if r.settled and not (retry_failed and r.failed)}


def _possible(directory: Path) -> None:
    """See, making nothing, that a directory can be made. Raises InputError."""
    try:
        directory.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # its parents are looked at
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{directory}: cannot be written: {reason}") from None
    there = next(
        path for path in (directory, *directory.absolute().parents) if os.path.exists(path)
    )
    if not there.is_dir():
        raise InputError(f"{there}: this is a file; give a directory as --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there}: cannot be written to; give another --out")
