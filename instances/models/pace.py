"""Time and memory of long work, for people: what is done, what is left, what it took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

GIB = 1 << 30

PROGRESS_LINES = 4
"""About so many progress lines for each pass over the data."""


def clock(seconds: float) -> str:
    """Seconds as people say them: 41 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def cost(seconds: float, peak: int) -> str:
    """Time and memory in one line. peak: in bytes."""
    return f"{clock(seconds)}, {peak / GIB:.2f} GiB of memory at most"


@dataclass(slots=True)
class Pace:
    """How far work of a known amount is. amount: in all, in any unit. done: so far, of it.

    before: done by an earlier call, which says nothing of the pace.
    """

    amount: float
    done: float = 0.0
    before: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.begun

    def told(self) -> str:
        """Time so far, and about how much is left, by the pace so far."""
        new, left = self.done - self.before, self.amount - self.done
        if new <= 0 or left <= 0:
            return clock(self.seconds)
        return f"{clock(self.seconds)}, about {clock(self.seconds * left / new)} left"


def batches_told(
    say: Callable[[str], None], pace: Pace | None = None
) -> Callable[[int, int, str], None]:
    """Progress over batches, as `instances.models.collect` has it, as a few lines for people.

    pace: of the whole work, told in each line.
    """

    def progress(done: int, total: int, what: str) -> None:
        if done == total or done % max(1, total // PROGRESS_LINES) == 0:
            left = "" if pace is None else f"; {pace.told()}"
            say(f"{what}: {done} of {total} batches{left}")

    return progress
