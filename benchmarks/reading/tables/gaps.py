"""Certified gaps by method and group: how far every method's masks are from the best, in one table.

Under objective mask a cell is the mean over a group's rows of

    (error - best checked bound of anyone) / error.

Under refit bounds of wide rows are much weaker, so a cell has two numbers, the second in brackets:
the geometric mean of the error over the least error known of the same row, and that mean gap. The
last two columns are the geometric mean over all groups' rows of the error over that of Wanda's mask
on the same row, on the calibration text and on held-out text: whether the better optimised mask
stays better. Each objective has a table of its own; `render_short` has both, a column a pattern.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from statistics import fmean

from maskgap.benchmarks.reading.contest import Contest, contests
from maskgap.benchmarks.reading.statistics import certified_gap, ratio_to_best, ratio_to_wanda
from maskgap.benchmarks.reading.typeset import markdown, number, percent
from maskgap.benchmarks.runs.record import Record

GAP = "mean of (error - best checked bound of anyone) / error; no legal mask can be better by more"

LEGEND = (
    f"a column a group of rows: {GAP}",
    "error / wanda: geometric mean over all rows of the error over that of Wanda's mask; held out: "
    "the same masks on other text",
)

REFIT_LEGEND = (
    "refit: the weights that stay are re-optimised for every mask, on held-out text too those of "
    "the calibration text",
    "cells under refit: geometric mean of the error over the least error known of the row (1.00: "
    f"no better mask is known), and in brackets {GAP}",
)

SHORT_LEGEND = (
    f"gap: {GAP}",
    "error / best: geometric mean of the error over the least error known of the same row",
    "refit: weights that stay are re-optimised for every mask, at the ridge named",
)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a contender reached, a number a row; lists that lack a row are None.

    gaps: certified, 1 without a bound. to_best, to_wanda, held_out: ratios of errors.
    """

    gaps: list[float]
    to_best: list[float] | None
    to_wanda: list[float] | None
    held_out: list[float] | None


def rows_of(groups: Sequence[Contest], contender: str) -> Rows:
    """Over all rows of these groups, in order; a row without a mask has gap 1 and no ratio."""
    found = [(contest, entry) for contest in groups for _, entry in contest.of(contender)]
    gaps = [certified_gap(*pair) for pair in found]
    return Rows(
        [1.0 if gap is None else gap for gap in gaps],
        _whole(ratio_to_best(*pair) for pair in found),
        _whole(ratio_to_wanda(*pair) for pair in found),
        _whole(ratio_to_wanda(*pair, held_out=True) for pair in found),
    )


def mask_solvers(groups: Sequence[Contest]) -> list[str]:
    """The contenders of all these groups that have masks in each, those that prove left out."""
    return [
        name
        for name in groups[0].contenders
        if all(
            name in c.contenders
            and not (c.kind(name).proves or c.kind(name).bound_only)
            and any(entry is not None and entry.objective is not None for _, entry in c.of(name))
            for c in groups
        )
    ]


def render_gaps(records: Sequence[Record]) -> str:
    """The tables of cross-checked records in Markdown, least gap first; solvers of masks only."""
    tables = []
    by_objective = _by_objective(records)
    for objective, groups in by_objective.items():
        refits = _refits(groups)
        names = mask_solvers(groups)
        cells = {name: [rows_of([c], name) for c in groups] for name in names}
        lines = []
        for name in sorted(names, key=lambda n: _order(cells[n], refits)):
            everything = rows_of(groups, name)
            shown = zip(groups, cells[name], strict=True)
            lines.append({
                "solver": name,
                **{
                    f"{_name(c)} ({len(c.problems)} rows)": _cell(rows, refits) for c, rows in shown
                },
                "error / wanda": number(_mean(everything.to_wanda), 3),
                "held out": number(_mean(everything.held_out), 3),
            })  # fmt: skip
        if lines:
            tables += [f"**Objective {objective}**"] * refits
            tables.append(markdown(lines))
    refit = any(_refits(groups) for groups in by_objective.values())
    mask = any(not _refits(groups) for groups in by_objective.values())
    legend = [*LEGEND[:1] * mask, *REFIT_LEGEND * refit, *LEGEND[1:]]
    return "\n\n".join([*tables, "\n".join(f"* {line}" for line in legend)])


def render_short(records: Sequence[Record]) -> str:
    """One table of all objectives: a line a solver, a column an objective and pattern.

    Solvers that did not run under an objective have dashes there; least gap of the first objective
    first.
    """
    by_objective = _by_objective(records)
    names: list[str] = []
    for groups in by_objective.values():
        names += [name for name in mask_solvers(groups) if name not in names]
    lines: dict[str, dict[str, str]] = {name: {"solver": name} for name in names}
    order: dict[str, list[float]] = {name: [] for name in names}
    for objective, groups in by_objective.items():
        known = mask_solvers(groups)
        for pattern, of_pattern in _by_pattern(groups).items():
            head = f"{objective}: {pattern} ({sum(len(c.problems) for c in of_pattern)} rows)"
            for name in names:
                rows = rows_of(of_pattern, name) if name in known else None
                if _refits(groups):
                    best = None if rows is None else _mean(rows.to_best)
                    lines[name][f"{head}, error / best"] = number(best, 2)
                lines[name][f"{head}, gap"] = percent(None if rows is None else fmean(rows.gaps))
                order[name].append(2.0 if rows is None else fmean(rows.gaps))
    placed = sorted(names, key=lambda name: order[name])
    return "\n\n".join([
        markdown([lines[name] for name in placed]),
        "\n".join(f"* {line}" for line in SHORT_LEGEND),
    ])  # fmt: skip


def _by_objective(records: Sequence[Record]) -> dict[str, list[Contest]]:
    """Groups by objective, without those that only add bounds to the rows of others."""
    found: dict[str, list[Contest]] = {}
    for contest in contests(records):
        if any(entry.objective is not None for entry in contest.entries):
            found.setdefault(contest.objective, []).append(contest)
    return found


def _by_pattern(groups: Sequence[Contest]) -> dict[str, list[Contest]]:
    """Groups by the patterns of their rows, as a text where there are several."""
    found: dict[str, list[Contest]] = {}
    for contest in groups:
        patterns = ", ".join(dict.fromkeys(e.record.pattern for e in contest.entries))
        found.setdefault(patterns, []).append(contest)
    return found


def _name(contest: Contest) -> str:
    """A group's name without its objective, which stands above the table."""
    return contest.name.removesuffix(f" ({contest.objective})")


def _refits(groups: Sequence[Contest]) -> bool:
    return groups[0].entries[0].record.refits


def _cell(rows: Rows, refits: bool) -> str:
    gap = percent(fmean(rows.gaps))
    return f"{number(_mean(rows.to_best), 2)} ({gap})" if refits else gap


def _order(cells: Sequence[Rows], refits: bool) -> float:
    """Least first: sum of the groups' gaps, or under refit of their logarithms of error / best."""
    if refits:
        return fsum(log(_mean(rows.to_best) or float("inf")) for rows in cells)
    return fsum(fmean(rows.gaps) for rows in cells)


def _whole(ratios: Iterable[float | None]) -> list[float] | None:
    """The ratios, or None where one is absent."""
    found = list(ratios)
    known = [ratio for ratio in found if ratio is not None]
    return known if len(known) == len(found) else None


def _mean(ratios: Sequence[float] | None) -> float | None:
    """Geometric mean."""
    return None if not ratios else exp(fmean(log(ratio) for ratio in ratios))
