"""Two runs of suites side by side: what changed on the problems that both have.

A line is a contender that both runs have in some group, compared on the problems that it has in
both, whatever the group is called; under the objective refit, one more line a ridge. A problem is
the same when its data, its pattern and its objective are.

    error ratio   exp(mean(log(error here / error there))), each ratio held within [1e-3, 1e3]
    time ratio    exp(mean(log((t + s) / (t_there + s)))), s = 0.1 s, a row not solved at its limit
"""

from collections.abc import Sequence
from math import exp, log
from statistics import fmean

from maskgap.benchmarks.reading.contest import Contest, Entry, contests
from maskgap.benchmarks.reading.statistics import (
    SAME,
    SHIFT_S,
    certified_gap,
    counted_seconds,
    error_ratio,
)
from maskgap.benchmarks.reading.typeset import csv_text, latex, markdown, number, percent
from maskgap.benchmarks.runs.record import Record
from maskgap.instances.errors import InputError

LEGEND = (
    "this run beside the other, on the rows that both have; solved, certified gap: there > here",
    "error ratio: geometric mean of the error here over the error there; better, worse: rows with "
    "less or more error by more than 1e-6 of it",
    "time ratio: geometric mean of shifted times (0.1 s); compare it on one machine only",
)

Pair = tuple[Contest, Contest, str, Entry, Entry]
"""The contest here and there, the problem, and the entries here and there."""


def render_comparison(here: Sequence[Record], there: Sequence[Record], fmt: str) -> str:
    """The table of two lists of cross-checked records in md, csv or latex.

    Raises InputError when they have no contender and problem in common.
    """
    lines = [_line(name, pairs) for name, pairs in _pairs(here, there).items()]
    if not lines:
        raise InputError("the two runs have no row in common that one solver ran in both")
    if fmt == "csv":
        return csv_text(lines)
    if fmt == "latex":
        return latex(lines, "two runs", LEGEND)
    return "\n\n".join([markdown(lines), "\n".join(f"* {line}" for line in LEGEND)])


def _pairs(here: Sequence[Record], there: Sequence[Record]) -> dict[str, list[Pair]]:
    """By contender, the rows that it ran in both, each once."""
    other = _entries(there)
    found: dict[str, list[Pair]] = {}
    for (name, problem), (contest, entry) in _entries(here).items():
        if (name, problem) in other:
            beside, theirs = other[name, problem]
            line = f"{name} ({contest.objective})" if entry.record.refits else name
            found.setdefault(line, []).append((contest, beside, problem, entry, theirs))
    return found


def _entries(records: Sequence[Record]) -> dict[tuple[str, str], tuple[Contest, Entry]]:
    return {
        (name, problem): (contest, entry)
        for contest in contests(records)
        for name in contest.contenders
        for problem, entry in contest.of(name)
        if entry is not None
    }


def _line(name: str, pairs: Sequence[Pair]) -> dict[str, str]:
    ratios = [r for pair in pairs if (r := _ratio(pair)) is not None]
    times = [
        (counted_seconds(c, p, mine) + SHIFT_S) / (counted_seconds(d, p, theirs) + SHIFT_S)
        for c, d, p, mine, theirs in pairs
    ]
    gaps = [
        fmean(1.0 if gap is None else gap for gap in side)
        for side in (
            [certified_gap(d, theirs) for _, d, _, _, theirs in pairs],
            [certified_gap(c, mine) for c, _, _, mine, _ in pairs],
        )
    ]
    solved = [
        sum(e.solved for e in side)
        for side in ([pair[4] for pair in pairs], [pair[3] for pair in pairs])
    ]
    masks = not pairs[0][3].kind.bound_only
    return {
        "solver": name,
        "rows": str(len(pairs)),
        "solved": f"{solved[0]} > {solved[1]}",
        "error ratio": number(exp(fmean(map(log, ratios))) if ratios else None, 4),
        "better": str(sum(r < 1 - SAME for r in ratios)) if ratios else "-",
        "worse": str(sum(r > 1 + SAME for r in ratios)) if ratios else "-",
        "certified gap": f"{percent(gaps[0])} > {percent(gaps[1])}" if masks else "-",
        "time ratio": number(exp(fmean(map(log, times))), 2),
    }


def _ratio(pair: Pair) -> float | None:
    _, _, _, mine, theirs = pair
    return error_ratio(mine.objective, theirs.objective, mine.record.energy)
