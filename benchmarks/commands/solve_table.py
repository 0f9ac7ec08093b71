"""The table of `maskgap solve` for people: a line a row, and what all rows come to.

"/ wanda" is the error of the mask over that of Wanda's mask of the same part; for rows that share
budgets it is known in total only. A solver that gives no bounds has dashes where bounds would be.
"""

from collections.abc import Iterator
from math import fsum
from pathlib import Path
from typing import Any

from maskgap.benchmarks.commands.numbers import at_least, at_most, percent
from maskgap.benchmarks.commands.objective_options import ObjectiveOptions
from maskgap.benchmarks.commands.screen import Results, errors, say
from maskgap.benchmarks.commands.solve_lines import coupled_lines, row_line, total_line
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.verify.certificate import BoundKind
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import MaskgapError
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.scores import lowest, wanda
from maskgap.solvers.protocol import Stop


def tabled(runs: Runs, file: Path, results: Results, coupled: bool) -> Iterator[Judged]:
    """The same parts; a bar while they come, then the table and what there is to say of it."""
    from rich.progress import Progress
    from rich.table import Table

    table = Table(
        "row", "objective", "/ wanda", "bound", "kind", "gap", "verdict", "stop", "seconds"
    )
    seen: list[Judged] = []
    console = errors()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task, ended = bar.add_task(runs.solver, total=len(runs.problem.rows)), 0
        runs.pool.progress = lambda rows: bar.update(task, completed=ended + rows)
        for judged in runs:
            ended += judged.problem.height
            bar.update(task, completed=ended)
            yield judged
            seen.append(judged)
            _explain(judged, runs)
    if not seen:
        return
    wandas = _wandas(runs.problem)
    for judged in seen:
        if coupled:
            for line in coupled_lines(judged, runs.solver):
                table.add_row(*_cells(line, str(line["row"]), None))
        else:
            line = row_line(judged, runs.solver)
            table.add_row(*_cells(line, str(line["row"]), wandas.get(judged.problem.row)))
    if coupled or len(seen) > 1:
        of_all = [wandas.get(judged.problem.row) for judged in seen]
        whole = None if None in of_all else fsum(loss or 0.0 for loss in of_all)
        table.add_section()
        table.add_row(*_cells(total_line(seen, runs.solver), "total", whole))
    results.table(table)
    _advise(seen, file)


def _wandas(problem: Problem) -> dict[int, float]:
    """The loss of Wanda's mask of each part, by its first row; none where it cannot be made."""
    try:
        masks = lowest(problem, wanda(problem.layer))
    except MaskgapError:  # a set of masks whose oracle refuses it
        return {}
    losses = problem.losses(Kept(masks.reshape(len(problem.rows), -1)))
    sums = losses.reshape(len(problem), -1).sum(axis=1)
    return dict(zip(problem.rows[:: problem.height], sums.tolist(), strict=True))


def _explain(judged: Judged, runs: Runs) -> None:
    reason = judged.certificate.reason or judged.answer.notes.get("reason")
    if not reason or judged.answer.stop is Stop.REFUSED:
        return
    more = ""
    if judged.answer.stop is Stop.CRASHED:
        log = runs.log
        more = "; where: --log DIR keeps the traceback" if log is None else f"; see {log}"
    say(f"row {judged.problem.row}: {reason}{more}")


def _advise(seen: list[Judged], file: Path) -> None:
    """Say what judges masks whose solver gives no bounds."""
    pattern, objective = seen[0].problem.pattern, seen[0].problem.objective
    ridge = objective.ridge if objective.refits else None
    own = ObjectiveOptions(str(objective.name), ridge).words()
    kind = parse_pattern(pattern)
    bounded = kind.equal_rows or kind.one_budget  # by `bound`, which refuses others
    if (
        bounded
        and all(_unbounded(row_line(judged, "")) for judged in seen)
        and any(judged.certificate.objective for judged in seen)
    ):
        say(
            f"no bounds from this solver; how good can a mask be? maskgap bound {file} "
            f"--pattern '{pattern}'{own} (--mask FILE to judge one)"
        )


def _unbounded(line: dict[str, object]) -> bool:
    return line["bound_kind"] == BoundKind.TRIVIAL and line["verdict"] not in ("proved", "closed")


def _cells(line: dict[str, Any], name: str, wandas: float | None) -> list[str]:
    """A line as cells. wandas: the loss of Wanda's mask on the same rows, None where unknown."""
    objective = line["objective"]
    ratio = f"{objective / wandas:.4f}" if objective is not None and wandas else "-"
    bound = ["-", "-", "-"]
    if line["bound_kind"] is not None and not _unbounded(line):
        bound = [at_least(line["bound"]), line["bound_kind"], percent(line["gap"])]
    return [
        name,
        at_most(objective),
        ratio,
        *bound,
        line["verdict"],
        line["stop"],
        f"{line['build_s'] + line['solve_s']:.3f}",
    ]
