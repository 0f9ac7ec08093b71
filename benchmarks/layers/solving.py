"""One solver on all parts of a problem: a process for each run, certified as they end."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from maskgap.benchmarks.runs.judge import Judged, judge, parts_of
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.sharing import share
from maskgap.benchmarks.runs.task import RunLimits, Task, wanted_of
from maskgap.instances.errors import Refused
from maskgap.instances.problem import Problem
from maskgap.solvers import registry


class Runs:
    """The runs of one solver on the parts of a problem, certified as they end, in row order.

    limits: for one row; a run on several rows may take so many times the seconds. log: directory of
    the solver's own logs, a file `rowN.log` for each run, or None. `interrupted` says afterwards
    whether a signal ended them early. A wrong setting or start is an InputError of the first run
    that has it, raised here.
    """

    def __init__(
        self,
        problem: Problem,
        solver: str,
        settings: dict[str, object],
        limits: RunLimits,
        log: Path | None = None,
    ) -> None:
        self.solver, self.log = solver, log
        spec = registry.spec_of(solver)
        if spec.missing is not None:
            raise Refused(f"solver '{solver}' is not installed: {spec.missing}")
        refusal = registry.refusal(spec, problem.pattern, problem.objective)
        if refusal is not None:
            raise Refused(refusal)
        self.problem = replace(problem, layer=share(problem.layer))
        parts = [self.problem] if spec.batched else parts_of(self.problem)
        self.tasks = [
            Task(
                part,
                solver,
                settings,
                replace(
                    limits,
                    limit_s=limits.limit_s * len(part.rows),
                    log=None if log is None else log / f"row{part.rows.start}.log",
                ),
            )
            for part in parts
        ]
        self.pool = Pool(1, limits.threads)
        self.pool.preload([spec.target.partition(":")[0]])

    def setting_names(self) -> list[str]:
        """The settings that the solver takes. Starts a process, which loads it."""
        (known,) = self.pool.settings([wanted_of(self.solver, {}, self.problem.objective.name)])
        return list(known.own)

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the runs early."""
        return self.pool.interrupted

    @property
    def interrupt_code(self) -> int:
        """The exit code of a command that this signal ended: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.pool.signal_number

    def __iter__(self) -> Iterator[Judged]:
        for index, outcome in self.pool.outcomes(self.tasks):
            yield from judge(self.tasks[index], outcome)
