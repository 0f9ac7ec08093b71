"""Compiling the kernels of solvers, before their runs, in processes that take turns.

The parts that solvers name (`solvers.protocol.Compiled`) do not need each other: each process takes
the next that nobody has taken, and what it makes is kept for all (`solvers.kernels.cache`).
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized
from typing import TypeAlias

from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.messages import Compiles
from maskgap.benchmarks.runs.process_start import bare_main, die_with_parent, mute, processes
from maskgap.instances.errors import InputError
from maskgap.solvers import registry
from maskgap.solvers.kernels.cache import COMPILING
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import Compiled

COMPILERS = 2
"""Processes that compile at once: the largest part takes as long as most others together."""

Turn: TypeAlias = "Synchronized[int]"
"""The number of the part that is next."""


def compiled_by_processes(
    wanted: Sequence[Wanted], announce: Callable[[], None], interrupted: Callable[[], bool]
) -> float | None:
    """Compile all kernels of some solvers: the seconds that took, None when it did not end well.

    announce: called when something is compiled, maybe more than once. interrupted: asked now and
    then whether to give up.
    """
    context = multiprocessing.get_context("spawn")
    turn = context.Value("i", 0)
    compiling = [_Process(wanted, turn, context) for _ in range(min(COMPILERS, cores()))]
    try:
        left = compiling
        while left := [one for one in left if not one.receive(announce)]:
            if interrupted():
                return None
            wait([one.connection for one in left], timeout=0.2)
    finally:
        for one in compiling:
            one.close()
    seconds = [one.seconds for one in compiling if one.seconds is not None]
    return max(seconds) if len(seconds) == len(compiling) else None


class _Process:
    """One of the processes. seconds: that it spent on compiling, None until it is through."""

    def __init__(
        self, wanted: Sequence[Wanted], turn: Turn, context: multiprocessing.context.SpawnContext
    ) -> None:
        self.seconds: float | None = None
        self.connection, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=compile_main, args=(wanted, turn, theirs), daemon=True
        )
        with processes, bare_main():
            self.process.start()
        theirs.close()

    def receive(self, announce: Callable[[], None]) -> bool:
        """Take what has arrived; whether it has ended."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if not isinstance(message, Compiles):
                    self.seconds = message
                    return True
                announce()
        except EOFError:
            return True
        return False

    def close(self) -> None:
        """Leave no process behind."""
        with processes:
            self.process.kill()
            self.process.join()
        self.connection.close()


def compile_main(wanted: Sequence[Wanted], turn: Turn, connection: Connection) -> None:
    """Entry point of a process that compiles the kernels wanted, turn by turn.

    turn: number of the part that is next to be compiled, by whichever process comes to it. Sends
    `Compiles` when it begins to compile, if it does, and its seconds when nothing is left.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    mute()
    COMPILING.listener = lambda seconds: None if seconds else connection.send(Compiles(None))
    parts: dict[Callable[[], object], None] = {}
    for solver, settings, objective in wanted:
        with suppress(ImportError, InputError):  # the run that needs it says so
            built = registry.build(solver, settings)
            if isinstance(built, Compiled):
                parts |= dict.fromkeys(built.warm_ups(objective))
    order = list(parts)
    while (at := _next(turn)) < len(order):
        order[at]()
    connection.send(COMPILING.seconds())
    connection.close()


def _next(turn: Turn) -> int:
    with turn.get_lock():
        turn.value += 1
        return turn.value - 1
