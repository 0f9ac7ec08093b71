"""Certified gaps by method and group: how far every method's masks are from the best, in one table.

A cell is the mean over a group's rows of (error - best checked bound of anyone) / error; the last
two columns are the geometric mean over all groups' rows of the error over that of Wanda's mask on
the same row, on the calibration text and on held-out text: whether the better optimised mask stays
better. Each objective has a table of its own.
"""

from collections.abc import Sequence
from math import exp, fsum, log

from maskgap.benchmarks.reading.contest import Contest, contests
from maskgap.benchmarks.reading.statistics import Summary, summarise
from maskgap.benchmarks.reading.typeset import markdown, number, percent
from maskgap.benchmarks.runs.record import Record

LEGEND = (
    "a column a group of rows: mean of (error - best checked bound of anyone) / error; no legal "
    "mask can be better by more",
    "error / wanda: geometric mean over all rows of the error over that of Wanda's mask; held out: "
    "the same masks on other text",
)


def render_gaps(records: Sequence[Record]) -> str:
    """The table of cross-checked records in Markdown, least gap first; solvers with masks only."""
    by_objective: dict[str, list[Contest]] = {}
    for contest in contests(records):
        by_objective.setdefault(contest.objective, []).append(contest)
    tables = [_table(groups) for groups in by_objective.values()]
    return "\n\n".join([*tables, "\n".join(f"* {line}" for line in LEGEND)])


def _table(groups: Sequence[Contest]) -> str:
    """Groups of one objective."""
    found: dict[str, dict[str, Summary]] = {}
    for contest in groups:
        for summary in summarise(contest):
            if summary.solved and summary.error_ratio is not None:
                found.setdefault(summary.contender, {})[contest.name] = summary
    whole = {name: by for name, by in found.items() if len(by) == len(groups)}
    lines = [
        {
            "solver": name,
            **{
                f"{c.name} ({by[c.name].problems} rows)": percent(by[c.name].certified_gap)
                for c in groups
            },
            "error / wanda": number(_mean([s.error_ratio for s in by.values()], by), 3),
            "held out": number(_mean([s.error_ratio_eval for s in by.values()], by), 3),
        }
        for name, by in sorted(whole.items(), key=lambda item: _gap(item[1]))
    ]
    return markdown(lines)


def _gap(by: dict[str, Summary]) -> float:
    return fsum(1.0 if s.certified_gap is None else s.certified_gap for s in by.values())


def _mean(ratios: Sequence[float | None], by: dict[str, Summary]) -> float | None:
    """Geometric mean of groups' geometric means, each with the weight of its rows."""
    weights = [s.problems for s in by.values()]
    if any(ratio is None or ratio <= 0 for ratio in ratios):
        return None
    logs = [w * log(ratio or 1.0) for w, ratio in zip(weights, ratios, strict=True)]
    return exp(fsum(logs) / sum(weights))
