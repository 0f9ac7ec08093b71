"""`maskgap run`: a suite from plan to records, with progress and a closing account."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from maskgap.benchmarks.commands.screen import errors, say
from maskgap.benchmarks.reading.contest import absent_of
from maskgap.benchmarks.reading.labels import setting
from maskgap.benchmarks.reading.run_directory import visible_record
from maskgap.benchmarks.runs.chosen_executor import chosen_cluster
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.placement import Placement
from maskgap.benchmarks.runs.planning import Planned, SuiteRun
from maskgap.benchmarks.runs.record import UNSETTLED, VERDICTS, Record
from maskgap.benchmarks.runs.runner import Progress, Result, dry_run, run_suite
from maskgap.benchmarks.suites.names import suite_names
from maskgap.benchmarks.suites.suite import LONGEST_S, Suite, read_suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.printable import visible
from maskgap.instances.objective import MASK
from maskgap.instances.own_modules import admit

PLAIN_INTERVAL_S = 10.0

MOST_JOBS_A_CORE = 8


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `maskgap run` is told; absent options are None. suite: a name or a file.

    solvers: names, separated by commas. allow_code: whether code that the suite names may run.
    plan_only: list the runs, and do none.
    """

    suite: str
    solvers: str | None = None
    time_limit: float | None = None
    jobs: int | None = None
    executor: str = "local"
    scheduler: str | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
    allow_code: bool = False
    plan_only: bool = False
    as_json: bool = False


def run(options: RunOptions) -> int:
    """1 for crashed or wrong rows only; 128 + its number when a signal ended it.

    Raises InputError.
    """
    time_limit, jobs = options.time_limit, options.jobs
    if time_limit is not None and not (isfinite(time_limit) and 0 < time_limit <= LONGEST_S):
        raise InputError(
            f"--time-limit {time_limit:g}: expected seconds, more than 0 and at most {LONGEST_S:g}"
        )
    if jobs is not None and not 1 <= jobs <= MOST_JOBS_A_CORE * cores():
        raise InputError(
            f"--jobs {jobs}: expected a whole number from 1 to {MOST_JOBS_A_CORE * cores()}, "
            f"{MOST_JOBS_A_CORE} for each core of this machine"
        )
    suite = read_suite(options.suite)
    chosen = _names(options.solvers)
    _refuse_code(suite, options.suite, chosen, options.allow_code)
    directory = options.out or Path("results") / "runs" / suite.name
    threads = max(group.threads for group in suite.groups)
    at_once = jobs or max(1, cores() // threads)
    how = SuiteRun(chosen, time_limit, at_once, options.fresh, options.retry_failed)
    if options.plan_only:
        _tell_plan(dry_run(suite, directory, how), at_once, options.as_json)
        return 0
    placement = Placement(
        options.executor,
        options.scheduler,
        workers=at_once,
        threads=threads,
        jobs=at_once if options.scheduler is None else jobs,
        capped=True,
    )
    with (
        chosen_cluster(placement, say) as cluster,
        _reporting(suite.name) as report,
    ):
        result = run_suite(suite, directory, how, progress=report, say=say, executor=cluster)
    _account(result, directory, options.as_json)
    if result.signal_number is not None:
        return 128 + result.signal_number
    return 1 if result.faults else 0


def _names(solvers: str | None) -> list[str] | None:
    """The names of `--solvers`. Raises InputError where there is none."""
    if solvers is None:
        return None
    names = [name.strip() for name in solvers.split(",") if name.strip()]
    if not names:
        raise InputError(f"--solvers '{solvers}': expected names, separated by commas")
    return names


def _refuse_code(suite: Suite, name: str, chosen: list[str] | None, allow_code: bool) -> None:
    """Refuse code that a suite file names and the user does not. Raises InputError."""
    if allow_code:
        for code in suite.code:
            admit(code, Path.cwd())
    if allow_code or name in suite_names():
        return
    used = [code for code in suite.code if code not in (chosen or [])]
    if chosen is not None and suite.extract is None:
        used = []  # no solver of the suite runs that was not named by the user
    if used:
        raise InputError(
            f"{name}: names code that would run here: {', '.join(used)}; if you trust it, add "
            "--allow-code"
        )


@contextmanager
def _reporting(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = errors()
    if console.is_terminal:
        columns = (
            TextColumn(name, markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("", total=None)

            def draw(progress: Progress) -> None:
                record = progress.record
                last = "" if record is None else visible(f"{record.solver} {record.instance}")
                bar.update(task, completed=progress.done, total=progress.total, description=last)

            yield draw
        return
    said = 0.0

    def tell(progress: Progress) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PLAIN_INTERVAL_S or progress.done == progress.total:
            said = now
            say(f"{name}: {progress.done} of {progress.total} runs")

    yield tell


def _account(result: Result, directory: Path, as_json: bool) -> None:
    """What the suite came to: in a line on standard output, or in JSON its records and a total."""
    records = [visible_record(record) for record in result.records]
    verdicts = Counter(record.verdict for record in records)
    stops = Counter(record.stop for record in records)
    if as_json:
        for record in result.records:
            print(record.line(), end="")
        total = {
            "total": True,
            "directory": str(directory),
            "records": len(records),
            **{verdict: verdicts[verdict] for verdict in VERDICTS},
            "refused": stops["refused"],
            "crashed": stops["crashed"],
            "interrupted": result.signal_number is not None,
        }
        print(json.dumps(total, allow_nan=False))
    else:
        counts = ", ".join(f"{verdicts[v]} {v}" for v in VERDICTS if verdicts[v])
        print(
            f"{len(records)} rows recorded in {visible(str(directory))}: {counts} "
            f"({stops['refused']} refused)"
        )
    _tell_faults(result, records, directory)


def _tell_faults(result: Result, records: list[Record], directory: Path) -> None:
    for solver, how in absent_of(records).items():
        say(f"{solver} is not installed: {how}")
    for record in records:
        if record.failed or record.verdict == "wrong":
            what = "crashed" if record.failed else "wrong"
            seen = " (its traceback is in the records)" if record.traceback else ""
            say(
                f"{what}: {record.solver} on {record.instance} row {record.row} {record.pattern}: "
                f"{record.reason or record.exception}{seen}"
            )
    again = Counter(r.stop for r in records if r.stop in UNSETTLED)
    if again and result.signal_number is None:
        listed = ", ".join(f"{count} {_ENDINGS[stop]}" for stop, count in again.items())
        say(f"{listed}; the same command runs them again")
    if result.signal_number is not None:
        say("interrupted; the same command goes on from here")


_ENDINGS = {"memory": "out of memory", "interrupted": "interrupted"}


def _tell_plan(planned: list[tuple[Planned, bool]], jobs: int, as_json: bool) -> None:
    """A line for each solver on each instance under each pattern, and a total."""
    lines: dict[tuple[str, ...], Counter[str]] = {}
    limit_s = 0.0
    for item, recorded in planned:
        task = item.task
        own = ", ".join(setting(*pair) for pair in sorted(task.settings.items()))
        place = (
            item.origin.group,
            item.origin.instance,
            task.problem.pattern.text,
            str(task.problem.objective),
            task.solver,
            own,
        )
        state = "recorded" if recorded else "to_run" if item.missing is None else "refused"
        lines.setdefault(place, Counter())[state] += 1
        limit_s += task.limits.limit_s * (state == "to_run")
    whole = sum(lines.values(), Counter())
    for (group, instance, pattern, objective, solver, own), counts in lines.items():
        told = {"group": group, "instance": instance, "pattern": pattern,
                "objective": objective, "solver": solver, "settings": own,
                **{s: counts[s] for s in _STATES}}  # fmt: skip
        if as_json:
            print(json.dumps(told))
        else:
            states = ", ".join(f"{counts[s]} {_STATES[s]}" for s in _STATES if counts[s])
            under = "" if objective == str(MASK) else f" ({objective})"
            what = f"{group}: {instance} {pattern}{under} {solver} ({own or 'no settings'})"
            print(visible(what), states, sep=": ")
    if as_json:
        total = {"total": True, **{s: whole[s] for s in _STATES}, "limit_s": limit_s}
        print(json.dumps(total))
    else:
        states = ", ".join(f"{whole[s]} {_STATES[s]}" for s in _STATES)
        print(
            f"{sum(whole.values())} runs: {states}; at most {limit_s:.4g} s of solving by their "
            f"limits, {jobs} at a time"
        )


_STATES = {"recorded": "recorded", "to_run": "to run", "refused": "refused at once"}
