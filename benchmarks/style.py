"""How figures look: one colour, marker and dash per solver, readable without colour.

Colours are those of Okabe and Ito (colour-blind-safe); with more solvers than colours, markers and
dashes tell apart those that share one, so a print in grey still does.
"""

from typing import TYPE_CHECKING, Any

from solvers.registry import SPECS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = "osD^vP*X<>hp8dH"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))


def look(solver: str) -> dict[str, Any]:
    """Colour, marker and line style of a solver; the same in every figure."""
    names = list(SPECS)
    place = names.index(solver) if solver in names else len(names)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[(place + place // len(COLOURS)) % len(DASHES)],
    }


def new_figure(panels: int, height: float) -> "tuple[Figure, list[Axes]]":
    """A figure of panels one above the other, each `height` inches, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(panels, 1, i + 1) for i in range(panels)]
    for axis in axes:
        axis.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend_beside(figure: "Figure", axes: "list[Axes]") -> None:
    """One legend for all panels, outside on the right, each solver once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            handles=list(entries.values()),
            labels=list(entries),
            loc="outside right upper",
            frameon=False,
        )


def log_lanes(axis: "Axes", lanes: list[tuple[float, str]]) -> None:
    """Name the lanes of a log y axis that hold what has no logarithm: zeros and failures."""
    for value, text in lanes:
        axis.axhline(value, color="#999999", linewidth=0.8, linestyle=":")
        axis.annotate(
            text,
            (0.005, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 5),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=8,
            color="#333333",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "linewidth": 0},
            zorder=5,
        )
