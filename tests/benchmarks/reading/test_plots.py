"""Figures: drawn for every kind of run, the same each time, with nothing lost on a log axis."""

from itertools import pairwise
from math import inf

import pytest

from maskgap.benchmarks.reading.contest import Entry, contests
from maskgap.benchmarks.reading.figures.anytime import anytime_figure
from maskgap.benchmarks.reading.figures.columns import FAILURES, error_figure, gap_figure
from maskgap.benchmarks.reading.figures.growth import growth_figure
from maskgap.benchmarks.reading.figures.plots import FIGURES, write_figures
from maskgap.benchmarks.reading.figures.profile import profile_figure
from maskgap.benchmarks.reading.figures.style import Lanes, as_number, looks, new_figure
from maskgap.benchmarks.reading.figures.trace import (
    bounds_over_time,
    masks_over_time,
    time_within,
    value_at,
)
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.solvers.registry import SPECS
from tests.helpers.records import (
    choice,
    closed,
    full_run,
    mixed_run,
    old_line,
    record,
    write,
    wrong,
)

ALWAYS = ["error", "anytime", "growth"]
"""Figures of any run; others need bounds, proving solvers, several settings, or whole layers."""

PROVING = [*ALWAYS, "gap", "profile"]


def of(records):
    return contests(cross_check(records))


@pytest.mark.parametrize("fmt", ["png", "pdf", "svg"])
def test_every_figure_is_written_and_repeats_itself(tmp_path, fmt):
    run = write(tmp_path / "run", mixed_run())
    first = {path.name: path.read_bytes() for path in write_figures(run, fmt)}
    assert sorted(first) == sorted(f"{name}.{fmt}" for name in PROVING)
    assert {path.name: path.read_bytes() for path in write_figures(run, fmt)} == first


def _points(axis, filled=None):
    return [
        (float(x), float(y))
        for line in axis.lines
        if line.get_linestyle() == "None" and filled in (None, not _is_open(line))
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def _is_open(line):
    return line.get_markerfacecolor() == "none" and line.get_marker() not in ("x", "none")


def _lane(axis, name):
    """Height of the lane of this name."""
    ticks = zip(axis.get_yticklabels(), axis.get_yticks(), strict=True)
    names = {label.get_text(): y for label, y in ticks}
    return names[name]


def _names(axis):
    """The names of the columns; panels that have the same show them once, below the last."""
    below = axis.figure.axes[axis.figure.axes.index(axis) :]
    named = ([t.get_text() for t in one.get_xticklabels()] for one in below)
    return next(names for names in named if any(names))


def _column(axis, solver):
    return _names(axis).index(solver)


def _in_lane(axis, solver, lane):
    """How many marks of a solver lie in a lane."""
    x, y = _column(axis, solver), _lane(axis, lane)
    return sum(abs(px - x) < 0.5 and py == y for px, py in _points(axis, filled=True))


def test_every_row_of_every_solver_has_its_mark():
    """As many filled marks and crosses in a solver's column as the group has rows."""
    groups = of(full_run())
    for figure in (error_figure(groups), gap_figure(groups)):
        for axis, contest in zip(figure.axes, groups, strict=True):
            low, high = axis.get_ylim()
            assert all(low < y < high for _, y in _points(axis))
            for name in _names(axis):
                x = _column(axis, name)
                own = [p for p in _points(axis, filled=True) if abs(p[0] - x) < 0.5]
                if not SPECS[name].bound_only:
                    assert len(own) == len(contest.problems), name


def test_zeros_and_failures_stay_visible():
    narrow, wide = error_figure(of(full_run())).axes
    assert _in_lane(narrow, "highs-oa", "wrong") == 2
    assert _in_lane(narrow, "exhaustive", "refused") == 2
    assert _in_lane(narrow, "magnitude", "Wanda's is 0") == 1
    assert _in_lane(wide, "highs-milp", "crashed") == 2
    assert _in_lane(wide, "scip-miqp", "no mask") == 2
    assert _in_lane(wide, "cvxpy-miqp", "not run") == 2
    gap = gap_figure(of(full_run())).axes[1]
    assert _in_lane(gap, "sdp-bound", "no bound") == 2


def test_a_group_without_wanda_has_no_panel_of_errors_beside_one_with():
    records = [record("wanda"), record("swap", "p1", group="other")]
    assert [a.get_title(loc="left") for a in error_figure(of(records)).axes] == ["g: 1 rows"]
    assert len(error_figure(of(records[1:])).axes) == 1


def test_an_error_of_zero_is_drawn_on_its_own_line():
    records = [record("wanda", "p0", 10.0), record("swap", "p0", 0.0)]
    (axis,) = error_figure(of(records)).axes
    assert _in_lane(axis, "swap", "error 0") == 1
    assert _lane(axis, "error 0") < min(y for _, y in _points(axis) if y != _lane(axis, "error 0"))


def test_gaps_of_claims_and_of_certificates_differ_in_shape():
    records = [
        closed("exhaustive", "p0", 5.0, verdict="proved", bound_kind="checked"),
        closed("scip-miqp", "p0", 5.0),
    ]
    (axis,) = gap_figure(of(records)).axes
    marks = {
        (round(float(line.get_xdata()[0])), line.get_marker(), _is_open(line))
        for line in axis.lines
        if line.get_linestyle() == "None"
    }
    assert marks == {(0, "o", False), (0, "s", True), (1, "o", False), (1, "D", True)}


def test_the_median_counts_failures_as_worst():
    records = [record("wanda", f"p{i}", 10.0) for i in range(3)]
    records += [record("scip-miqp", "p0", 1.0), record("scip-miqp", "p1", None, stop="time")]
    (axis,) = error_figure(of(records)).axes
    bars = {round(float(c.get_segments()[0][0][0] + 0.42)) for c in axis.collections
            if len(c.get_segments()) == 1}  # fmt: skip
    assert bars == {_column(axis, "wanda")}


def test_time_outs_are_open_marks_at_the_limit():
    records = [closed("scip-miqp", "p0", 1.0), record("scip-miqp", "p1", None, n=16, stop="time")]
    (axis,) = growth_figure(of(records)).axes
    open_marks = [line for line in axis.lines if _is_open(line)]
    assert [round(float(m.get_xdata()[0])) for m in open_marks] == [16]
    assert [float(m.get_ydata()[0]) for m in open_marks] == [10.0]


def test_growth_shows_failures_in_lanes_and_breaks_the_line_there():
    axis, _ = growth_figure(of(full_run())).axes
    lanes = {name: _lane(axis, name) for name in ("refused", "crashed", "wrong", "not run")}
    crosses = [p for line in axis.lines if line.get_marker() == "x" for p in _data(line)]
    assert {y for _, y in crosses} == set(lanes.values())
    assert {round(x) for x, y in crosses if y == lanes["not run"]} <= set(range(90, 103))
    broken = [line for line in axis.lines if any(y != y for _, y in _data(line))]
    assert len(broken) == 4  # exhaustive, highs-milp, highs-oa and cvxpy-miqp


def test_growth_of_nodes_has_a_mark_a_row_and_no_line_through_what_was_cut_off():
    records = [choice("p0", nodes=10), choice("p1", nodes=40), choice("p2", nodes=90, solved=False),
               choice("p3", nodes=7)]  # fmt: skip
    records = [
        r.model_copy(update={"n": n}) for r, n in zip(records, (16, 16, 32, 64), strict=True)
    ]
    time, nodes = growth_figure(of(records)).axes
    assert time.get_title(loc="left") == "time to prove or close"
    marks = sorted(y for _, y in _points(nodes))
    assert marks == [7, 10, 40, 90]
    assert [float(m.get_ydata()[0]) for m in nodes.lines if _is_open(m)] == [90]
    (curve,) = (line for line in nodes.lines if line.get_linestyle() != "None")
    medians = [y for _, y in _data(curve)]
    assert (medians[0], medians[2]) == (25, 7)
    assert medians[1] != medians[1]


def _data(line):
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_profiles_end_at_the_share_solved():
    records = [closed("scip-miqp", f"p{i}", 5.0, solve_s=2.0) for i in range(2)]
    records.append(record("scip-miqp", "p2", 5.0, bound=4.96, bound_kind="claimed", stop="time",
                          solve_s=10.0, trace=[(3.0, 5.0, 4.96)]))  # fmt: skip
    records += [closed("highs-milp", "p0", 5.0), record("highs-milp", "p1", None, stop="crashed")]
    left, right = profile_figure(of(records)).axes
    ends = [
        {line.get_label(): float(line.get_ydata()[-1]) for line in axis.lines}
        for axis in (left, right)
    ]
    assert ends[0]["scip-miqp"] == pytest.approx(2 / 3)
    assert ends[1]["scip-miqp"] == pytest.approx(1.0)
    assert ends[0]["highs-milp"] == pytest.approx(1 / 3)  # a row not run stays in the denominator
    shown = {t.get_text() for t in right.get_legend().get_texts()}
    assert shown == {"scip-miqp: 2, 3", "highs-milp: 1, 1"}


def test_anytime_curves_count_rows_without_a_mask():
    records = [record("swap", f"p{i}", 10.0, solve_s=0.1) for i in range(2)]
    records += [closed("scip-miqp", "p0", 10.0, solve_s=0.1), record("scip-miqp", "p1", None)]
    left, right = anytime_figure(of(records)).axes
    curves = {line.get_label(): line.get_ydata() for line in left.lines}
    assert float(curves["scip-miqp"][-1]) == pytest.approx(0.5)
    assert float(curves["scip-miqp"][0]) == 1.0
    assert float(curves["swap"][-1]) == _lane(left, "≤ 0.01 %")
    assert "swap" not in {line.get_label() for line in right.lines}


def test_traces_are_never_better_than_the_certificate():
    lying = Entry(
        record("scip-miqp", objective=10.0, bound=6.0, solve_s=2.0,
               trace=[(0.5, 1.0, 9.0), (1.0, 12.0, None)]),
        "scip-miqp", 10.0,
    )  # fmt: skip
    assert masks_over_time(lying) == [(0.5, 10.0)]
    assert bounds_over_time(lying) == [(0.5, 6.0)]
    assert time_within(lying, 0.5) == 0.5
    assert time_within(lying, 0.1) == inf
    assert value_at([(1.0, 3.0)], 0.5) is None
    refuted = Entry(wrong("scip-miqp", "p0", 5.0, trace=[(1.0, 5.0, 10.0)]), "scip-miqp", 10.0)
    assert masks_over_time(refuted) == bounds_over_time(refuted) == []


def test_a_run_without_a_trace_knew_nothing_until_its_end():
    entry = Entry(closed("scip-miqp", "p0", 5.0, build_s=1.0, solve_s=2.0), "scip-miqp", 10.0)
    assert masks_over_time(entry) == [(3.0, 5.0)]
    assert time_within(entry, 1e-6) == 3.0


@pytest.mark.parametrize("name", ["profile", "anytime", "growth"])
def test_mixed_limits_are_flagged_in_figures_of_time(name):
    records = [closed("scip-miqp", "p0", 5.0), closed("highs-milp", "p0", 5.0, time_limit_s=60.0)]
    text = FIGURES[name](of(records)).axes[0].get_title(loc="left")
    assert "mixed time limits (s a row): 10, 60" in text


@pytest.mark.parametrize("records", [
    [record("wanda", objective=0.0)],
    [record("wanda", objective=0.0), record("swap", objective=3.0)],
    [record("scip-miqp", objective=None, stop="time")],
    [record("qp-bound", objective=None, bound=1.0, bound_kind="checked")],
    [record("tests.helpers.fakes:Good", objective=3.0)],
    [record("retired-solver", objective=3.0)],
    [record("wanda", bound=None, bound_kind=None, gap=None)],
    [wrong("scip-miqp", "p0", 3.0)],
    [closed("swap", "p0", 5.0, key=str(i), settings={"max_swaps": i}) for i in range(5)],
])  # fmt: skip
def test_poor_runs_are_drawn_too(tmp_path, records):
    drawn = {path.stem for path in write_figures(write(tmp_path / "run", records), "png")}
    assert set(ALWAYS) <= drawn <= {*PROVING, "choices"}
    contests_ = of(records)
    bounds = any(e.bound is not None for c in contests_ for e in c.entries)
    assert ("gap" in drawn) == bounds
    proves = any(c.kind(n).proves for c in contests_ for n in c.contenders)
    assert ("profile" in drawn) == proves


def test_an_older_record_beside_a_new_one_is_drawn(tmp_path):
    run = write(tmp_path / "run", [record("wanda")])
    with (run / "records.jsonl").open("a") as file:
        file.write(old_line())
    assert len(write_figures(run, "png")) == len(PROVING) - 2  # no bound, so no gap and no proofs


def test_labels_do_not_overlap_with_fifteen_solvers():
    figure = gap_figure(of(full_run()))
    figure.canvas.draw()
    for axis in figure.axes:
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels]
            heights = [(box.y0, box.y1) for box in boxes]
            if labels is axis.get_yticklabels():
                ordered = sorted(heights)
                assert all(a[1] <= b[0] + 1 for a, b in pairwise(ordered))
            assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)


def test_panels_of_the_same_solvers_name_them_once_and_long_names_stand_upright():
    changed = [{"lazy": False}, {"lazy": False, "variant": "away", "node_tolerance": 0.25}]
    records = [choice(p, group=g, **own) for g in "ab" for p in "pq" for own in ({}, *changed)]
    for figure in (gap_figure(of(records)), error_figure(of(records))):
        upper, lower = figure.axes
        assert not any(label.get_text() for label in upper.get_xticklabels())
        assert {label.get_rotation() for label in lower.get_xticklabels()} == {90.0}
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in lower.get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_an_axis_of_gaps_spans_what_there_is():
    bound = record("qp-bound", "p0", None, bound=7.0, bound_kind="checked")
    records = [record("wanda", "p0", 10.0), bound]
    (axis,) = gap_figure(of(records)).axes
    low, high = axis.get_ylim()
    assert 0.1 < low < 0.3
    assert 1.0 < high < 1.5
    assert "≤ 0.01 %" not in [label.get_text() for label in axis.get_yticklabels()]


def test_groups_without_a_bound_have_no_panel_of_gaps():
    records = [record("wanda", "p0", 10.0), closed("scip-miqp", "p1", 5.0, group="other")]
    assert [a.get_title(loc="left") for a in gap_figure(of(records)).axes] == ["other: 1 rows"]
    assert gap_figure(of(records[:1])) is None


def test_masks_that_come_all_at_once_are_marks_and_the_axis_reaches_the_last_run():
    records = [record("wanda", "p0", 10.0, solve_s=0.5, time_limit_s=2.0),
               record("swap", "p0", 8.0, solve_s=40.0, time_limit_s=2.0,
                      trace=[(0.1, 12.0, None), (30.0, 8.0, None)])]  # fmt: skip
    (axis,) = anytime_figure(of(records)).axes  # nobody bounds, so one panel
    wanda, swap = axis.lines[-2:] if len(axis.lines) > 2 else axis.lines
    assert (wanda.get_label(), list(wanda.get_xdata())) == ("wanda", [0.5])
    assert len(swap.get_xdata()) > 50
    assert axis.get_xlim()[1] == pytest.approx(40.0)


def test_lanes_lie_outside_the_data_in_order():
    lanes = Lanes(0.1, 10.0, FAILURES, ["zero"])
    heights = [lanes[name] for name in FAILURES]
    assert heights == sorted(heights)
    assert lanes["zero"] < 0.1 < 10.0 < heights[0]


def test_no_two_solvers_look_alike():
    styles = looks([*SPECS, "swap [a]", "swap [b]", "other:Solver"]).values()
    shapes = {(v["color"], v["marker"], str(v["linestyle"])) for v in styles}
    assert len(shapes) == len(styles)
    lines = {(v["color"], str(v["linestyle"])) for v in looks(SPECS).values()}
    assert len(lines) == len(SPECS)
    grey = {(v["marker"], str(v["linestyle"])) for v in looks(SPECS).values()}
    assert len(grey) == len(SPECS)  # without colour too


def test_a_look_follows_from_the_name_alone():
    crowd = looks([*SPECS, "new:Solver", "other:Solver", "swap [a]"])
    for name in ("swap", "gurobi", "other:Solver"):
        assert looks([name])[name] == crowd[name]
    assert crowd["swap [a]"]["color"] == crowd["swap"]["color"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.55, 1.3, [0.6, 0.7, 0.8, 0.9, 1.0, 1.2]),
        (0.1, 1.0, [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0]),
        (0.01, 1.0, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        (1e-4, 1.0, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
    ],
)
def test_a_narrow_axis_has_more_ticks_than_the_powers_of_ten(low, high, ticks):
    _, ((axis,),) = new_figure(1, 1, 1.0)
    Lanes(low, high).draw(axis, as_number)
    assert list(axis.get_yticks()) == pytest.approx(ticks)
