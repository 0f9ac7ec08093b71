"""Running a suite: plan the runs, skip those recorded, run the rest, append each as it ends.

A run whose key is in the file is not repeated when it ended by itself: a crashed one only on
request, but one that was interrupted, had too little memory or was judged by another version of the
checker is run again. Each run is certified and on
disk before its slot is counted as done, so a kill at any moment loses at most the runs under way.
The file is locked while it is written, and an answer that cannot be judged is one rejected row.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.lock import locked
from maskgap.benchmarks.runs.planning import Planned, Settings, SuiteRun, chosen_entries, plan
from maskgap.benchmarks.runs.pool import Pool, memory_share
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import RECORDS_FILE, append_records, prepared, read_records
from maskgap.benchmarks.runs.task import KnownSettings, Outcome, failed, wanted_of
from maskgap.benchmarks.suites.plan import PLAN_FILE, suite_digest, write_plan
from maskgap.benchmarks.suites.suite import SolverEntry, Suite
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.errors import InputError
from maskgap.instances.formats.inside import inside
from maskgap.instances.formats.outputs import try_directory
from maskgap.instances.objective import ObjectiveName
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop


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


AS_PLANNED = SuiteRun()


def run_suite(
    suite: Suite,
    directory: Path,
    how: SuiteRun = AS_PLANNED,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    executor: Executor | None = None,
) -> Result:
    """Run what is not recorded yet and return all that the suite plans, cross-checked.

    say: takes lines for people about what comes before the runs. executor: where the runs take
    place; None: in processes of this machine. Raises InputError, also for bad input that only a
    solver can tell; the run that had it leaves no record.
    """
    _possible(directory)
    pool = executor or _processes(suite, how.jobs)
    settings = _settings(suite, how.solvers, pool)
    if suite.extract is not None:
        suite.extract.extract(directory, suite.directory, say)
    planned = plan(suite, directory, settings, how)
    try_directory(directory)
    path = inside(directory, RECORDS_FILE)
    keys: dict[str, list[str]] = {}
    for item in planned:
        keys.setdefault(item.task.solver, []).extend(item.keys)
    digest = suite_digest(suite, how.time_limit_s)
    with locked(directory, "wait for it or choose another --out"):
        done = prepared(path, how.fresh)
        inside(directory, PLAN_FILE)
        wanted = write_plan(directory, digest, keys, whole=how.solvers is None)
        settled = _settled(done, how.retry_failed)
        todo = [p for p in planned if not settled.issuperset(p.keys)]
        count = 0
        progress(Progress(count, len(todo), None))

        def write(item: Planned, outcome: Outcome) -> None:
            nonlocal count
            records = item.records(outcome)
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
    suite: Suite, directory: Path, how: SuiteRun = AS_PLANNED
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
    settings = _settings(suite, how.solvers, _processes(suite, 1))
    planned = plan(suite, directory, settings, how)
    path = directory / RECORDS_FILE
    done = {r.key: r for r in read_records(path)[0]} if path.exists() else {}
    settled = _settled(done, how.retry_failed)
    return [(item, settled.issuperset(item.keys)) for item in planned]


def _processes(suite: Suite, jobs: int) -> Pool:
    """Processes of this machine, `jobs` at a time."""
    return Pool(jobs, max(group.threads for group in suite.groups), memory_share(jobs))


def _settings(suite: Suite, solvers: Sequence[str] | None, pool: Executor) -> Settings:
    """All settings of the suite's entries, told by where they run. Raises InputError."""
    entries = chosen_entries(suite, solvers)
    modules = {registry.spec_of(entry.name).target.partition(":")[0] for entry in entries}
    pool.preload(sorted(modules))
    asked = [(entry, name) for entry in entries for name in _objectives(suite, entry)]
    told = pool.settings([wanted_of(e.name, e.settings, name) for e, name in asked])
    told_of = [entry for entry, _ in asked]

    def settings(entry: SolverEntry) -> KnownSettings:
        if entry in told_of:
            return told[told_of.index(entry)]
        return KnownSettings(entry.settings, None)  # it cannot be asked here

    return settings


def _objectives(suite: Suite, entry: SolverEntry) -> list[ObjectiveName]:
    """What the groups that have an entry minimise."""
    return sorted({group.minimised.name for group in suite.groups if entry in group.solvers})


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
