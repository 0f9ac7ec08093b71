"""From a suite to its runs: a flat list of tasks in the order of the suite.

A layer is made or read once, and large ones are shared with the runs (`benchmarks.runs.sharing`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskgap.benchmarks.runs.judge import parts_of
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.recording import Origin, keys_of, records_of
from maskgap.benchmarks.runs.rejection import records_or_rejection
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.runs.task import KnownSettings, Outcome, RunLimits, Task
from maskgap.benchmarks.suites.suite import Group, SolverEntry, Suite, load_instance
from maskgap.instances.errors import InputError
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.suggestions import did_you_mean
from maskgap.solvers import registry


@dataclass(frozen=True, eq=False)
class Planned:
    """A task with its origin in the suite and the keys of its records.

    missing: why the solver cannot run here, or does not take the pattern; None when it does.
    """

    task: Task
    origin: Origin
    keys: list[str]
    missing: str | None

    def records(self, outcome: Outcome) -> list[Record]:
        """The records of an outcome, whatever its answers hold."""

        def make(told: Outcome) -> list[Record]:
            return records_of(self.task, told, self.origin, self.keys)

        return records_or_rejection(self.task, outcome, make)


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """How a suite is run.

    solvers: these alone, None for all. time_limit_s: seconds for a row instead of those of the
    groups, None to keep them. jobs: runs at a time. fresh: whether old records are set aside, not
    built on. retry_failed: whether runs that crashed are repeated.
    """

    solvers: Sequence[str] | None = None
    time_limit_s: float | None = None
    jobs: int = 1
    fresh: bool = False
    retry_failed: bool = False


Settings = Callable[[SolverEntry], KnownSettings]
"""All settings of a suite's entry, defaults included."""


def plan(suite: Suite, directory: Path, settings: Settings, how: SuiteRun) -> list[Planned]:
    """All runs of a suite, in order. Raises InputError for anything it cannot mean."""
    planned: list[Planned] = []
    layers: dict[str, Layer] = {}
    for group in suite.groups:
        entries = [e for e in group.solvers if how.solvers is None or e.name in how.solvers]
        for instance in group.instances if entries else []:
            if instance not in layers:
                layers[instance] = share(load_instance(instance, suite, directory))
            layer = layers[instance]
            for pattern in group.patterns:
                problem = Problem.of(
                    layer,
                    parse_pattern(pattern),
                    _rows(group, layer.d_out),
                    objective=group.minimised,
                )
                for entry in entries:
                    known = settings(entry)
                    origin = Origin(
                        suite.name, group.name, instance, group.per == "layer", known.default
                    )
                    limits = RunLimits(
                        how.time_limit_s or group.time_limit_s, group.gap, group.threads
                    )
                    task = Task(problem, entry.name, known.own, limits)
                    planned += _runs(task, group.seeds, origin)
    if not planned:
        raise InputError(f"suite '{suite.name}' has no run left with solvers {how.solvers}")
    return planned


def _runs(whole: Task, seeds: Sequence[int], origin: Origin) -> Iterator[Planned]:
    """The runs of one solver on one problem, whose limit is that of a row."""
    spec = registry.spec_of(whole.solver)
    pattern, objective = whole.problem.pattern, whole.problem.objective
    missing = spec.missing or registry.refusal(spec, pattern, objective)
    for part in [whole.problem] if spec.batched else parts_of(whole.problem):
        for seed in seeds if spec.randomised else seeds[:1]:
            limit_s = whole.limits.limit_s * len(part.rows)
            limits = replace(whole.limits, limit_s=limit_s, seed=seed)
            task = replace(whole, problem=part, limits=limits)
            yield Planned(task, origin, keys_of(task, origin.per_layer), missing)


def chosen_entries(suite: Suite, solvers: Sequence[str] | None) -> list[SolverEntry]:
    """The entries that run here, once each. Raises InputError for names and groups that cannot be.

    A group of sums over layers takes batched solvers only.
    """
    have = dict.fromkeys(entry.name for group in suite.groups for entry in group.solvers)
    for name in solvers or []:
        if name not in have:
            raise InputError(
                f"suite '{suite.name}' has no solver '{name}'; it has {', '.join(have)}"
                f"{did_you_mean(name, have)}"
            )
    found: list[SolverEntry] = []
    for group in suite.groups:
        for entry in group.solvers:
            if solvers is not None and entry.name not in solvers:
                continue  # whose module may be one that the user did not name
            spec = registry.spec_of(entry.name)
            if group.per == "layer" and not spec.batched:
                raise InputError(
                    f"suite '{suite.name}', group '{group.name}': per = \"layer\" needs solvers of "
                    f'all rows at once, and {entry.name} takes one row; use per = "row"'
                )
            if spec.missing is None and entry not in found:
                found.append(entry)
    return found


def _rows(group: Group, d_out: int) -> range:
    return range(d_out) if group.rows is None else parse_rows(group.rows, d_out)
