"""Figures with one column a solver and one point a row: error, and gap.

    error   y = error of a mask / error of Wanda's mask on the same row (log axis); filled on
            calibration data, hollow on held-out data
    gap     y = (error - bound) / error (log axis, per cent); filled: against the best checked bound
            of anyone; hollow: the solver's own bound, a square when it is checked, a diamond when
            it is only claimed

A solver that proves, with a mask but no bound of its own, stands at 100 %. A bar marks the median
over all rows, a row without a mask being the worst there is. Every row has its mark: zeros and
failures lie in lanes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from maskgap.benchmarks.reading.contest import Contest, Entry, Fate
from maskgap.benchmarks.reading.figures.style import (
    Lanes,
    as_number,
    as_percent,
    contender_ticks,
    key_above,
    looks,
    named_last,
    rounded_down,
    spread,
    stacked_figure,
    title,
)
from maskgap.benchmarks.reading.labels import stacked
from maskgap.benchmarks.reading.statistics import (
    RATIO_LIMIT,
    certified_gap,
    own_gap,
    ratio_to_wanda,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_GAP = 1e-4
"""Smaller gaps share a lane."""

HIGH, LOW = "Wanda's is 0", "error 0"
NO_REFERENCE = "no Wanda"
NO_BOUND = "no bound"
SMALL = f"≤ {as_percent(LEAST_GAP)}"
FAILURES = (*map(str, (Fate.NO_MASK, Fate.REFUSED, Fate.CRASHED, Fate.WRONG, Fate.NOT_RUN)),
            NO_BOUND)  # fmt: skip


def error_figure(contests: Sequence[Contest]) -> "Figure":
    """Error of each mask relative to Wanda's; groups without Wanda's only if no group has them."""
    contests = [contest for contest in contests if contest.reference] or contests
    columns_of = [
        [c for c in contest.contenders if not contest.kind(c).bound_only] for contest in contests
    ]
    named = named_last(columns_of)
    figure, axes = stacked_figure(named)
    for axis, contest, masks, told in zip(axes, contests, columns_of, named, strict=True):
        columns = {c: [_error(contest, e) for _, e in contest.of(c)] for c in masks}
        held = {c: [_held_out(contest, e) for _, e in contest.of(c)] for c in masks}
        both = {v for rows in columns.values() for v in rows}
        both |= {v for rows in held.values() for v in rows if v is not None}
        values = [v for v in both if isinstance(v, float)]
        lanes = Lanes(
            min([0.8, *values]), max([1.25, *values]),
            [n for n in (HIGH, NO_REFERENCE, *FAILURES) if n in both],
            [n for n in (LOW,) if n in both],
        )  # fmt: skip
        lanes.draw(axis, as_number)
        axis.axhline(1.0, color="#555555", linewidth=0.8, zorder=1)
        for column, (contender, style) in enumerate(looks(masks).items()):
            colour, marks = style["color"], columns[contender]
            _marks(axis, lanes, column, marks, _Marks(colour, (-0.36, 0.0)))
            eval_marks = [v for v in held[contender] if v is not None]
            _marks(axis, lanes, column, eval_marks, _Marks(colour, (0.08, 0.36), False))
            _median(axis, column - 0.18, marks)
        contender_ticks(axis, [stacked(name) for name in masks], told)
        title(axis, f"{contest.name}: {len(contest.problems)} {contest.unit}")
        axis.set_ylabel("error / error of Wanda's mask\n(1 = Wanda, lower is better)")
    _key(figure, [("o", True, "calibration data"), ("o", False, "held-out data")])
    return figure


def _lane_of(ratio: float) -> float | str:
    """The ratio, or the lane of a zero on one side (see `statistics.error_ratio`)."""
    return {RATIO_LIMIT: HIGH, 1 / RATIO_LIMIT: LOW}.get(ratio, ratio)


def _error(contest: Contest, entry: Entry | None) -> float | str:
    if entry is None:
        return str(Fate.NOT_RUN)
    if entry.fate is not None:
        return str(entry.fate)
    ratio = ratio_to_wanda(contest, entry)
    return NO_REFERENCE if ratio is None else _lane_of(ratio)


def _held_out(contest: Contest, entry: Entry | None) -> float | str | None:
    ratio = ratio_to_wanda(contest, entry, held_out=True)
    return None if ratio is None else _lane_of(ratio)


def gap_figure(contests: Sequence[Contest]) -> "Figure | None":
    """Certified gap of each mask, and the gap by the solver's own bound.

    Groups without a bound are left out; None where that is all of them.
    """
    contests = [c for c in contests if any(e.bound is not None for e in c.entries)]
    if not contests:
        return None
    named_panels = named_last([contest.contenders for contest in contests])
    figure, axes = stacked_figure(named_panels)
    for axis, contest, told in zip(axes, contests, named_panels, strict=True):
        names = contest.contenders
        masks = [c for c in names if not contest.kind(c).bound_only]
        certified = {c: [_certified(contest, e) for _, e in contest.of(c)] for c in masks}
        own = {c: [_own(contest, c, e) for _, e in contest.of(c)] for c in names}
        marks = {v for rows in certified.values() for v in rows}
        marks |= {v for rows in own.values() for v, _ in rows}
        marks |= {m for rows in certified.values() if 0.0 < (m := _middle(rows)) < inf}
        lanes = Lanes(
            least_shown(marks), 1.0, [n for n in FAILURES if n in marks],
            [n for n in (SMALL,) if n in marks],
        )  # fmt: skip
        lanes.draw(axis, as_percent)
        for column, (name, style) in enumerate(looks(names).items()):
            colour = style["color"]
            if name in certified:
                _marks(axis, lanes, column, certified[name], _Marks(colour, (-0.36, 0.0)))
                _median(axis, column - 0.18, certified[name])
            for marker in "sD":
                mine = [v for v, m in own[name] if m == marker]
                _marks(axis, lanes, column, mine, _Marks(colour, (0.1, 0.38), False, marker))
        contender_ticks(axis, [stacked(name) for name in names], told)
        title(axis, f"{contest.name}: {len(contest.problems)} {contest.unit}")
        axis.set_ylabel("optimality gap")
    _key(figure, [
        ("o", True, "certified: by the best checked bound of anyone"),
        ("s", False, "by its own checked bound"),
        ("D", False, "by its own claim, or none"),
    ])  # fmt: skip
    return figure


def least_shown(marks: Iterable[float | str]) -> float:
    """Where an axis of gaps begins: below the least that is no zero, and at half at most."""
    least = min((v for v in marks if not isinstance(v, str)), default=LEAST_GAP)
    return min(0.5, max(LEAST_GAP, rounded_down(max(least, LEAST_GAP))))


def _gap(value: float) -> float | str:
    return SMALL if value <= LEAST_GAP else value


def _certified(contest: Contest, entry: Entry | None) -> float | str:
    gap = certified_gap(contest, entry)
    if gap is not None:
        return _gap(gap)
    return str(Fate.NOT_RUN if entry is None else entry.fate)


def _own(contest: Contest, contender: str, entry: Entry | None) -> tuple[float | str, str]:
    """The gap by the own bound with its marker; no marker for a heuristic, which has no bound."""
    kind = contest.kind(contender)
    gap = own_gap(contest, entry)
    if entry is not None and entry.bound is not None and gap is not None:
        return _gap(gap), "s" if entry.record.bound_kind == "checked" else "D"
    if kind.bound_only:  # its failures have no other mark
        lane = Fate.NOT_RUN if entry is None else entry.fate
        return NO_BOUND if lane in (None, Fate.NO_MASK) else str(lane), "s"
    return 1.0, "D" if kind.proves and gap is not None else ""


@dataclass(frozen=True, slots=True)
class _Marks:
    """How the points of a column look. side: its part that they lie in, 0 is the middle."""

    colour: str
    side: tuple[float, float]
    filled: bool = True
    marker: str = "o"


def _marks(
    axis: "Axes", lanes: Lanes, column: int, marks: Sequence[float | str], look: _Marks
) -> None:
    """Points of one column; what has no number goes to its lane, failures as crosses."""
    shifts = spread(len(marks), *look.side)
    for failed in (False, True):
        chosen = [i for i, mark in enumerate(marks) if (mark in FAILURES) is failed]
        if not chosen:
            continue
        shape: dict[str, Any] = {"marker": "x", "markersize": 4.0} if failed else {
            "marker": look.marker, "markersize": 3.8, "markeredgewidth": 0.8,
            "markerfacecolor": look.colour if look.filled else "none",
        }  # fmt: skip
        axis.plot(
            [column + shifts[i] for i in chosen],
            [_place(lanes, marks[i]) for i in chosen],
            linestyle="none", color=look.colour, alpha=0.85, **shape,
        )  # fmt: skip


def _place(lanes: Lanes, mark: float | str) -> float:
    return lanes[mark] if isinstance(mark, str) else mark


def _median(axis: "Axes", centre: float, marks: Sequence[float | str]) -> None:
    """A bar at the median over all rows."""
    middle = _middle(marks)
    if 0.0 < middle < inf:
        axis.hlines(middle, centre - 0.24, centre + 0.24, color="black", linewidth=1.4, zorder=4)


def _middle(marks: Sequence[float | str]) -> float:
    """The median, lanes below counting as 0 and those above as infinite; infinite without marks."""
    ranks = {LOW: 0.0, SMALL: 0.0}
    values = [ranks.get(m, inf) if isinstance(m, str) else m for m in marks]
    return float(np.median(values)) if values else inf


def _key(figure: "Figure", entries: Sequence[tuple[str, bool, str]]) -> None:
    """What the marks mean, above the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=marker, color="#333333", markersize=4.5,
               markerfacecolor="#333333" if filled else "none", label=text)
        for marker, filled, text in entries
    ]  # fmt: skip
    handles.append(Line2D([], [], color="black", linewidth=1.4, label="median"))
    handles.append(
        Line2D([], [], linestyle="none", marker="x", color="#333333", markersize=4.5,
               label="failure")
    )  # fmt: skip
    key_above(figure, handles)
