"""How the certified gap of a layer falls with time, a curve for each layer and pattern.

gap(s) = (sum of the best masks' errors - sum of the checked bounds) / the first,  after s seconds
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.figures.style import (
    COLOURS,
    DASHES,
    as_percent,
    legend_right,
    new_figure,
    rounded_down,
)
from maskgap.benchmarks.reading.typeset import percent
from maskgap.benchmarks.verify.certificate import gap_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float | None, float]]
"""(seconds, objective or None, bound)."""

LEAST_GAP = 1e-4


def falling_figure(curves: Mapping[str, Points]) -> "Figure":
    """The figure of named courses."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    figure, ((axis,),) = new_figure(1, 1, 4.2)
    least, styles = 0.5, {}
    for place, (name, points) in enumerate(curves.items()):
        seen = [(s, gap_of(objective, bound)) for s, objective, bound in points]
        known = [(s, gap) for s, gap in seen if gap is not None]
        style = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": DASHES[place // 2 % len(DASHES)],
        }
        gaps = [max(gap, LEAST_GAP) for _, gap in known]
        axis.step([s for s, _ in known], gaps, where="post", **style)
        styles[f"{name}: {percent(known[-1][1])}" if known else name] = style
        least = min([least, *gaps])
    axis.set_yscale("log")
    axis.set_ylim(rounded_down(least), 1.0)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: as_percent(value)))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axis.set_xlim(left=0.0)
    axis.set_xlabel("seconds")
    axis.set_ylabel("certified gap of all rows")
    legend_right(axis, "at the end", styles)
    return figure
