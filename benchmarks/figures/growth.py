"""Growth of time with the number of columns n, all groups of a run together.

A point is the median over the rows of that n of build + solve, a row that was not solved counting
at its limit. Open marks at the limit tell that some rows were not solved; rows without a result
(refused, crashed, wrong) are crosses in lanes. Solvers are moved aside a little so that marks at
one limit stay apart.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import Contest, Entry, Fate, mixtures
from benchmarks.style import Lanes, as_number, legend_right, looks, new_figure, say, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SECONDS = 1e-4
BROKEN = (Fate.REFUSED, Fate.CRASHED, Fate.WRONG)
DODGE = 0.02


def growth_figure(contests: Sequence[Contest]) -> "Figure":
    """Median seconds a row against n."""
    figure, axes = new_figure(2, 1, 3.9)
    entries = [e for contest in contests for e in contest.chosen.values()]
    names = list(dict.fromkeys(c for contest in contests for c in contest.contenders))
    proving = {name for contest in contests for name in contest.contenders
               if contest.spec(name).proves}  # fmt: skip
    warnings = sorted({m for contest in contests for m in mixtures(contest)})
    panels = (
        (axes[0][0], "time to prove or close", [n for n in names if n in proving]),
        (axes[1][0], "time to a mask or a bound", [n for n in names if n not in proving]),
    )
    for axis, text, mine in panels:
        _panel(axis, mine, entries)
        title(axis, text, warnings)
    axes[1][0].set_xlabel("columns n of the row")
    return figure


def _panel(axis: "Axes", names: Sequence[str], entries: Sequence[Entry]) -> None:
    from matplotlib.ticker import NullLocator

    mine = [e for e in entries if e.label in names]
    if not mine:
        say(axis, "no such solver in this run")
        return
    times = [max(_counted(e), LEAST_SECONDS) for e in mine]
    broken = [f for f in BROKEN if any(e.fate is f for e in mine)]
    lanes = Lanes(min(times), max(times), map(str, broken))
    lanes.draw(axis, as_number)
    axis.set_xscale("log")
    shown = {}
    for place, (name, style) in enumerate(looks(names).items()):
        own = [e for e in mine if e.label == name]
        shown[name + ("*" if own[0].spec.batched else "")] = style
        _curve(axis, style, own, lanes, 1.0 + DODGE * (place - len(names) / 2))
    ticks = sorted({e.record.n for e in mine})
    axis.set_xticks(ticks, [str(n) for n in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    batched = any(e.spec.batched for e in mine)
    axis.set_ylabel("median seconds a row" + ("\n(* all rows of a layer at once)" * batched))
    legend_right(axis, "hollow: not all solved", shown)


def _counted(entry: Entry) -> float:
    """Seconds of a row that was solved, its limit otherwise."""
    return entry.seconds if entry.solved else entry.limit_s


def _curve(
    axis: "Axes", style: dict[str, Any], own: Sequence[Entry], lanes: Lanes, dodge: float
) -> None:
    by_width: dict[int, list[Entry]] = defaultdict(list)
    for entry in own:
        if entry.fate in BROKEN:
            axis.plot(entry.record.n * dodge, lanes[str(entry.fate)], marker="x", markersize=4.5,
                      color=style["color"], linestyle="none")  # fmt: skip
        else:
            by_width[entry.record.n].append(entry)
    widths = sorted(by_width)
    medians = [
        max(float(np.median([_counted(e) for e in by_width[n]])), LEAST_SECONDS) for n in widths
    ]
    x = [n * dodge for n in widths]
    axis.plot(x, medians, linewidth=1.2, **{**style, "marker": "none"})
    mark = {"marker": style["marker"], "color": style["color"], "linestyle": "none"}
    for n, median in zip(widths, medians, strict=True):
        open_limits = {e.limit_s for e in by_width[n] if not e.solved}
        if median not in open_limits:  # a filled mark would hide the open one
            axis.plot(n * dodge, median, markersize=4.2, **mark)
        if open_limits:
            axis.plot(
                [n * dodge] * len(open_limits), sorted(open_limits), markersize=6,
                markerfacecolor="none", **mark,
            )  # fmt: skip
