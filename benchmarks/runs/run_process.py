"""A run under way, seen from outside: what it has said, and when its process is to be killed.

A run that overruns its limit by GRACE_S is killed and leaves what it had found.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess

from maskgap.benchmarks.runs.child import child_main
from maskgap.benchmarks.runs.messages import Answered, Compiles, Note, RowsDone, Started
from maskgap.benchmarks.runs.process_start import bare_main, processes
from maskgap.benchmarks.runs.task import Outcome, Task, failed
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.solvers.protocol import Answer, Stop

GRACE_S = 5.0
START_LIMIT_S = 120.0

COMPILE_LIMIT_S = 900.0
"""The kernels of a solver take a minute or two, on a busy or slow machine some more."""

_FROM_OUTSIDE: dict[int, Stop] = {
    signal.SIGKILL: Stop.MEMORY,
    signal.SIGTERM: Stop.INTERRUPTED,
    signal.SIGINT: Stop.INTERRUPTED,
    signal.SIGHUP: Stop.INTERRUPTED,
}
"""Signals that end a run by no fault of its own. SIGKILL that is not ours is most often that of a
system which is out of memory."""


class RunProcess:
    """A run under way: its process, its messages so far and the moment it is to be killed.

    memory_bytes: cap of its memory, None for none. announce: called when it compiles kernels.
    """

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
        with processes, bare_main():
            self.process.start()
        theirs.close()
        self.started: float | None = None
        self.server_compiled_s = 0.0
        self._kill_before_compiling = 0.0
        self.kill_at = time.perf_counter() + START_LIMIT_S
        self.killed_by: Stop | None = None
        self.mask: Kept | None = None
        self.objective: float | None = None
        self.bound: float | None = None
        self.rows_done = 0
        self.answers: dict[int, Answer] = {}

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
                    self.kill_at = self.started + self.task.limits.limit_s + GRACE_S
                elif isinstance(message, Compiles):
                    self._stand_still(message.seconds)
                elif isinstance(message, Note):
                    self._keep(message)
                elif isinstance(message, RowsDone):
                    self.rows_done = message.count
                elif isinstance(message, Answered):
                    self.answers.update(enumerate(message.answers, start=message.first))
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
        with processes:
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
        if len(self.task.problem) == 1 and not self.answers:
            answer = Answer(
                self.mask, stop, self.objective, self.bound, notes=outcome.answers[0].notes
            )
            outcome = replace(outcome, answers=[answer])
        else:  # a row that was done is as good as if the others had been
            known = [self.answers.get(at, empty) for at, empty in enumerate(outcome.answers)]
            outcome = replace(outcome, answers=known)
        wall = time.perf_counter() - self.started if self.started is not None else 0.0
        return replace(outcome, wall_s=wall)

    def interrupt(self, grace_s: float) -> None:
        """Ask the run to stop, and give it `grace_s`."""
        self.kill_at = min(self.kill_at, time.perf_counter() + grace_s)
        with processes:
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
        with processes:
            if self.process.is_alive():
                self.process.join(timeout=1.0)
            if self.process.is_alive():
                self.process.kill()
            self.process.join()
        self.connection.close()
