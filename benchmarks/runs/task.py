"""One run: what it is given, and how it ended."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from maskgap.benchmarks.runs.environment import Place
from maskgap.instances.objective import MASK, ObjectiveName
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import Answer, Stop


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a run may take, and what its answer depends on beside problem and settings.

    limit_s: seconds for the whole task. gap: relative gap to stop at, and of the verdict. threads:
    that the solver may use. device: torch's name of where batched solvers work. seed: of randomised
    solvers. log: file that takes the solver's own log, or None.
    """

    limit_s: float = 60.0
    gap: float = 1e-6
    threads: int = 1
    device: str = "cpu"
    seed: int = 0
    log: Path | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """One run: a problem (one part for a solver of parts), a solver with settings, its limits."""

    problem: Problem
    solver: str
    settings: dict[str, object] = field(default_factory=dict)
    limits: RunLimits = RunLimits()


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run ended: one answer a part, and what the process has to say for itself.

    place: the machine of the run, None when it is this one.
    """

    answers: list[Answer]
    wall_s: float = 0.0
    peak_memory_bytes: int | None = None
    exception: str | None = None
    traceback: str | None = None
    place: Place | None = None


def failed(task: Task, stop: Stop, exception: str, trace: str | None = None) -> Outcome:
    """An outcome without masks, one empty answer a part."""
    empty = Answer(None, stop, notes={"reason": exception})
    return Outcome([empty] * len(task.problem), exception=exception, traceback=trace)


def handed_over(task: Task) -> bool:
    """Whether its solver is given the loss of masks where another objective is asked for.

    Its masks are judged under that objective all the same.
    """
    objective = task.problem.objective
    return objective.refits and objective.name not in registry.spec_of(task.solver).objectives


def given(task: Task) -> Problem:
    """The problem as its solver is given it."""
    return task.problem.under(MASK) if handed_over(task) else task.problem


def kernels_of(task: Task) -> Wanted:
    """The kernels of its solver for what that is given."""
    return wanted_of(task.solver, task.settings, task.problem.objective.name)


def wanted_of(solver: str, settings: dict[str, object], objective: ObjectiveName) -> Wanted:
    """The kernels of a solver whose masks are judged under an objective."""
    own = registry.spec_of(solver).objectives
    return Wanted(solver, settings, objective if objective in own else ObjectiveName.MASK)


def without_claims(answer: Answer) -> Answer:
    """An answer of which only the mask counts: what it says is about another objective."""
    return replace(
        answer,
        claimed_objective=None,
        claimed_bound=None,
        proof=None,
        trace=(),
        weights=None,
    )


@dataclass(frozen=True, slots=True)
class KnownSettings:
    """All settings of a solver in the order in which it declares them, defaults included.

    own: those of a run. default: those without any being told; None where some must be.
    """

    own: dict[str, object]
    default: dict[str, object] | None
