"""Figures of a run. Every record is somewhere in them: zeros and failures have lanes of their own.

    error      each mask's error over Wanda's on the same row, a point a row, a bar at the median
    gap        certified gap of each mask (against the best checked bound of anyone) and, hollow,
               the gap that the solver itself claims
    profile    share of rows closed or proved within t seconds; t is absolute, not a ratio
    anytime    mean gap of the best mask so far to the best known, over time since the start
    growth     time to close a row against n; open marks at the limit are rows not closed

The definitions of the numbers are those of `benchmarks.statistics`.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.certify import Verdict, best_bounds, cross_check, gap_of
from benchmarks.record import Record, load_run
from benchmarks.statistics import (
    best_known,
    by_group,
    in_order,
    is_solved,
    representatives,
    seconds_of,
)
from benchmarks.style import legend_beside, log_lanes, look, new_figure
from solvers.registry import spec_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_GAP = 1e-4
"""Gaps below this share a lane of their own at the foot of the axis."""

LEAST_SECONDS = 1e-4


def _spread(count: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Offsets that keep points of one column apart; fixed, so figures repeat."""
    return np.asarray(np.linspace(-0.28, 0.28, count) if count > 1 else np.zeros(1))


def error_figure(groups: dict[str, list[Record]]) -> "Figure":
    """Error of each mask relative to Wanda's."""
    figure, axes = new_figure(len(groups), 3.6)
    for axis, (name, records) in zip(axes, groups.items(), strict=True):
        chosen = representatives(records)
        wanda = {p: r.objective for (s, p), r in chosen.items() if s == "wanda"}
        solvers = [s for s in in_order(r.solver for r in records) if not spec_of(s).bound_only]
        ratios = {
            (solver, problem): record.objective / reference
            for (solver, problem), record in chosen.items()
            if record.objective is not None and (reference := wanda.get(problem))
        }
        positive = [v for v in ratios.values() if v > 0]
        low, high = min(positive, default=0.5), max(positive, default=2.0)
        zero_lane, fail_lane = low / 2.0, high * 2.0
        for column, solver in enumerate(solvers):
            mine = [(p, r) for (s, p), r in chosen.items() if s == solver]
            for (problem, record), shift in zip(mine, _spread(len(mine)), strict=True):
                value = ratios.get((solver, problem))
                if value is None:
                    both_zero = record.objective == 0 and wanda.get(problem) == 0
                    lane = zero_lane if both_zero else fail_lane
                else:
                    lane = value if value > 0 else zero_lane
                face = look(solver)["color"] if lane != fail_lane else "none"
                axis.plot(
                    column + shift, lane, look(solver)["marker"], markersize=4.5,
                    markerfacecolor=face, markeredgecolor=look(solver)["color"], alpha=0.8,
                )  # fmt: skip
            valued = [v for (s, _), v in ratios.items() if s == solver and v > 0]
            if valued:
                axis.hlines(np.median(valued), column - 0.38, column + 0.38, color="black")
        axis.axhline(1.0, color="#555555", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_ylim(zero_lane / 1.3, fail_lane * 1.5)
        log_lanes(axis, [(zero_lane, "error 0"), (fail_lane, "no mask (hollow)")])
        _solver_ticks(axis, solvers)
        axis.set_title(name, fontsize=10)
        axis.set_ylabel("error / error of Wanda's mask\n(lower is better)")
    return figure


def gap_figure(groups: dict[str, list[Record]]) -> "Figure":
    """Certified gap of each mask, and the gap its solver claims."""
    figure, axes = new_figure(len(groups), 3.6)
    no_lane, closed_lane = 4.0, LEAST_GAP
    for axis, (name, records) in zip(axes, groups.items(), strict=True):
        chosen, bounds = representatives(records), best_bounds(records)
        solvers = [s for s in in_order(r.solver for r in records) if not spec_of(s).bound_only]
        for column, solver in enumerate(solvers):
            mine = [(p, r) for (s, p), r in chosen.items() if s == solver]
            for (problem, record), shift in zip(mine, _spread(len(mine)), strict=True):
                held = bounds.get(problem)
                gap = gap_of(record.objective, None if held is None else held.bound)
                style = look(solver)
                lane = no_lane if gap is None else max(gap, closed_lane)
                mark = "x" if gap is None else style["marker"]
                axis.plot(column + shift, lane, mark, color=style["color"], markersize=4.5)
                if record.bound_kind == "claimed" and record.gap is not None:
                    axis.plot(
                        column + shift, max(record.gap, closed_lane), style["marker"],
                        markersize=7, markerfacecolor="none", markeredgecolor=style["color"],
                    )  # fmt: skip
        axis.set_yscale("log")
        axis.set_ylim(closed_lane / 3, no_lane * 3)
        log_lanes(axis, [(closed_lane, f"below {LEAST_GAP:.2%}"), (no_lane, "no mask (x)")])
        _solver_ticks(axis, solvers)
        axis.set_title(name, fontsize=10)
        axis.set_ylabel("gap (filled: certified,\nhollow: claimed by solver)")
    return figure


def _solver_ticks(axis: "Axes", solvers: Sequence[str]) -> None:
    axis.set_xticks(range(len(solvers)), solvers, rotation=60, ha="right", fontsize=8)
    axis.set_xlim(-0.6, len(solvers) - 0.4)


def profile_figure(groups: dict[str, list[Record]]) -> "Figure":
    """Share of rows closed or proved within t seconds."""
    figure, axes = new_figure(len(groups), 3.2)
    for axis, (name, records) in zip(axes, groups.items(), strict=True):
        chosen = representatives(records)
        problems = {r.problem for r in records}
        limit = min(r.time_limit_s for r in records)
        drawn = False
        for solver in in_order(r.solver for r in records):
            if not spec_of(solver).proves:
                continue
            drawn = True
            times = sorted(
                max(seconds_of(r), LEAST_SECONDS)
                for (s, _), r in chosen.items()
                if s == solver and is_solved(r)
            )
            share = np.arange(len(times) + 1) / len(problems)
            x = [LEAST_SECONDS, *times, limit]
            y = [*share, share[-1]]
            axis.plot(
                x, y, drawstyle="steps-post", label=solver, markevery=[-1],
                markersize=5, **look(solver),
            )  # fmt: skip
        if not drawn:
            _say(axis, "no proving solver in this group")
        axis.set_xscale("log")
        axis.set_xlim(LEAST_SECONDS, 1.3 * limit)
        axis.set_ylim(-0.03, 1.05)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(f"seconds (build + solve), to the limit of {limit:g} s")
        axis.set_ylabel(f"share of {len(problems)} rows\nclosed or proved")
    legend_beside(figure, axes)
    return figure


def anytime_figure(groups: dict[str, list[Record]]) -> "Figure":
    """Mean gap of the best mask so far to the best known objective, over time."""
    figure, axes = new_figure(len(groups), 3.2)
    for axis, (name, records) in zip(axes, groups.items(), strict=True):
        chosen, best = representatives(records), best_known(records)
        grid = np.geomspace(1e-3, max(1e-2, min(r.time_limit_s for r in records)), 80)
        drawn = False
        for solver in in_order(r.solver for r in records):
            curves = [
                _excess_over_time(record, best[p].objective or 0.0, grid)
                for (s, p), record in chosen.items()
                if s == solver and record.trace and p in best
            ]
            if spec_of(solver).bound_only or not curves:
                continue
            drawn = True
            missing = sum(1 for (s, _) in chosen if s == solver) - len(curves)
            label = solver if not missing else f"{solver} ({missing} rows without a mask)"
            mean = np.mean(np.maximum(curves, LEAST_GAP), axis=0)
            style = look(solver)
            axis.plot(grid, mean, label=label, markevery=16, markersize=4, **style)
        if not drawn:
            _say(axis, "no solver of this group keeps a trace")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(LEAST_GAP / 2, 2.0)
        log_lanes(axis, [(LEAST_GAP, f"below {LEAST_GAP:.2%}"), (1.0, "no mask yet")])
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("seconds since the start (building included)")
        axis.set_ylabel("mean of\n(error - best known) / error")
    legend_beside(figure, axes)
    return figure


def _excess_over_time(
    record: Record, best: float, grid: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """(objective - best) / objective of a trace at each moment; 1 before the first mask."""
    excess = np.ones(len(grid))
    for seconds, objective, _ in record.trace:
        if objective is not None and isfinite(objective):
            gap = gap_of(objective, best)
            excess[grid >= seconds] = 1.0 if gap is None else gap
    return excess


def growth_figure(groups: dict[str, list[Record]]) -> "Figure":
    """Time against n, all groups together; open marks at the limit are rows not solved."""
    figure, (axis,) = new_figure(1, 5.5)
    records = [r for group in groups.values() for r in group]
    chosen = representatives(records)
    for solver in in_order(r.solver for r in records):
        style = look(solver)
        mine = [r for (s, _), r in chosen.items() if s == solver and r.stop != "refused"]
        widths = sorted({r.n for r in mine})
        medians = []
        for n in widths:
            at = [r for r in mine if r.n == n]
            times = [seconds_of(r) if is_solved(r) else r.time_limit_s for r in at]
            medians.append(max(float(np.median(times)), LEAST_SECONDS))
            if not all(is_solved(r) for r in at):
                limit = max(r.time_limit_s for r in at if not is_solved(r))
                axis.plot(
                    n, limit, style["marker"], markersize=7, markerfacecolor="none",
                    markeredgecolor=style["color"],
                )  # fmt: skip
        axis.plot(widths, medians, label=solver, markersize=4, **style)
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = sorted({r.n for r in records})
    axis.set_xticks(ticks, [str(n) for n in ticks], fontsize=8)
    axis.minorticks_off()
    axis.set_xlabel("columns n of the row")
    axis.set_ylabel("median seconds a row; hollow: some rows not solved")
    legend_beside(figure, [axis])
    return figure


def _say(axis: "Axes", text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color="#555555")


FIGURES: dict[str, Callable[[dict[str, list[Record]]], "Figure"]] = {
    "error": error_figure,
    "gap": gap_figure,
    "profile": profile_figure,
    "anytime": anytime_figure,
    "growth": growth_figure,
}


def write_figures(directory: Path, fmt: str) -> list[Path]:
    """Draw every figure of a run into `directory`/figures as png, pdf or svg; returns the paths.

    Wrong rows are left out of the drawing of masks and counted in the tables.
    """
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "maskgap"
    records = [r for r in cross_check(load_run(directory)) if r.verdict != Verdict.WRONG]
    groups = by_group(records)
    folder = directory / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
    }
    written = []
    for name, draw in FIGURES.items():
        path = folder / f"{name}.{fmt}"
        draw(groups).savefig(path, dpi=130, metadata=metadata[fmt])
        written.append(path)
    return written
