"""One process per run, from a server that has the solvers' libraries loaded already.

Each run is forked from the server, so it starts in milliseconds and nothing it does to its native
libraries survives it. A run that overruns its limit by GRACE_S is killed and leaves what it had
found. An interrupt is passed on to the runs, which get GRACE_S to answer; nothing new is started.
"""

import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from benchmarks.child import (
    Note,
    Outcome,
    RowsDone,
    Started,
    Task,
    child_main,
    failed,
    settings_main,
)
from instances.errors import InputError
from instances.groups import Mask
from solvers.base import Answer, Stop

GRACE_S = 5.0
START_LIMIT_S = 120.0
_RUN_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class _Run:
    """A run under way: its process, its messages so far and the moment it is to be killed."""

    def __init__(self, index: int, task: Task, context: multiprocessing.context.ForkServerContext):
        self.index, self.task = index, task
        self.connection, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=child_main, args=(task, theirs), daemon=True
        )
        with _bare_main():
            self.process.start()
        theirs.close()
        self.started: float | None = None
        self.kill_at = time.perf_counter() + START_LIMIT_S
        self.killed_by: Stop | None = None
        self.mask: Mask | None = None
        self.objective: float | None = None
        self.bound: float | None = None
        self.rows_done = 0

    def receive(self) -> Outcome | None:
        """Take what has arrived; the outcome when the run is over, by answer or by death.

        Raises the InputError that the run sent.
        """
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Started):
                    self.started = time.perf_counter()
                    self.kill_at = self.started + self.task.limit_s + GRACE_S
                elif isinstance(message, Note):
                    self._keep(message)
                elif isinstance(message, RowsDone):
                    self.rows_done = message.count
                elif isinstance(message, InputError):
                    raise message
                else:
                    return message if isinstance(message, Outcome) else None
        except (EOFError, OSError):
            return self._died()
        return None

    def _keep(self, note: Note) -> None:
        if note.mask is None:
            self.bound = note.value
        else:
            self.mask, self.objective = note.mask, note.value

    def _died(self) -> Outcome:
        self.process.join()
        code = self.process.exitcode or 0
        if self.killed_by is not None:
            stop, reason = self.killed_by, f"killed {GRACE_S:g} s after its limit or an interrupt"
        elif code < 0:
            stop, reason = Stop.CRASHED, f"process ended by {signal.Signals(-code).name}"
        else:
            stop, reason = Stop.CRASHED, f"process ended with code {code} and no answer"
        outcome = failed(self.task, stop, reason)
        if len(self.task.problem) == 1:
            answer = Answer(
                self.mask, stop, self.objective, self.bound, notes=outcome.answers[0].notes
            )
            outcome = replace(outcome, answers=[answer])
        wall = time.perf_counter() - self.started if self.started is not None else 0.0
        return replace(outcome, wall_s=wall)

    def interrupt(self) -> None:
        """Ask the run to stop, and give it GRACE_S."""
        self.kill_at = min(self.kill_at, time.perf_counter() + GRACE_S)
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)

    def kill_if_due(self, interrupted: bool) -> None:
        """End a run whose time is over."""
        if time.perf_counter() >= self.kill_at and self.killed_by is None:
            started = self.started is not None
            self.killed_by = (
                Stop.INTERRUPTED if interrupted else Stop.TIME if started else Stop.CRASHED
            )
            self.process.kill()

    def close(self) -> None:
        """Leave no process behind."""
        if self.process.is_alive():
            self.process.join(timeout=1.0)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()


class Pool:
    """Runs tasks, `jobs` at a time, each on `threads` threads.

    modules: what the server loads once, before the first run. progress: called while runs go on
    with the rows that batch solvers among them are through with.
    """

    progress: Callable[[int], None] = staticmethod(lambda rows: None)

    def __init__(self, jobs: int, threads: int, modules: Sequence[str]) -> None:
        self.jobs = jobs
        self.interrupted = False
        os.environ |= dict.fromkeys(_RUN_THREADS, str(threads))
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.child", *modules])

    def settings(self, wanted: Sequence[tuple[str, dict[str, object]]]) -> list[dict[str, object]]:
        """All settings, defaults included, of (solver, settings); every module is there.

        A solver's module is needed to know them, and the server has it. Raises InputError.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=settings_main, args=(list(wanted), theirs), daemon=True
        )
        with _bare_main():
            process.start()
        theirs.close()
        try:
            told: list[dict[str, object]] | InputError = ours.recv()
        except EOFError:
            names = ", ".join(dict.fromkeys(solver for solver, _ in wanted))
            raise InputError(f"one of the solvers {names} cannot be imported here") from None
        finally:
            process.join()
            ours.close()
        if isinstance(told, InputError):
            raise told
        return told

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """(index of the task, its outcome) as they end. After an interrupt, the rest is not run.

        Raises the InputError of a run whose solver found its input bad; the others are ended.
        """
        waiting = iter(enumerate(tasks))
        running: list[_Run] = []
        with self._signals():
            try:
                told = False
                while True:
                    while len(running) < self.jobs and not self.interrupted:
                        index, task = next(waiting, (None, None))
                        if index is None or task is None:
                            break
                        running.append(_Run(index, task, self._context))
                    if not running:
                        return
                    if self.interrupted and not told:
                        told = True
                        for run in running:
                            run.interrupt()
                    wait([run.connection for run in running], timeout=0.2)
                    for run in list(running):
                        run.kill_if_due(self.interrupted)
                        outcome = run.receive()
                        if outcome is not None:
                            running.remove(run)
                            run.close()
                            yield run.index, outcome
                    if running:
                        self.progress(sum(run.rows_done for run in running))
            finally:
                for run in running:
                    run.process.kill()
                    run.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into an orderly end, a second one into an abrupt one."""

        def handle(number: int, frame: types.FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        try:
            before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: signals are somebody else's
            before = {}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)


@contextmanager
def _bare_main() -> Iterator[None]:
    """Hide the caller's script from the child, which would otherwise import it at each start."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
