"""What each choice of settings costs: one panel pair for each solver that ran with several.

    left    x = (t + s) / (t_base + s) on one row (log axis), s = 0.1 s, a row not solved counting
            at its limit
    right   x = (nodes + 10) / (nodes of the base + 10) on one row (log axis); where no run counts
            nodes, the own gap at its end, and where none has a bound, error / error of the base

Left of 1 is better than the base, the first line. A hollow mark is a row not solved, whose true
place is further right. Where the base left most rows unsolved, these ratios say nothing; then the
left has the seconds t + s until the run ended (log axis), and the right (error - own bound) / error
at its end. A bar marks the geometric mean, of gaps the mean: the numbers of the table
(`benchmarks.reading.tables.ablation`).
"""

from collections.abc import Callable, Sequence
from math import exp, log
from statistics import fmean
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.contest import Contest, Entry
from maskgap.benchmarks.reading.figures.style import WIDTH_IN, as_number, as_percent, looks, title
from maskgap.benchmarks.reading.statistics import SHIFT_S, counted_seconds, own_gap
from maskgap.benchmarks.reading.tables.ablation import SHIFT_COUNT, Ablation, Choice, ablations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_IN = 0.2
"""Height of a line of marks."""

FRAME_IN = 1.0
"""Height of titles and axes of one panel."""

Mark = tuple[float, bool]
"""Place on the axis, and whether the row was solved."""

Measure = Callable[[Ablation, Choice], list[Mark]]


def choices_figure(contests: Sequence[Contest]) -> "Figure | None":
    """Time and nodes relative to the base, row by row; None where no solver has two settings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = ablations(contests)
    if not found:
        return None
    heights = [LINE_IN * len(ablation.choices) + FRAME_IN for ablation in found]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), 2, squeeze=False, height_ratios=heights, sharey="row")
    for (left, right), ablation in zip(axes, found, strict=True):
        for axis, measure in zip((left, right), _measures(ablation), strict=True):
            marks = [measure(ablation, choice) for choice in ablation.choices]
            _panel(axis, ablation, marks)
            _bars(axis, marks, geometric=measure is not _gaps)
            axis.set_xlabel(_LABELS[measure])
            if measure is _gaps:
                axis.set_xlim(left=0.0)
                axis.xaxis.set_major_formatter(lambda value, _: as_percent(value))
            else:
                _log_axis(axis)
            if measure in (_times, _nodes, _errors):
                axis.axvline(1.0, color="#555555", linewidth=0.8, zorder=1)
        names = [ablation.name(choice) for choice in ablation.choices]
        left.set_yticks(range(len(names)), names)
        left.set_ylim(len(names) - 0.4, -0.6)
        rows = f"{len(ablation.contest.problems)} rows; hollow: not solved"
        title(left, f"{ablation.contest.name}: {ablation.solver}, {rows}")
    return figure


def _measures(ablation: Ablation) -> tuple[Measure, Measure]:
    """What is shown left and right: only what some run has."""
    if not ablation.timed:
        return _spent, _gaps
    entries = [e for c in ablation.choices for _, e, _ in _rows(ablation, c) if e is not None]
    if any("nodes" in e.record.counters for e in entries):
        return _times, _nodes
    return _times, _gaps if any(e.bound is not None for e in entries) else _errors


def _rows(ablation: Ablation, choice: Choice) -> list[tuple[str, Entry | None, Entry | None]]:
    """Each problem with the entries of a choice and of the base."""
    contest, base = ablation.contest, ablation.choices[0].summary.contender
    own = contest.of(choice.summary.contender)
    return [(p, e, usual) for (p, e), (_, usual) in zip(own, contest.of(base), strict=True)]


def _times(ablation: Ablation, choice: Choice) -> list[Mark]:
    contest = ablation.contest
    return [
        (
            (counted_seconds(contest, p, e) + SHIFT_S)
            / (counted_seconds(contest, p, base) + SHIFT_S),
            e is not None and e.solved,
        )
        for p, e, base in _rows(ablation, choice)
    ]


def _spent(ablation: Ablation, choice: Choice) -> list[Mark]:
    entries = [e for _, e, _ in _rows(ablation, choice) if e is not None]
    return [(e.seconds + SHIFT_S, e.solved) for e in entries]


def _nodes(ablation: Ablation, choice: Choice) -> list[Mark]:
    found = []
    for _, e, base in _rows(ablation, choice):
        if e is None or base is None:
            continue
        own, usual = (entry.record.counters.get("nodes") for entry in (e, base))
        if own is not None and usual is not None:
            found.append(((own + SHIFT_COUNT) / (usual + SHIFT_COUNT), e.solved))
    return found


def _gaps(ablation: Ablation, choice: Choice) -> list[Mark]:
    gaps = [(own_gap(ablation.contest, e), e) for _, e, _ in _rows(ablation, choice)]
    return [(1.0 if gap is None else gap, e is not None and e.solved) for gap, e in gaps]


def _errors(ablation: Ablation, choice: Choice) -> list[Mark]:
    pairs = [(e, base) for _, e, base in _rows(ablation, choice) if e is not None]
    return [
        (e.objective / base.objective, e.solved)
        for e, base in pairs
        if base is not None and (e.objective or 0.0) > 0 and (base.objective or 0.0) > 0
        if e.objective is not None and base.objective is not None
    ]


_LABELS: dict[Measure, str] = {
    _times: "time / time of the first line",
    _spent: "seconds until the end",
    _nodes: "nodes / nodes of the first line",
    _gaps: "own gap at the end",
    _errors: "error / error of the first line",
}


def _panel(axis: "Axes", ablation: Ablation, marks: Sequence[Sequence[Mark]]) -> None:
    """One line of marks a choice, its mean as a bar."""
    colour = looks([ablation.solver])[ablation.solver]["color"]
    axis.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.xaxis.label.set_fontsize(9)
    for line, mine in enumerate(marks):
        for solved in (True, False):
            places = [place for place, done in mine if done is solved]
            axis.plot(
                places, [line] * len(places), linestyle="none", marker="o", markersize=3.6,
                color=colour, alpha=0.8, markerfacecolor=colour if solved else "none",
            )  # fmt: skip


def _log_axis(axis: "Axes") -> None:
    """A log axis whose 1, 2 and 5 are named as numbers; round numbers where it spans little."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    wide = high > 4 * low > 0
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if wide else MaxNLocator(5))
    axis.xaxis.set_major_formatter(lambda value, _: as_number(value))
    axis.xaxis.set_minor_locator(NullLocator())


def _bars(axis: "Axes", marks: Sequence[Sequence[Mark]], geometric: bool) -> None:
    """The mean of each line."""
    for line, mine in enumerate(marks):
        values = [place for place, _ in mine]
        if values:
            mean = exp(fmean(map(log, values))) if geometric else fmean(values)
            axis.vlines(mean, line - 0.38, line + 0.38, color="black", linewidth=1.6, zorder=4)
