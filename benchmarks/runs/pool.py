"""One process per run, from a server that has the solvers' libraries loaded already.

Each run is forked from the server, so it starts in milliseconds and nothing it does to its native
libraries survives it. A run that overruns its limit by GRACE_S is killed and leaves what it had
found. An interrupt is passed on to the runs, which get GRACE_S to answer; nothing new is started.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import psutil

from maskgap.benchmarks.runs import loaded
from maskgap.benchmarks.runs.child import described_main, settings_main, warmed
from maskgap.benchmarks.runs.compiling import compiled_by_processes
from maskgap.benchmarks.runs.executor import Interrupts
from maskgap.benchmarks.runs.process_start import bare_main, processes
from maskgap.benchmarks.runs.run_process import GRACE_S, RunProcess
from maskgap.benchmarks.runs.task import KnownSettings, Outcome, Task, kernels_of
from maskgap.instances.errors import InputError
from maskgap.solvers.kernels.announce import announce
from maskgap.solvers.kernels.cache import is_compiled, mark_compiled, place
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.registry import SPECS
from maskgap.solvers.settings import Setting

MEMORY_SHARE = 0.8
"""Share of a machine's memory that all runs on it together may take."""

_RUN_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def memory_share(jobs: int) -> int:
    """Bytes that each of `jobs` runs at a time may take of this machine's memory."""
    return int(psutil.virtual_memory().total * MEMORY_SHARE / jobs)


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
        self._wanted: list[Wanted] = []
        self._announced = self._compiled_told = False
        self._compiled_s = 0.0

    def preload(self, modules: Sequence[str]) -> None:
        """See `Executor`. A server that has begun already is not changed."""
        self._context.set_forkserver_preload(
            ["maskgap.benchmarks.runs.child", *modules, loaded.__name__]
        )

    def warm(self, wanted: Sequence[Wanted]) -> None:
        """See `Executor`."""
        names = {spec.name for spec in SPECS.values() if spec.compiled}
        self._wanted += [one for one in wanted if one.solver in names and one not in self._wanted]
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
        wanted = [one for one in self._wanted if not is_compiled(one)]
        if not wanted:
            return 0.0
        if place() is None:  # nothing is kept: the server compiles for itself
            self._announce()
            return 0.0
        seconds = compiled_by_processes(wanted, self._announce, lambda: self.interrupted)
        if seconds is not None:  # else the runs will tell what is wrong
            self._compiled_s += seconds
            for one in wanted:
                mark_compiled(one)
        return time.perf_counter() - begun

    def threads(self, wanted: int) -> int:
        """See `Executor`."""
        return wanted

    def interrupt(self, grace_s: float) -> None:
        """End the runs under way within `grace_s` and start no other; from any thread."""
        self._grace_s = min(self._grace_s, grace_s)
        self.interrupted = True

    def settings(self, wanted: Sequence[Wanted]) -> list[KnownSettings]:
        """See `Executor`. A solver's module is needed to know them, and the server has it."""
        self.warm(wanted)
        self.prepare()
        names = ", ".join(dict.fromkeys(one.solver for one in wanted))
        told: list[KnownSettings] = self._ask(settings_main, list(wanted), names)
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
        with processes, bare_main():
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

    def _with_server(self, run: RunProcess, outcome: Outcome) -> Outcome:
        """The first outcome carries what was spent on compiling before its run."""
        if self._compiled_told:
            return outcome
        self._compiled_told = True
        return warmed(outcome, self._compiled_s + run.server_compiled_s)

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        if isinstance(tasks, Sequence):
            self.warm([kernels_of(task) for task in tasks])
        self.prepare()
        waiting = iter(enumerate(tasks))
        running: list[RunProcess] = []
        with self.watched():
            try:
                told: float | None = None
                while True:
                    while len(running) < self.jobs and not self.interrupted:
                        index, task = next(waiting, (None, None))
                        if index is None or task is None:
                            break
                        running.append(
                            RunProcess(
                                index, task, self._memory_bytes, self._context, self._announce
                            )
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
