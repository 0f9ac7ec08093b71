"""The work of bounding a whole layer, whatever its pattern, and how its gap falls with time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.layers.shared_budget import SharedBudgetBound
from maskgap.benchmarks.runs.executor import Executor
from maskgap.instances.errors import Refused
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Problem

LayerWork = LayerBound | SharedBudgetBound

WATCH_INTERVAL_S = 2.0
"""Least time between points of a course: the sums of a layer take all its rows."""


def bounding(
    problem: Problem,
    seconds: float,
    threads: int,
    device: str = "cpu",
    tolerance: float = 1e-6,
    seed: int = 0,
    runs: int | None = None,
    held: Mapping[int, PartProof] | None = None,
    executor: Executor | None = None,
) -> LayerWork:
    """The work on a layer by the kind of its pattern; iterate to have it done.

    The arguments are those of `benchmarks.layers.rows.LayerBound`. Raises Refused for a pattern
    whose layers are not bounded as a whole.
    """
    if problem.pattern.one_budget:
        whole = (held or {}).get(problem.rows.start)
        return SharedBudgetBound(
            problem, seconds, threads, device, tolerance, seed, runs, whole, executor
        )
    if not problem.pattern.equal_rows:
        raise Refused(
            f"bound takes P%, keep=K, N:M and layer:P%, not '{problem.pattern.text}'; "
            "use solve with --solver fw-bnb or sdp-bound"
        )
    return LayerBound(problem, seconds, threads, device, tolerance, seed, runs, held, executor)


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
