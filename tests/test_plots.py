"""Figures: drawn for every kind of run, the same each time, with nothing lost on a log axis."""

import pytest

from benchmarks.plots import FIGURES, error_figure, gap_figure, growth_figure, write_figures
from benchmarks.statistics import by_group
from benchmarks.style import look
from solvers.registry import SPECS
from tests.records import closed, mixed_run, record, write


@pytest.mark.parametrize("fmt", ["png", "pdf", "svg"])
def test_every_figure_is_written_and_repeats_itself(tmp_path, fmt):
    run = write(tmp_path / "run", mixed_run())
    first = {path.name: path.read_bytes() for path in write_figures(run, fmt)}
    assert sorted(first) == sorted(f"{name}.{fmt}" for name in FIGURES)
    assert {path.name: path.read_bytes() for path in write_figures(run, fmt)} == first


def _points(axis):
    return [(float(x), float(y)) for line in axis.lines if line.get_linestyle() == "None"
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # fmt: skip


def test_zeros_and_failures_stay_visible():
    (axis,) = error_figure(by_group(mixed_run())).axes
    masks = [r for r in mixed_run() if r.solver != "qp-bound"]
    rows = {(r.solver, r.problem) for r in masks}
    assert len(_points(axis)) == len(rows)
    low, high = axis.get_ylim()
    assert all(low < y < high for _, y in _points(axis))


def test_gaps_of_claims_and_of_certificates_are_both_drawn():
    (axis,) = gap_figure(by_group(mixed_run())).axes
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert len(hollow) >= 1
    low, high = axis.get_ylim()
    assert all(low < y < high for _, y in _points(axis))


def test_time_outs_are_open_marks_at_the_limit():
    records = [closed("scip-miqp", "p0", 1.0), record("scip-miqp", "p1", None, n=16, stop="time")]
    (axis,) = growth_figure({"g": records}).axes
    open_marks = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert [(float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in open_marks] == [(16, 10)]


@pytest.mark.parametrize("records", [
    [record("wanda", objective=0.0)],
    [record("scip-miqp", objective=None, stop="time")],
    [record("qp-bound", objective=None, bound=1.0, bound_kind="checked")],
    [record("tests.fakes:Good", objective=3.0)],
    [record("wanda", bound=None, bound_kind=None, gap=None)],
])  # fmt: skip
def test_poor_runs_are_drawn_too(tmp_path, records):
    assert len(write_figures(write(tmp_path / "run", records), "png")) == len(FIGURES)


def test_no_two_solvers_look_alike():
    looks = {(v["color"], v["marker"], str(v["linestyle"])) for v in map(look, SPECS)}
    assert len(looks) == len(SPECS)
    lines = {(v["color"], str(v["linestyle"])) for v in map(look, SPECS)}
    assert len(lines) == len(SPECS)
