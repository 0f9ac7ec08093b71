"""`maskgap run`: a suite from plan to records, with progress and a closing account."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environment import cores
from benchmarks.executor import elsewhere
from benchmarks.runner import Progress, Result, run_suite
from benchmarks.suite import read_suite
from instances.errors import InputError

PLAIN_INTERVAL_S = 10.0


def run(
    name: str,
    solvers: str | None,
    time_limit: float | None,
    jobs: int | None,
    executor: str,
    out: Path | None,
    fresh: bool,
    retry_failed: bool,
    scheduler: str | None = None,
) -> int:
    """1 for crashed or wrong rows only; 130 when interrupted. Raises InputError."""
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"--time-limit {time_limit:g}: expected seconds, more than 0")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: expected a whole number, 1 or more")
    suite = read_suite(name)
    directory = out or Path("results") / "runs" / suite.name
    threads = max(group.threads for group in suite.groups)
    chosen = [s.strip() for s in solvers.split(",")] if solvers else None
    at_once = jobs or max(1, cores() // threads)
    limit = at_once if scheduler is None else jobs
    with (
        elsewhere(executor, scheduler, at_once, threads, limit, True, _say) as cluster,
        _reporting(suite.name) as report,
    ):
        result = run_suite(
            suite,
            directory,
            chosen,
            time_limit,
            at_once,
            fresh,
            retry_failed,
            report,
            _say,
            cluster,
        )
    _account(result, directory)
    if result.interrupted:
        return 130
    return 1 if result.faults else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _reporting(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    if console.is_terminal:
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, TextColumn("{task.description}"), console=console) as bar:
            task = bar.add_task("", total=None)

            def draw(progress: Progress) -> None:
                record = progress.record
                last = "" if record is None else f"{record.solver} {record.instance}"
                bar.update(task, completed=progress.done, total=progress.total, description=last)

            yield draw
        return
    said = 0.0

    def say(progress: Progress) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PLAIN_INTERVAL_S or progress.done == progress.total:
            said = now
            print(f"{name}: {progress.done} of {progress.total} runs", file=sys.stderr, flush=True)

    yield say


def _account(result: Result, directory: Path) -> None:
    verdicts = Counter(record.verdict for record in result.records)
    order = ("proved", "closed", "feasible", "empty", "wrong")
    counts = ", ".join(f"{verdicts[v]} {v}" for v in order if verdicts[v])
    refused = sum(record.stop == "refused" for record in result.records)
    print(f"{len(result.records)} rows recorded in {directory}: {counts} ({refused} refused)")
    for record in result.faults:
        what = "crashed" if record.failed else "wrong"
        print(
            f"{what}: {record.solver} on {record.instance} row {record.row} {record.pattern}: "
            f"{record.reason or record.exception}",
            file=sys.stderr,
        )
    if result.interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
