"""How the sums of a layer go while it is bounded."""

from dataclasses import dataclass, field
from time import perf_counter

from maskgap.benchmarks.layers.work import LayerWork

WATCH_INTERVAL_S = 2.0
"""Least time between points of a course: the sums of a layer take all its rows."""


@dataclass(slots=True)
class Course:
    """How the sums of a layer went: (seconds, objective or None, bound), in order of time."""

    points: list[tuple[float, float | None, float]] = field(default_factory=list)
    begun: float = field(default_factory=perf_counter)

    def look(self, work: LayerWork, last: bool = False) -> None:
        """Note the sums if the last note is some time ago, or it is the last."""
        now = perf_counter() - self.begun
        if last or not self.points or now - self.points[-1][0] >= WATCH_INTERVAL_S:
            total = work.total
            self.points.append((round(now, 3), total.objective, total.bound))
