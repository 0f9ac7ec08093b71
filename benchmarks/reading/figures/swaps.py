"""How 1-swap search lowers the error of whole layers, against swaps and against time.

    y       sum of errors / sum of the errors of Wanda's masks (`benchmarks.reading.layer_sums`); 1
    = Wanda swaps   x: T, swaps a row at most, from the start (0) to the most that any row took
    time    x: seconds of each layer's run, warm-up left out; hollow marks: solvers without a trace
            of swaps, at their end

A line of panels for each layer type, a column for each pattern; the panels of a line have one y
axis. A line has the colour and mark of the score whose mask it starts from.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from maskgap.benchmarks.reading.contest import Contest
from maskgap.benchmarks.reading.figures.style import (
    as_number,
    legend_right,
    looks,
    new_figure,
    title,
)
from maskgap.benchmarks.reading.labels import stacked
from maskgap.benchmarks.reading.layer_sums import Sum, layer_types, of_layers, patterns, sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SECONDS = 1e-3
ERROR_TICKS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
NARROW_TICKS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
SWAP_TICKS = (0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

Draw = Callable[["Axes", Sum, dict[str, Any]], None]


def swaps_figure(contests: Sequence[Contest]) -> "Figure | None":
    """Error against swaps; None where no record is of a layer with a trace by swaps."""
    return _figure(contests, _against_swaps, "swaps a row at most, T (start at 0)")


def swap_time_figure(contests: Sequence[Contest]) -> "Figure | None":
    """Error against time; None where there is no error against swaps."""
    return _figure(contests, _against_time, "seconds of a layer's run")


def _figure(contests: Sequence[Contest], draw: Draw, below: str) -> "Figure | None":
    summed = [
        (contest, pattern, list(sums(contest, pattern)))
        for contest in contests
        if of_layers(contest)
        for pattern in patterns(contest)
    ]
    groups = [g for g in summed if any(s.most_swaps is not None for s in g[2])]
    if not groups:
        return None
    places = [(contest, t) for contest in dict.fromkeys(c for c, _, _ in groups)
              for t in layer_types(contest)]  # fmt: skip
    widest = max(sum(c is contest for c, _, _ in groups) for contest, _ in places)
    figure, axes = new_figure(len(places), widest, 2.1)
    styles = _looks([s for _, _, found in groups for s in found])
    shown: dict[str, dict[str, Any]] = {}
    for line, (contest, layer_type) in zip(axes, places, strict=True):
        mine = [(pattern, found) for c, pattern, found in groups if c is contest]
        for axis in line[len(mine) :]:
            axis.set_visible(False)
        for axis, (pattern, found) in zip(line, mine, strict=False):
            for s in found:
                whole = s.layer_type == layer_type and len(s.entries) == s.layers > 0
                counts = s.most_swaps is not None
                if whole and s.reduction is not None and (counts or draw is _against_time):
                    name, style = styles[s.contender]
                    draw(axis, s, style)
                    shown[name] = style
            under = f" ({contest.objective})" if contest.entries[0].record.refits else ""
            title(axis, f"{layer_type}, {pattern}{under}")
        _finish(line[: len(mine)])
        line[0].set_ylabel("error / Wanda's")
    for axis in axes[-1]:
        axis.set_xlabel(below)
    legend_right(axes[0][-1], "solver", shown)
    return figure


def _looks(found: Sequence[Sum]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name and look of each contender; a search has those of the score that it starts from.

    Where several searches start from one score they keep their own, as in other figures.
    """
    own = looks(dict.fromkeys(s.contender for s in found))
    starts = {s.contender: s.start for s in found if s.most_swaps is not None}
    once = {c: start for c, start in starts.items() if list(starts.values()).count(start) == 1}
    scores = looks(dict.fromkeys(once.values()))
    named: dict[str, tuple[str, dict[str, Any]]] = {}
    for contender, style in own.items():
        if contender in once:
            start = once[contender]
            look = {**scores[start], "linestyle": "-"}
            named[contender] = (f"{contender.partition(' [')[0]} from {start}", look)
        else:
            flat = {} if contender in starts else {"linestyle": "none", "markerfacecolor": "none"}
            named[contender] = (stacked(contender), {**style, **flat})
    return named


def _finish(axes: "Sequence[Axes]") -> None:
    """One log axis of errors with plain numbers for a line of panels, and Wanda's line."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low = min(axis.dataLim.y0 for axis in axes)
    high = max(axis.dataLim.y1 for axis in axes)
    low, high = min(0.95, 0.93 * low), max(1.05, 1.07 * high)
    chosen = NARROW_TICKS if high / low < 2.0 else ERROR_TICKS
    ticks = [tick * 10.0**e for e in range(-6, 7) for tick in chosen]
    ticks = [tick for tick in ticks if low <= tick <= high]
    for axis in axes:
        axis.set_yscale("log")
        axis.set_ylim(low, high)
        axis.yaxis.set_major_locator(FixedLocator(ticks))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: as_number(value)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.axhline(1.0, color="#555555", linewidth=0.8, zorder=1)


def _against_swaps(axis: "Axes", s: Sum, style: dict[str, Any]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    counts = sorted({t for entry, _ in s.entries for t, _ in entry.record.by_swaps})
    errors = [1.0 - (s.reduction_after(t) or 0.0) for t in counts]
    axis.plot(counts, errors, linewidth=1.3, markersize=3.5, markevery=[-1], **style)
    most = max([1, *(float(line.get_xdata()[-1]) for line in axis.lines)])  # type: ignore[index, arg-type]
    axis.set_xscale("symlog", linthresh=1.0, linscale=0.4)
    axis.set_xlim(0, 1.2 * most)
    axis.xaxis.set_major_locator(FixedLocator([t for t in SWAP_TICKS if t <= 1.2 * most]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: as_number(value)))
    axis.xaxis.set_minor_locator(NullLocator())


def _against_time(axis: "Axes", s: Sum, style: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: as_number(value)))
    if s.most_swaps is None:
        end = max(LEAST_SECONDS, *(entry.seconds for entry, _ in s.entries))
        axis.plot([end], [1.0 - (s.reduction or 0.0)], markersize=4.5, **style)
        return
    known = [(max(t, LEAST_SECONDS), s.reduction_at(t)) for t in s.moments()]
    points = [(t, 1.0 - value) for t, value in known if value is not None]
    axis.plot(*zip(*points, strict=True), linewidth=1.3, markersize=3.5, markevery=[-1], **style)
