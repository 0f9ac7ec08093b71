"""How figures look: colours, marks, and lanes for what a log axis cannot hold.

One colour, marker and dash per solver, by its name alone, so the same in every figure. Colours are
those of Okabe and Ito and four of Tol's muted ones (colour-blind-safe); solvers that share one
differ in marker and dash, so a print in grey still tells them apart. Zeros and failures lie in
marked lanes above and below the data, named on the axis, on a tinted ground that says: not to
scale.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, floor, inf, log10, pow
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F",
    "#882255", "#332288", "#44AA99", "#999933",
)  # fmt: skip
MARKERS = "osD^vP*X<>hp8dH"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
WIDTH_IN = 9.0

PALETTE = (
    "exhaustive", "random", "magnitude", "wanda", "ria", "obs", "sparsegpt", "obs-greedy", "dsnot",
    "sparsefw", "swap", "search", "scip-miqp", "scip-factor", "highs-milp", "highs-oa",
    "cvxpy-miqp", "qp-bound", "sdp-bound", "shift-bound", "fw-bnb", "fw-bnb-highs", "fw-bnb-scip",
    "gurobi", "alps",
)  # fmt: skip
"""Names whose looks are told apart with care. A look is a place: whoever changes the order changes
every figure. Other names get a look by their digest, after these; two of them may share one."""


def looks(contenders: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each contender.

    They belong to the solver, so they are the same in every figure; variants 'solver [...]' keep
    its colour, and only their marker and dash move on.
    """
    found: dict[str, dict[str, Any]] = {}
    for contender in dict.fromkeys(contenders):
        solver = contender.partition(" [")[0]
        place = _place(solver)
        shift = sum(other.partition(" [")[0] == solver for other in found)
        found[contender] = {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[(place + shift) % len(MARKERS)],
            # differs among those of one colour, and among those of one marker
            "linestyle": DASHES[
                (place + place // len(COLOURS) + place // len(MARKERS) + shift) % len(DASHES)
            ],
        }
    return found


def _place(solver: str) -> int:
    """The place among the looks of a solver, by its name."""
    if solver in PALETTE:
        return PALETTE.index(solver)
    return len(PALETTE) + crc32(solver.encode()) % (len(COLOURS) * len(MARKERS))


def new_figure(rows: int, columns: int, height_in: float) -> "tuple[Figure, list[list[Axes]]]":
    """A figure of rows x columns panels, each row `height_in` inches, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    return figure, [list(line) for line in axes]


def verbatim(text: str) -> str:
    """Text that matplotlib draws as it is: dollars in a name begin no formula."""
    return text.replace("$", r"\$")


def title(axis: "Axes", text: str, warnings: Sequence[str] = ()) -> None:
    """A panel's title, with what makes it less comparable in the lines below it."""
    lines = [text, *(f"mixed {w}" for w in warnings)]
    axis.set_title(verbatim("\n".join(lines)), fontsize=9, loc="left")


def legend_right(axis: "Axes", heading: str, entries: dict[str, dict[str, Any]]) -> None:
    """The legend of a panel, outside on its right: text and look of each entry."""
    from matplotlib.lines import Line2D

    axis.legend(
        handles=[Line2D([], [], label=verbatim(text), markersize=4.2, linewidth=1.3, **style)
                 for text, style in entries.items()],
        title=heading, loc="upper left", bbox_to_anchor=(1.01, 1.03), frameon=False,
        fontsize=7.5, title_fontsize=7.5, handlelength=2.8, labelspacing=0.25,
        alignment="left", borderaxespad=0.0,
    )  # fmt: skip


def key_above(figure: "Figure", handles: Sequence[Any]) -> None:
    """What marks mean, once, above all panels."""
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), frameon=False,
        fontsize=7.5, handletextpad=0.4, columnspacing=1.4,
    )  # fmt: skip


def contender_ticks(axis: "Axes", contenders: Sequence[str], named: bool = True) -> None:
    """One column a contender, its name below; what tells variants apart goes on further lines.

    Names of many lines stand upright, lest they overlap. named: whether the names are shown.
    """
    names = [verbatim(name.replace(" [", "\n[")) if named else "" for name in contenders]
    if max((name.count("\n") for name in names), default=0) > 1:
        axis.set_xticks(range(len(names)), names, rotation=90, linespacing=1.0)
    else:
        axis.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="x", labelsize=8, length=0)
    axis.set_xlim(-0.6, len(names) - 0.4)


def named_last(lists: Sequence[Sequence[str]]) -> list[bool]:
    """Which of panels one below the other show their names: the last of each run that are alike."""
    return [
        place + 1 == len(lists) or list(own) != list(lists[place + 1])
        for place, own in enumerate(lists)
    ]


def stacked_figure(named: Sequence[bool]) -> "tuple[Figure, list[Axes]]":
    """Panels one below the other, with room for names below those that show them."""
    figure, axes = new_figure(len(named), 1, 1.0)
    figure.set_size_inches(WIDTH_IN, 0.5 + 2.1 * len(named) + 1.3 * sum(named))
    return figure, [axis for (axis,) in axes]


def rounded_down(value: float) -> float:
    """The next of 1, 2 and 5 times a power of ten at or below a positive number."""
    decade = 10.0 ** floor(log10(value))
    return max(factor * decade for factor in (1, 2, 5) if factor * decade <= value * (1 + 1e-9))


def spread(count: int, low: float, high: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Offsets between low and high that keep points of one column apart; fixed: figures repeat."""
    middle = np.full(1, (low + high) / 2)
    return np.asarray(np.linspace(low, high, count) if count > 1 else middle)


def say(axis: "Axes", text: str) -> None:
    """A panel with nothing to draw says why."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color="#555555")


FACTORS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (3.0, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
    (12.0, (1, 1.5, 2, 3, 5, 7)),
    (150.0, (1, 2, 5)),
    (inf, (1,)),
)
"""Which multiples of powers of ten have ticks on an axis whose ends are a ratio below so much."""


class Lanes:
    """Places outside a log axis' data for what has no logarithm, by name.

    low, high: range of the data, positive. above, below: names, the nearest to the data first.
    """

    def __init__(
        self, low: float, high: float, above: Iterable[str] = (), below: Iterable[str] = ()
    ) -> None:
        self.low, self.high = low, high
        step = max(1.25, pow(high / low, 0.1))
        self.above: dict[str, float] = {
            name: high * step ** (i + 1.2) for i, name in enumerate(above)
        }
        self.below: dict[str, float] = {
            name: low / step ** (i + 1.2) for i, name in enumerate(below)
        }
        self.step = step

    def __getitem__(self, name: str) -> float:
        return {**self.above, **self.below}[name]

    def draw(self, axis: "Axes", text: Callable[[float], str]) -> None:
        """Set the log axis, its limits and ticks, and the lanes. text: a value as its tick says."""
        axis.set_yscale("log")
        edge = self.step**0.6
        bottom, top = self.low / edge, self.high * edge
        for lanes, ground in ((self.above, top), (self.below, bottom)):
            if not lanes:
                continue
            end = max(lanes.values()) * edge if lanes is self.above else min(lanes.values()) / edge
            axis.axhspan(min(ground, end), max(ground, end), color="#F1F1F1", zorder=0)
            for place in lanes.values():
                axis.axhline(place, color="#AAAAAA", linewidth=0.7, linestyle=":", zorder=1)
            bottom, top = min(bottom, end), max(top, end)
        ticks = _ticks(self.low, self.high)
        named = {**self.below, **self.above}
        axis.set_yticks([*ticks, *named.values()], [*map(text, ticks), *named])
        axis.minorticks_off()
        axis.set_ylim(bottom, top)


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten in a range, and as many of their multiples that some have a place in it."""
    span = high / low
    factors = next(chosen for most, chosen in FACTORS if span < most)
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def as_percent(value: float) -> str:
    """0.1 as '10 %'."""
    return f"{100 * value:g} %"


def as_number(value: float) -> str:
    """0.1 as '0.1'."""
    return f"{value:g}"
