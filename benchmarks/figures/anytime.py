"""Anytime curves: how good the best mask and the best bound were at each moment.

    left    mean over all rows of (objective so far - best known) / objective so far
    right   mean over all rows of (best known - own bound so far) / best known

Before the first mask or bound, and on rows that never had one, a row counts as 100 %; a solver that
keeps no trace has its mask or bound at its end. After a run has ended its curve goes on flat.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.certify import gap_of
from benchmarks.contest import Contest, Entry, mixtures
from benchmarks.figures.columns import LEAST_GAP, SMALL
from benchmarks.figures.trace import Steps, bounds_over_time, masks_over_time, value_at
from benchmarks.labels import stacked
from benchmarks.style import Lanes, as_percent, legend_right, looks, new_figure, say, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SECONDS = 1e-3
POINTS = 120


def anytime_figure(contests: Sequence[Contest]) -> "Figure":
    """Mean gap of masks, and of bounds, to the best known objective over time."""
    figure, axes = new_figure(len(contests), 2, 3.0)
    for (left, right), contest in zip(axes, contests, strict=True):
        limit = max(contest.limits.values())
        grid = np.geomspace(LEAST_SECONDS, max(limit, 10 * LEAST_SECONDS), POINTS)
        kinds = {name: contest.spec(name) for name in contest.contenders}
        masks = [n for n, kind in kinds.items() if not kind.bound_only]
        bounds = [n for n, kind in kinds.items() if kind.bound_only or kind.proves]
        _panel(left, contest, masks, grid, masks_over_time, _mask_gap)
        _panel(right, contest, bounds, grid, bounds_over_time, _bound_gap)
        left.set_ylabel("mean gap to the best known error")
        title(left, f"{contest.name}: masks", mixtures(contest))
        title(right, f"{contest.name}: own bounds")
        styles = {stacked(n): style for n, style in looks(contest.contenders).items()}
        legend_right(right, "solver", styles)
    return figure


def _mask_gap(value: float, least: float) -> float:
    gap = gap_of(value, least)
    return 1.0 if gap is None else gap


def _bound_gap(value: float, least: float) -> float:
    gap = gap_of(least, value)
    return 1.0 if gap is None else gap


def _panel(
    axis: "Axes",
    contest: Contest,
    names: Sequence[str],
    grid: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    over_time: Callable[[Entry], Steps],
    gap: Callable[[float, float], float],
) -> None:
    lanes = Lanes(LEAST_GAP, 1.0, (), [SMALL])
    lanes.draw(axis, as_percent)
    styles = looks(contest.contenders)
    for place, name in enumerate(names):
        rows = [
            ([] if entry is None else over_time(entry), contest.least(problem))
            for problem, entry in contest.of(name)
        ]
        mean = np.mean([_curve(steps, least, grid, gap) for steps, least in rows], axis=0)
        shown = np.where(mean > LEAST_GAP, mean, lanes[SMALL])
        axis.plot(grid, shown, label=name, markevery=(place % 20, 20), markersize=4,
                  linewidth=1.3, **styles[name])  # fmt: skip
    if not names:
        say(axis, "no solver of this group has one")
    axis.set_xscale("log")
    axis.set_xlim(grid[0], grid[-1])
    axis.set_xlabel("seconds since the start (building included)")


def _curve(
    steps: Steps,
    least: float | None,
    grid: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    gap: Callable[[float, float], float],
) -> list[float]:
    values = (value_at(steps, float(t)) for t in grid)
    return [1.0 if v is None or least is None else gap(v, least) for v in values]
