"""What happens inside the process of one run.

The process dies with its parent, pins its threads, caps its memory, turns SIGINT into an interrupt
of the deadline, and sends messages: started, notes (masks and bounds as they improve, so that a
killed run leaves what it had), the rows that a batch solver is through with and their answers, and
one last outcome. Bad input that only a solver can tell (a warm start that does not exist) is sent
back as the InputError it is.
"""

import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from threadpoolctl import threadpool_limits

from maskgap.benchmarks.runs.messages import Answered, Compiles, Note, RowsDone, Started
from maskgap.benchmarks.runs.process_start import die_with_parent, mute
from maskgap.benchmarks.runs.sharing import shared_bytes
from maskgap.benchmarks.runs.task import KnownSettings, Outcome, Task, failed, given, kernels_of
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.peak_memory import peak_bytes
from maskgap.solvers import registry
from maskgap.solvers.kernels.cache import COMPILING, mark_compiled
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import (
    Answer,
    BatchSolver,
    Deadline,
    Journal,
    Limits,
    Solver,
    Stop,
    solve_batch,
    solve_part,
    warm_up,
)
from maskgap.solvers.settings import described

NOTE_INTERVAL_S = 0.05
"""Bounds may improve at every node; no more than one in this time is sent on. So for rows done."""


def run_task(
    task: Task, journal: Journal | None = None, deadline: Deadline | None = None
) -> Outcome:
    """Run a task in this process. A failure of the solver is an outcome, not an exception.

    Raises InputError for what the caller can mend: an unknown setting, an impossible start.
    """
    start, own, problem = time.perf_counter(), task.limits, given(task)
    try:
        solver = registry.build(task.solver, task.settings)
        limits = Limits(
            deadline or Deadline(own.limit_s),
            own.gap,
            own.threads,
            own.device,
            own.log is not None,
            journal or Journal(),
        )
        if registry.spec_of(task.solver).batched:
            answers = solve_batch(cast(BatchSolver, solver), problem, limits, own.seed)
        else:
            (part,) = problem
            answers = [solve_part(cast(Solver, solver), part, limits, own.seed)]
        outcome = Outcome(answers)
    except Refused as error:
        outcome = failed(task, Stop.REFUSED, str(error))
    except InputError:
        raise
    except MemoryError as error:
        outcome = failed(task, Stop.MEMORY, f"out of memory: {error}")
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        outcome = failed(task, Stop.CRASHED, text, traceback.format_exc())
    spent = time.perf_counter() - start
    return replace(outcome, wall_s=spent, peak_memory_bytes=peak_bytes())


def child_main(task: Task, memory_bytes: int | None, connection: Connection) -> None:
    """Entry point of the process of one run. memory_bytes: cap of its memory, None for none."""
    die_with_parent()
    log = task.limits.log
    deadline = Deadline(task.limits.limit_s)
    signal.signal(signal.SIGINT, lambda *_: deadline.interrupt())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if memory_bytes is not None:
        # The layer's pages are mapped already and others have them too: they are no part of it.
        most = memory_bytes + shared_bytes(task.problem.layer)
        allowed = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if allowed != resource.RLIM_INFINITY:  # whoever is not root cannot ask for more
            most = min(most, allowed)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    if log is not None:
        _redirect(log)
    else:
        mute()
    before, sending = COMPILING.seconds(), threading.Lock()

    def tell(message: object) -> None:
        with sending:  # kernels are compiled by any thread
            connection.send(message)

    COMPILING.listener = lambda seconds: tell(Compiles(seconds))
    spec = registry.spec_of(task.solver)
    part = None if spec.batched else next(iter(given(task)))
    last_bound_s = last_rows_s = 0.0

    def send_rows(count: int) -> None:
        nonlocal last_rows_s
        if time.perf_counter() - last_rows_s >= NOTE_INTERVAL_S:
            last_rows_s = time.perf_counter()
            tell(RowsDone(count))

    def send_answers(first: int, answers: Sequence[Answer]) -> None:
        tell(Answered(first, list(answers)))

    def send(mask: Kept | None, value: float) -> None:
        nonlocal last_bound_s
        now = time.perf_counter()
        if mask is None:
            if now - last_bound_s < NOTE_INTERVAL_S:
                return
            last_bound_s = now
        tell(Note(mask, value if part is None else part.rescale(value)))

    # numpy and scipy each bring an OpenBLAS whose idle threads spin: with two of them on two busy
    # cores, rows of 384 columns took ten times as long as on one thread.
    with threadpool_limits(1, user_api="blas"):
        try:
            kernels = kernels_of(task)
            # imports stay off the clock too
            warm_up(registry.build(task.solver, task.settings), kernels.objective)
            mark_compiled(kernels)
            compiled = COMPILING.seconds() - before
            tell(Started(before))
            deadline.restart()
            ending: Outcome | InputError = warmed(
                run_task(task, Journal(send, send_rows, send_answers), deadline), compiled
            )
        except InputError as error:
            ending = error
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            ending = failed(task, Stop.CRASHED, text, traceback.format_exc())
        if isinstance(ending, Outcome) and ending.traceback and log is not None:
            print(ending.traceback, file=sys.stderr, flush=True)  # which is the log
        tell(ending)
    connection.close()


def warmed(outcome: Outcome, seconds: float) -> Outcome:
    """An outcome to whose warm-up seconds are added, once for a batch as for a row."""
    if not seconds:
        return outcome
    answers = [replace(a, warmup_s=a.warmup_s + seconds) for a in outcome.answers]
    return replace(outcome, answers=answers)


def settings_main(wanted: Sequence[Wanted], connection: Connection) -> None:
    """Entry point of a process that tells all settings, defaults included, of solvers.

    Sends a list of `KnownSettings`, or the InputError of a wrong one.
    """
    die_with_parent()
    mute()
    try:
        told = [
            KnownSettings(registry.settings_of(registry.build(solver, own)), _default(solver))
            for solver, own, _ in wanted
        ]
        connection.send(told)
    except InputError as error:
        connection.send(error)
    connection.close()


def described_main(solver: str, connection: Connection) -> None:
    """Entry point of a process that sends what a solver's settings are, or an InputError."""
    die_with_parent()
    mute()
    try:
        connection.send(described(registry.factory_of(solver)))
    except InputError as error:
        connection.send(error)
    connection.close()


def _default(solver: str) -> dict[str, object] | None:
    """The settings of a solver that is told none, None where it must be told some."""
    try:
        return registry.settings_of(registry.build(solver))
    except InputError:
        return None


def _redirect(log: Path) -> None:
    """Send what native code prints to a file; nothing of it may reach the command's output."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
