"""Growth of time and of nodes with the number of columns n, all groups of one objective together.

Time: a point is the median over the rows of that n of build + solve, a row that was not solved
counting at its limit. Open marks at the limit tell that some rows were not solved. Rows without a
result (refused, crashed, wrong, not run) are crosses in lanes, and a line breaks where all rows
are. Nodes: one mark a row, open where the search was cut off and would have needed more, and a line
through the medians of those n where no row was cut off.
Solvers are moved aside a little so that marks at one limit stay apart.
"""

from collections.abc import Callable, Sequence
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskgap.benchmarks.reading.contest import Contest, Entry, Fate, mixtures
from maskgap.benchmarks.reading.figures.style import (
    Lanes,
    as_number,
    legend_right,
    looks,
    new_figure,
    title,
)
from maskgap.benchmarks.reading.labels import stacked
from maskgap.instances.objective import MASK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SECONDS = 1e-4
BROKEN = (Fate.REFUSED, Fate.CRASHED, Fate.WRONG, Fate.NOT_RUN)
DODGE = 0.02


class Run(NamedTuple):
    """A contender on one row of n columns; no entry where it was not run."""

    contender: str
    n: int
    entry: Entry | None

    @property
    def fate(self) -> Fate | None:
        """What happened instead of a mask."""
        return Fate.NOT_RUN if self.entry is None else self.entry.fate

    @property
    def nodes(self) -> int | None:
        """Nodes of the search tree, None where the run counted none."""
        return None if self.entry is None else self.entry.record.counters.get("nodes")


def _runs(contest: Contest) -> list[Run]:
    widths = {e.record.problem: e.record.n for e in contest.entries}
    return [Run(name, widths[p], e) for name in contest.contenders for p, e in contest.of(name)]


def growth_figure(contests: Sequence[Contest]) -> "Figure":
    """Median seconds a row, and nodes, against n."""
    objectives = list(dict.fromkeys(contest.objective for contest in contests))
    panels = [
        panel
        for objective in objectives
        for panel in _panels(
            [c for c in contests if c.objective == objective],
            "" if objective == str(MASK) else f" ({objective})",
        )
    ]
    figure, axes = new_figure(len(panels), 1, 3.9)
    for (axis,), (text, warnings, runs, mine, draw) in zip(axes, panels, strict=True):
        draw(axis, mine, [run for run in runs if run.contender in mine])
        title(axis, text, warnings)
    axes[-1][0].set_xlabel("columns n of the row")
    return figure


Draw = Callable[["Axes", Sequence[str], Sequence[Run]], None]
"""What draws a panel: on an axis, some contenders, their runs."""

Panel = tuple[str, Sequence[str], Sequence[Run], Sequence[str], Draw]
"""Title, warnings, runs, the contenders shown, and what draws them."""


def _panels(contests: Sequence[Contest], under: str) -> list[Panel]:
    """The panels of groups of one objective. under: what their titles say of it."""
    runs = [run for contest in contests for run in _runs(contest)]
    names = list(dict.fromkeys(c for contest in contests for c in contest.contenders))
    proving = {name for contest in contests for name in contest.contenders
               if contest.kind(name).proves}  # fmt: skip
    warnings = sorted({m for contest in contests for m in mixtures(contest)})
    searching = {r.contender for r in runs if r.nodes is not None}
    panels: list[Panel] = []
    if proving:
        mine = [n for n in names if n in proving]
        panels.append((f"time to prove or close{under}", warnings, runs, mine, _panel))
    if others := [n for n in names if n not in proving]:
        panels.append((f"time to a mask or a bound{under}", warnings, runs, others, _panel))
    if searching:
        nodes = [n for n in names if n in searching]
        panels.append((f"nodes of the search tree{under}", (), runs, nodes, _nodes_panel))
    return panels


def _panel(axis: "Axes", names: Sequence[str], runs: Sequence[Run]) -> None:
    entries = [run.entry for run in runs if run.entry is not None]
    times = [max(_counted(e), LEAST_SECONDS) for e in entries]
    broken = [fate for fate in BROKEN if any(run.fate is fate for run in runs)]
    lanes = Lanes(min(times), max(times), map(str, broken))
    lanes.draw(axis, as_number)
    batched = {e.label for e in entries if e.kind.batched}
    shown = {}
    for place, (name, style) in enumerate(looks(names).items()):
        own = [run for run in runs if run.contender == name]
        shown[stacked(name + "*" * (name in batched))] = style
        _curve(axis, style, own, lanes, 1.0 + DODGE * (place - len(names) / 2))
    _widths(axis, runs)
    star = "\n(* all rows of a layer at once)" if batched else ""
    axis.set_ylabel("median seconds a row" + star)
    legend_right(axis, "hollow: not all solved", shown)


def _widths(axis: "Axes", runs: Sequence[Run]) -> None:
    """A log axis of the numbers of columns, each named."""
    from matplotlib.ticker import NullLocator

    axis.set_xscale("log")
    ticks = sorted({run.n for run in runs})
    axis.set_xticks(ticks, [str(n) for n in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def _nodes_panel(axis: "Axes", names: Sequence[str], runs: Sequence[Run]) -> None:
    _widths(axis, runs)
    counts = [max(run.nodes, 1) for run in runs if run.nodes is not None]
    Lanes(min(counts), max(counts)).draw(axis, lambda count: f"{count:,.0f}")
    shown = looks(names)
    for place, (name, style) in enumerate(shown.items()):
        dodge = 1.0 + DODGE * (place - len(names) / 2)
        medians: dict[int, float] = {}
        for n in sorted({run.n for run in runs}):
            counted = [run for run in runs if (run.contender, run.n) == (name, n)]
            whole = all(run.entry is not None and run.entry.solved for run in counted)
            nodes = [max(run.nodes, 1) for run in counted if run.nodes is not None]
            medians[n] = float(np.median(nodes)) if whole and nodes else nan
            for run in counted:
                if run.nodes is not None and run.entry is not None:
                    axis.plot(
                        n * dodge, max(run.nodes, 1), marker=style["marker"], markersize=4.2,
                        color=style["color"], linestyle="none",
                        markerfacecolor=style["color"] if run.entry.solved else "none",
                    )  # fmt: skip
        axis.plot([n * dodge for n in medians], [*medians.values()], linewidth=1.2,
                  **{**style, "marker": "none"})  # fmt: skip
    axis.set_ylabel("nodes of a row; line: median")
    legend_right(axis, "hollow: cut off", {stacked(n): style for n, style in shown.items()})


def _counted(entry: Entry) -> float:
    """Seconds of a row that was solved, its limit otherwise."""
    return entry.seconds if entry.solved else entry.limit_s


def _curve(
    axis: "Axes", style: dict[str, Any], own: Sequence[Run], lanes: Lanes, dodge: float
) -> None:
    by_width: dict[int, list[Entry]] = {n: [] for n in sorted({run.n for run in own})}
    for run in own:
        if run.entry is None or run.fate in BROKEN:
            axis.plot(run.n * dodge, lanes[str(run.fate)], marker="x", markersize=4.5,
                      color=style["color"], linestyle="none")  # fmt: skip
        else:
            by_width[run.n].append(run.entry)
    widths = list(by_width)
    medians = [
        max(float(np.median([_counted(e) for e in mine])), LEAST_SECONDS) if mine else nan
        for mine in by_width.values()
    ]
    x = [n * dodge for n in widths]
    axis.plot(x, medians, linewidth=1.2, **{**style, "marker": "none"})
    mark = {"marker": style["marker"], "color": style["color"], "linestyle": "none"}
    for n, median in zip(widths, medians, strict=True):
        open_limits = {e.limit_s for e in by_width[n] if not e.solved}
        if by_width[n] and median not in open_limits:  # a filled mark would hide the open one
            axis.plot(n * dodge, median, markersize=4.2, **mark)
        if open_limits:
            axis.plot(
                [n * dodge] * len(open_limits), sorted(open_limits), markersize=6,
                markerfacecolor="none", **mark,
            )  # fmt: skip
