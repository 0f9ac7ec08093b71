"""Where runs take place: what the processes of this machine and those of a cluster have in common.

An executor is given tasks and yields their outcomes as they end. Either way a run is a process of
its own, started by `benchmarks.runs.pool` on the machine where it takes place, and who iterates is
the only one who writes results.
"""

import signal
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from maskgap.benchmarks.runs.task import KnownSettings, Outcome, Task
from maskgap.solvers.kernels.wanted import Wanted


class Executor(Protocol):
    """Runs tasks, `jobs` at a time.

    interrupted: whether a signal ended the runs early. signal_number: of that
    signal, SIGINT until one came.
    """

    jobs: float
    interrupted: bool
    signal_number: int

    def preload(self, modules: Sequence[str]) -> None:
        """Name the modules that are loaded once, before the first run, and not by each run."""
        ...

    def warm(self, wanted: Sequence[Wanted]) -> None:
        """Name the kernels that are compiled, off every clock, before runs.

        What was not named is compiled by the run that comes to it, off its clock.
        """
        ...

    def prepare(self) -> float:
        """Compile the kernels named, unless they are; the seconds that took.

        `settings` and `outcomes` see to it themselves; who has little time asks first.
        """
        ...

    def settings(self, wanted: Sequence[Wanted]) -> list[KnownSettings]:
        """All settings of each solver named, whose modules can be imported.

        Its kernels are compiled, as it is expected to run. Raises InputError.
        """
        ...

    def threads(self, wanted: int) -> int:
        """Threads that one run can have, at most `wanted`."""
        ...

    def watched(self) -> AbstractContextManager[None]:
        """Look out for signals inside; `outcomes` does so by itself."""
        ...

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """(index of the task, its outcome) as they end. After an interrupt, the rest is not run.

        A task is taken from `tasks` when there is room for it. Raises the InputError of a run whose
        solver found its input bad; the others are ended.
        """
        ...


class Interrupts:
    """Turns the first SIGINT or SIGTERM into an orderly end, a second one into an abrupt one."""

    interrupted = False
    signal_number = int(signal.SIGINT)
    """The signal of the interrupt."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look out for signals inside, and leave them as they were."""

        def handle(number: int, frame: types.FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted, self.signal_number = True, number

        try:
            before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: signals are somebody else's
            before = {}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
