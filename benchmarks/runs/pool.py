"""One process per run, from a server that has the solvers' libraries loaded already.

Each run is forked from the server, so it starts in milliseconds and nothing it does to its native
libraries survives it. A run that overruns its limit by GRACE_S is killed and leaves what it had
found. An interrupt is passed on to the runs, which get GRACE_S to answer; nothing new is started.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from maskgap.benchmarks.runs import loaded
from maskgap.benchmarks.runs.child import (
    Compiles,
    Note,
    Outcome,
    RowsDone,
    Started,
    Task,
    Turn,
    child_main,
    compile_main,
    described_main,
    failed,
    settings_main,
    warmed,
)
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.executor import Interrupts
from maskgap.instances.arrays import Mask
from maskgap.instances.errors import InputError
from maskgap.solvers.kernels.cache import is_compiled, is_temporary, mark_compiled, place
from maskgap.solvers.protocol import Answer, Stop
from maskgap.solvers.registry import SPECS
from maskgap.solvers.settings import Setting

GRACE_S = 5.0
START_LIMIT_S = 120.0

COMPILE_LIMIT_S = 900.0
"""The kernels of a solver take half a minute, on a busy or slow machine some more."""

COMPILERS = 2
"""Processes that compile at once: the largest kernel takes as long as most others together."""

MEMORY_SHARE = 0.8
"""Share of a machine's memory that all runs on it together may take."""

_RUN_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_FROM_OUTSIDE: dict[int, Stop] = {
    signal.SIGKILL: Stop.MEMORY,
    signal.SIGTERM: Stop.INTERRUPTED,
    signal.SIGINT: Stop.INTERRUPTED,
    signal.SIGHUP: Stop.INTERRUPTED,
}
"""Signals that end a run by no fault of its own. SIGKILL that is not ours is most often that of a
system which is out of memory."""

_processes = threading.Lock()
"""Held while a process is started or its exit code read: `multiprocessing` looks at all children at
each start, and of two threads that read one exit code one finds nothing."""


class _Run:
    """A run under way: its process, its messages so far and the moment it is to be killed."""

    def __init__(
        self,
        index: int,
        task: Task,
        memory_bytes: int | None,
        context: multiprocessing.context.ForkServerContext,
        announce: Callable[[], None],
    ):
        self.index, self.task, self.announce = index, task, announce
        self.connection, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=child_main, args=(task, memory_bytes, theirs), daemon=True
        )
        with _processes, bare_main():
            self.process.start()
        theirs.close()
        self.started: float | None = None
        self.server_compiled_s = 0.0
        self._kill_before_compiling = 0.0
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
                    self.server_compiled_s = message.compiled_s
                    self.kill_at = self.started + self.task.limit_s + GRACE_S
                elif isinstance(message, Compiles):
                    self._stand_still(message.seconds)
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

    def _stand_still(self, compiled_s: float | None) -> None:
        """Kernels are being compiled (None), or have been: what that takes does not count."""
        if compiled_s is None:
            self._kill_before_compiling = self.kill_at
            self.kill_at += COMPILE_LIMIT_S
            self.announce()
        else:
            self.kill_at = self._kill_before_compiling + compiled_s

    def _keep(self, note: Note) -> None:
        if note.mask is None:
            self.bound = note.value
        else:
            self.mask, self.objective = note.mask, note.value

    def _died(self) -> Outcome:
        with _processes:
            self.process.join()
        code = self.process.exitcode or 0
        if self.killed_by is not None:
            stop, reason = self.killed_by, f"killed {GRACE_S:g} s after its limit or an interrupt"
        elif code < 0:
            name = signal.Signals(-code).name
            stop, reason = _FROM_OUTSIDE.get(-code, Stop.CRASHED), f"process ended by {name}"
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

    def interrupt(self, grace_s: float) -> None:
        """Ask the run to stop, and give it `grace_s`."""
        self.kill_at = min(self.kill_at, time.perf_counter() + grace_s)
        with _processes:
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
        with _processes:
            if self.process.is_alive():
                self.process.join(timeout=1.0)
            if self.process.is_alive():
                self.process.kill()
            self.process.join()
        self.connection.close()


def memory_share(jobs: int) -> int:
    """Bytes that each of `jobs` runs at a time may take of this machine's memory."""
    return int(psutil.virtual_memory().total * MEMORY_SHARE / jobs)


class _Compiling:
    """A process that compiles kernels, one of several that take turns.

    ended: whether it is done, died: without an answer. seconds: spent on compiling.
    """

    def __init__(
        self,
        wanted: Sequence[tuple[str, dict[str, object]]],
        turn: Turn,
        context: multiprocessing.context.SpawnContext,
    ) -> None:
        self.ended = self.died = False
        self.seconds = 0.0
        self.connection, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=compile_main, args=(wanted, turn, theirs), daemon=True
        )
        with _processes, bare_main():
            self.process.start()
        theirs.close()

    def receive(self, announce: Callable[[], None]) -> bool:
        """Take what has arrived; whether it is done. announce: called when it compiles."""
        try:
            while not self.ended and self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Compiles):
                    announce()
                else:
                    self.seconds, self.ended = message, True
        except EOFError:
            self.ended = self.died = True
        return self.ended

    def close(self) -> None:
        """Leave no process behind."""
        with _processes:
            self.process.kill()
            self.process.join()
        self.connection.close()


class Pool(Interrupts):
    """Runs tasks in processes of this machine, `jobs` at a time, each on `threads` threads.

    memory_bytes: cap of each run's memory, None for none. progress: called while runs go on with
    the rows that batch solvers among them are through with.
    """

    progress: Callable[[int], None] = staticmethod(lambda rows: None)

    def __init__(self, jobs: int, threads: int, memory_bytes: int | None = None) -> None:
        self.jobs: float = jobs
        self._memory_bytes = memory_bytes
        self._grace_s = GRACE_S
        os.environ |= dict.fromkeys(_RUN_THREADS, str(threads))
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        self._context = multiprocessing.get_context("forkserver")
        self._wanted: list[tuple[str, dict[str, object]]] = []
        self._announced = self._compiled_told = False
        self._compiled_s = 0.0

    def preload(self, modules: Sequence[str]) -> None:
        """See `Executor`. A server that has begun already is not changed."""
        self._context.set_forkserver_preload(
            ["maskgap.benchmarks.runs.child", *modules, loaded.__name__]
        )

    def warm(self, wanted: Sequence[tuple[str, dict[str, object]]]) -> None:
        """See `Executor`."""
        names = {spec.name for spec in SPECS.values() if spec.compiled}
        self._wanted += [one for one in wanted if one[0] in names and one not in self._wanted]
        loaded.tell(self._wanted)

    def _announce(self) -> None:
        """Say, once, that kernels are compiled: for some seconds nothing else is seen."""
        if not self._announced:
            self._announced = True
            announce()

    def prepare(self) -> float:
        """See `Executor`.

        They are compiled by processes of their own: what the compiler takes of memory would stay in
        the server, and count for each run that is forked from it.
        """
        begun = time.perf_counter()
        wanted = [one for one in self._wanted if not is_compiled(*one)]
        if not wanted:
            return 0.0
        if place() is None:  # nothing is kept: the server compiles for itself
            self._announce()
            return 0.0
        context = multiprocessing.get_context("spawn")
        turn = context.Value("i", 0)
        compiling = [_Compiling(wanted, turn, context) for _ in range(min(COMPILERS, cores()))]
        try:
            left = compiling
            while left := [one for one in left if not one.receive(self._announce)]:
                if self.interrupted:
                    break
                wait([one.connection for one in left], timeout=0.2)
            else:
                self._compiled_s += max(one.seconds for one in compiling)
                if not any(one.died for one in compiling):  # if so, the runs will tell
                    for solver, settings in wanted:
                        mark_compiled(solver, settings)
        finally:
            for one in compiling:
                one.close()
        return time.perf_counter() - begun

    def threads(self, wanted: int) -> int:
        """See `Executor`."""
        return wanted

    def interrupt(self, grace_s: float) -> None:
        """End the runs under way within `grace_s` and start no other; from any thread."""
        self._grace_s = min(self._grace_s, grace_s)
        self.interrupted = True

    def settings(self, wanted: Sequence[tuple[str, dict[str, object]]]) -> list[dict[str, object]]:
        """See `Executor`. A solver's module is needed to know them, and the server has it."""
        self.warm(wanted)
        self.prepare()
        names = ", ".join(dict.fromkeys(solver for solver, _ in wanted))
        told: list[dict[str, object]] = self._ask(settings_main, list(wanted), names)
        return told

    def described(self, solver: str) -> tuple[Setting, ...]:
        """What a solver's settings are, from a process: its module may print and crash.

        Raises InputError.
        """
        told: tuple[Setting, ...] = self._ask(described_main, solver, solver)
        return told

    def _ask(self, entry: Callable[..., None], argument: object, names: str) -> Any:
        """What the process of this entry point sends; an InputError is raised."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=entry, args=(argument, theirs), daemon=True)
        with _processes, bare_main():
            process.start()
        theirs.close()
        try:
            told = ours.recv()
        except EOFError:
            raise InputError(f"one of the solvers {names} cannot be imported here") from None
        finally:
            process.join()
            ours.close()
        if isinstance(told, InputError):
            raise told
        return told

    def _with_server(self, run: _Run, outcome: Outcome) -> Outcome:
        """The first outcome carries what was spent on compiling before its run."""
        if self._compiled_told:
            return outcome
        self._compiled_told = True
        return warmed(outcome, self._compiled_s + run.server_compiled_s)

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        if isinstance(tasks, Sequence):
            self.warm([(task.solver, task.settings) for task in tasks])
        self.prepare()
        waiting = iter(enumerate(tasks))
        running: list[_Run] = []
        with self.watched():
            try:
                told: float | None = None
                while True:
                    while len(running) < self.jobs and not self.interrupted:
                        index, task = next(waiting, (None, None))
                        if index is None or task is None:
                            break
                        running.append(
                            _Run(index, task, self._memory_bytes, self._context, self._announce)
                        )
                    if not running:
                        return
                    if self.interrupted and told != self._grace_s:
                        told = self._grace_s
                        for run in running:
                            run.interrupt(told)
                    wait([run.connection for run in running], timeout=0.2)
                    for run in list(running):
                        run.kill_if_due(self.interrupted)
                        outcome = run.receive()
                        if outcome is not None:
                            running.remove(run)
                            run.close()
                            yield run.index, self._with_server(run, outcome)
                    if running:
                        self.progress(sum(run.rows_done for run in running))
            finally:
                for run in running:
                    run.process.kill()
                    run.close()


def announce() -> None:
    """One line for people: where compiled kernels go, if that is no lasting place."""
    where = place()
    more = ""
    if where is None:
        more = "; no folder can be written to, so for each run anew: name one in NUMBA_CACHE_DIR"
    elif is_temporary():
        more = f"; kept in {where}, since neither the installation nor a home can be written to"
    with suppress(OSError):
        print(f"compiling kernels, once: half a minute or so{more}", file=sys.stderr, flush=True)


@contextmanager
def bare_main() -> Iterator[None]:
    """What a process is started with: nothing of the caller's script, nor the current directory.

    The child would import the script at each start. It is begun as `python -c`, for which Python
    puts the current directory first on the path, unless told not to: any `random.py` there would be
    run.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
