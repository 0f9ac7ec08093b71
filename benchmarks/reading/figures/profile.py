"""Time to gap: the share of a group's rows settled within t seconds; t is absolute, not a ratio.

Left, rows closed or proved, at the run's tolerance. Right, rows whose own gap, by mask and bound
of the solver itself, is within 1 %. Rows that were not settled, or not run, stay in the
denominator, so a curve ends at the share solved; the legend gives both numbers. Groups without a
proving solver are left out.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from maskgap.benchmarks.reading.contest import Contest, Entry, mixtures
from maskgap.benchmarks.reading.figures.anytime import CROWD
from maskgap.benchmarks.reading.figures.style import legend_right, looks, new_figure, title
from maskgap.benchmarks.reading.figures.trace import time_within
from maskgap.benchmarks.reading.labels import stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 0.01
LEAST_SECONDS = 1e-4


def profile_figure(contests: Sequence[Contest]) -> "Figure | None":
    """Share of rows closed or proved, and within 1 % by the solver's own bound, over time.

    None where no solver of the run proves.
    """
    proving = [c for c in contests if any(c.kind(name).proves for name in c.contenders)]
    if not proving:
        return None
    figure, axes = new_figure(len(proving), 2, 3.0 if len(proving) < CROWD else 2.7)
    for (left, right), contest in zip(axes, proving, strict=True):
        names = [c for c in contest.contenders if contest.kind(c).proves]
        near = {c: _times(contest, c, NEAR) for c in names}
        exact = {c: _times(contest, c, None) for c in names}
        styles = looks(names)
        names.sort(key=lambda c: (-len(exact[c]), -len(near[c])))
        limit = max(contest.limits.values())
        known = [t for times in [*near.values(), *exact.values()] for t in times]
        start = max(LEAST_SECONDS, min([0.01 * limit, *known]) / 2)
        for axis, times in ((left, exact), (right, near)):
            for name in names:
                share = np.arange(len(times[name]) + 1) / len(contest.problems)
                end = max([limit, *times[name]])
                axis.plot(
                    [start, *times[name], end], [*share, share[-1]],
                    drawstyle="steps-post", markevery=_marked(len(times[name]) + 2),
                    markersize=4, linewidth=1.3, label=name, **styles[name],
                )  # fmt: skip
            axis.axvline(limit, color="#888888", linewidth=0.8, linestyle=":")
            axis.set_xscale("log")
            axis.set_xlim(start, 1.5 * max([limit, *known]))
            axis.set_ylim(-0.03, 1.05)
            axis.set_xlabel(f"seconds (build + solve); dotted: limit {limit:g} s")
        left.set_ylabel(f"share of {len(contest.problems)} {contest.unit}")
        title(left, f"{contest.name}: closed or proved", mixtures(contest))
        title(right, f"{contest.name}: own gap within {100 * NEAR:g} %")
        counts = {n: f"{stacked(n)}: {len(exact[n])}, {len(near[n])}" for n in names}
        legend_right(right, "solver: rows left, right", {counts[n]: styles[n] for n in names})
    return figure


def _marked(points: int) -> list[int]:
    """Places of marks on a curve: some on its way, so that a print in grey shows whose it is."""
    return sorted({*range(1, points, max(1, points // 6)), points - 1})


def _times(contest: Contest, contender: str, gap: float | None) -> list[float]:
    """Sorted seconds of the rows that got within a gap, or were solved (gap None)."""
    times = [_time(e, gap) for _, e in contest.of(contender) if e is not None]
    return sorted(max(t, LEAST_SECONDS) for t in times if t < inf)


def _time(entry: Entry, gap: float | None) -> float:
    if gap is None:
        return entry.seconds if entry.solved else inf
    return time_within(entry, gap)
