"""Anytime curves: how good the best mask and the best bound were at each moment.

    left    mean over all rows of (objective so far - best known) / objective so far
    right   mean over all rows of (best known - own bound so far) / best known

Before the first mask or bound, and on rows that never had one, a row counts as 100 %; a solver that
keeps no trace has its mask or bound at its end. After a run has ended its curve goes on flat. A
solver that has one mask a row, all at once, is a mark: its median time, and its gap at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskgap.benchmarks.reading.contest import Contest, Entry, mixtures
from maskgap.benchmarks.reading.figures.columns import LEAST_GAP, SMALL, least_shown
from maskgap.benchmarks.reading.figures.style import (
    Lanes,
    as_percent,
    legend_right,
    looks,
    new_figure,
    say,
    title,
)
from maskgap.benchmarks.reading.figures.trace import (
    Steps,
    bounds_over_time,
    masks_over_time,
    value_at,
)
from maskgap.benchmarks.reading.labels import stacked
from maskgap.benchmarks.verify.certificate import gap_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROWD = 5
"""Groups from which on their panels are lower."""

LEAST_SECONDS = 1e-3
POINTS = 120


def anytime_figure(contests: Sequence[Contest]) -> "Figure":
    """Mean gap of masks, and of bounds, to the best known objective over time.

    Without any solver that gives bounds there are no panels of them.
    """
    bounding = any(_bounds(contest) for contest in contests)
    figure, axes = new_figure(len(contests), 1 + bounding, 3.0 if len(contests) < CROWD else 2.3)
    told: tuple[str, ...] = ()
    for line, contest in zip(axes, contests, strict=True):
        spent = [entry.seconds for entry in contest.entries]
        end = max(10 * LEAST_SECONDS, *contest.limits.values(), *spent)
        grid = np.geomspace(LEAST_SECONDS, end, POINTS)
        masks = [n for n in contest.contenders if not contest.kind(n).bound_only]
        _panel(line[0], contest, masks, grid, MASKS)
        line[0].set_ylabel("mean gap to the best known")
        title(line[0], f"{contest.name}: masks", mixtures(contest))
        if bounding:
            _panel(line[1], contest, _bounds(contest), grid, BOUNDS)
            title(line[1], f"{contest.name}: own bounds")
        if contest.contenders != told:  # the legend of a panel above holds for those alike
            told = contest.contenders
            styles = {
                stacked(n): {**style, "linestyle": "none"} if _at_once(contest, n) else style
                for n, style in looks(told).items()
            }
            legend_right(line[-1], "solver", styles)
    for axis in axes[-1]:
        axis.set_xlabel("seconds since the start (building included)")
    return figure


def _bounds(contest: Contest) -> list[str]:
    """The contenders that give bounds."""
    kinds = {name: contest.kind(name) for name in contest.contenders}
    return [n for n, kind in kinds.items() if kind.bound_only or kind.proves]


def _at_once(contest: Contest, name: str) -> bool:
    """Whether a contender without bounds has its masks at its end, and no trace of others."""
    kind = contest.kind(name)
    traced = any(e.record.trace for _, e in contest.of(name) if e is not None)
    return not (kind.proves or kind.bound_only or traced)


def _mask_gap(value: float, least: float) -> float:
    gap = gap_of(value, least)
    return 1.0 if gap is None else gap


def _bound_gap(value: float, least: float) -> float:
    gap = gap_of(least, value)
    return 1.0 if gap is None else gap


@dataclass(frozen=True, slots=True)
class _Course:
    """What a panel follows over time. gap: of a value and the least error known of its problem."""

    over_time: Callable[[Entry], Steps]
    gap: Callable[[float, float], float]


MASKS = _Course(masks_over_time, _mask_gap)
BOUNDS = _Course(bounds_over_time, _bound_gap)


def _panel(
    axis: "Axes",
    contest: Contest,
    names: Sequence[str],
    grid: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    course: _Course,
) -> None:
    means = {}
    for name in names:
        rows = [
            ([] if entry is None else course.over_time(entry), contest.least(problem))
            for problem, entry in contest.of(name)
        ]
        curves = [_curve(steps, least, grid, course.gap) for steps, least in rows]
        means[name] = np.mean(curves, axis=0)
    values = [float(v) for mean in means.values() for v in mean]
    below = [SMALL] if any(v <= LEAST_GAP for v in values) else []
    lanes = Lanes(least_shown(v for v in values if v > LEAST_GAP), 1.0, (), below)
    lanes.draw(axis, as_percent)
    styles = looks(contest.contenders)
    for place, (name, mean) in enumerate(means.items()):
        style = styles[name]
        shown = np.where(mean > LEAST_GAP, mean, lanes[SMALL] if below else 1.0)
        if _at_once(contest, name):
            spent = [e.seconds for _, e in contest.of(name) if e is not None] or [grid[-1]]
            moment = min(max(float(np.median(spent)), grid[0]), grid[-1])
            axis.plot([moment], shown[-1:], label=name, markersize=5.5, clip_on=False,
                      **{**style, "linestyle": "none"})  # fmt: skip
            continue
        axis.plot(grid, shown, label=name, markevery=(place % 20, 20), markersize=4,
                  linewidth=1.3, **style)  # fmt: skip
    if not names:
        say(axis, "no solver of this group has one")
    axis.set_xscale("log")
    axis.set_xlim(grid[0], grid[-1])


def _curve(
    steps: Steps,
    least: float | None,
    grid: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    gap: Callable[[float, float], float],
) -> list[float]:
    values = (value_at(steps, float(t)) for t in grid)
    return [1.0 if v is None or least is None else gap(v, least) for v in values]
