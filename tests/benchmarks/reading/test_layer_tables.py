"""Tables and figures of whole layers: sums over a type, by swaps, and nothing lost in silence."""

from io import StringIO

import pandas as pd
import pytest

from maskgap.benchmarks.reading.contest import contests
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.figures.swaps import swap_time_figure, swaps_figure
from maskgap.benchmarks.reading.layer_sums import ALL, sums
from maskgap.benchmarks.reading.tables.layers import by_limit, by_type, layer_frame, render_layers
from maskgap.benchmarks.reading.tables.summary import write_tables
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.solvers.registry import build, settings_of
from tests.helpers.records import record, write

QUERY, OUTPUT = "attention.self.query", "output.dense"


def layer(solver, problem, objective, layer_type=QUERY, **more):
    """A record of a layer with four rows."""
    return record(solver, problem, objective, rows=4, layer_type=layer_type, **more)


def swapped(problem, by_swaps, layer_type=QUERY, start="wanda", **more):
    """A search whose trace falls at the same times as its swaps."""
    settings = {**settings_of(build("swap")), "warm_start": start}
    trace = [(0.5 + i, value, None) for i, (_, value) in enumerate(by_swaps)]
    return layer("swap", problem, by_swaps[-1][1], layer_type, key=f"swap/{start}/{problem}",
                 settings=settings, by_swaps=by_swaps, trace=trace,
                 counters={"swaps": 4 * by_swaps[-1][0]}, **more)  # fmt: skip


def run():
    """Two query layers and one output layer; Ria lacks one, and one search was cut off."""
    return [
        layer("wanda", "q0", 10.0, objective_eval=20.0),
        layer("wanda", "q1", 30.0, objective_eval=60.0),
        layer("wanda", "o0", 60.0, OUTPUT, objective_eval=120.0),
        layer("ria", "q0", 12.0), layer("ria", "q1", 24.0),
        layer("ria", "o0", None, OUTPUT, stop="refused"),
        swapped("q0", [(0, 10.0), (1, 8.0), (2, 6.0), (3, 4.0)], objective_eval=12.0),
        swapped("q1", [(0, 30.0), (1, 20.0), (2, 18.0), (5, 16.0)], objective_eval=48.0),
        swapped("o0", [(0, 60.0), (1, 50.0), (7, 30.0)], OUTPUT, objective_eval=90.0),
        swapped("q0", [(0, 20.0), (1, 5.0)], start="magnitude"),
        swapped("q1", [(0, 40.0), (1, 15.0)], start="magnitude"),
        swapped("o0", [(0, 120.0), (1, 45.0)], OUTPUT, start="magnitude", stop="time"),
    ]  # fmt: skip


def only(records):
    (contest,) = contests(cross_check(records))
    return contest


def found(records):
    return {(s.contender, s.layer_type): s for s in sums(only(records), "50%")}


def test_reductions_are_of_sums_not_means_of_ratios():
    by = found(run())
    wanda, swap = "wanda", "swap [default]"
    assert by[wanda, ALL].reduction == 0.0
    assert by[swap, QUERY].reduction == pytest.approx(1 - 20 / 40)
    assert by[swap, OUTPUT].reduction == pytest.approx(1 - 30 / 60)
    assert by[swap, ALL].reduction == pytest.approx(1 - 50 / 100)
    assert by[swap, ALL].reduction_eval == pytest.approx(1 - 150 / 200)
    assert by["swap [warm_start=magnitude]", ALL].reduction == pytest.approx(1 - 65 / 100)
    assert by["swap [warm_start=magnitude]", ALL].reduction_eval is None
    assert by[swap, ALL].rows == 12
    assert by[swap, QUERY].swaps_a_row == pytest.approx(4)


def test_limits_of_swaps_come_from_one_trace():
    swap = found(run())["swap [default]", ALL]
    expected = {0: 0.0, 1: 1 - 78 / 100, 2: 1 - 74 / 100, 5: 1 - 70 / 100, 10: 1 - 50 / 100}
    for limit, reduction in expected.items():
        assert swap.reduction_after(limit) == pytest.approx(reduction)
    assert swap.most_swaps == 7
    assert found(run())["ria", ALL].reduction_after(5) is None


def test_reductions_over_time_start_when_every_layer_has_a_mask():
    swap = found(run())["swap [default]", ALL]
    assert swap.moments() == [0.5, 1.5, 2.5, 3.5]
    assert swap.reduction_at(0.4) is None
    assert swap.reduction_at(0.5) == 0.0
    assert swap.reduction_at(1.5) == pytest.approx(1 - 78 / 100)
    assert swap.reduction_at(9.0) == pytest.approx(1 - 50 / 100)
    late = [
        layer("wanda", "q0", 10.0),
        swapped("q0", [(0, 10.0), (1, 5.0)], warmup_s=0.5),
    ]
    assert found(late)["swap", ALL].moments() == [0.0, 1.0]


def test_layers_without_a_mask_are_counted():
    """Ria's sum is over the two layers it has, against Wanda's on the same two, and says so."""
    ria = found(run())["ria", ALL]
    assert ria.reduction == pytest.approx(1 - 36 / 40)
    assert (len(ria.entries), ria.layers) == (2, 3)
    lines = {line["solver"]: line for line in by_type(only(run()), list(found(run()).values()))}
    assert lines["ria"][ALL] == "10.0 % (2 of 3)"
    assert lines["ria"][f"{OUTPUT} (4 rows)"] == "-"
    assert lines["ria"][f"{QUERY} (8 rows)"] == "10.0 %"
    assert list(lines) == ["swap [default]", "swap [warm_start=magnitude]†", "wanda", "ria"]


def test_lines_by_limit_name_type_and_end():
    lines = by_limit(list(found(run()).values()))
    assert [(line["layers"], line["start"], line["T = 1"], line["end"]) for line in lines] == [
        (ALL, "wanda", "22.0 %", "50.0 %"),
        (ALL, "magnitude", "35.0 %", "35.0 %†"),
        (QUERY, "wanda", "30.0 %", "50.0 %"),
        (QUERY, "magnitude", "50.0 %", "50.0 %"),
        (OUTPUT, "wanda", "16.7 %", "50.0 %"),
        (OUTPUT, "magnitude", "25.0 %", "25.0 %†"),
    ]
    assert [line["T = 0"] for line in lines[:2]] == ["0.0 %", "-80.0 %"]


def test_csv_has_every_limit_and_absent_ends():
    frame = pd.read_csv(StringIO(render_layers(cross_check(run()), "csv")))
    mine = frame[(frame.solver == "swap [default]") & (frame.layers == ALL)]
    assert list(mine["max swaps"].iloc[:-1]) == [0, 1, 2, 5, 10, 25, 50, 100]
    assert pd.isna(mine["max swaps"].iloc[-1])
    assert mine["reduction"].iloc[-1] == pytest.approx(0.5)
    assert str(layer_frame(only(run())).dtypes["max swaps"]) == "Int64"


@pytest.mark.parametrize("records", [
    [record("wanda"), record("swap")],
    [layer("swap", "q0", 3.0)],
])  # fmt: skip
def test_runs_without_layers_or_wanda_have_no_such_tables_and_figures(tmp_path, records):
    assert render_layers(cross_check(records), "md") == ""
    where = write(tmp_path / "run", records)
    assert "layers" not in {path.stem for path in write_tables(where, "md")}
    assert not {"swaps", "swap-time"} & {path.stem for path in write_figures(where, "png")}


@pytest.mark.parametrize("fmt", ["md", "csv", "latex"])
def test_all_formats_are_written(tmp_path, fmt):
    paths = {p.stem: p for p in write_tables(write(tmp_path / "run", run()), fmt)}
    text = paths["layers"].read_text()
    assert QUERY in text
    assert OUTPUT in text


def test_lines_of_the_figure_are_the_numbers_of_the_table():
    figure = swaps_figure(contests(cross_check(run())))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [f"{QUERY}, 50%", f"{OUTPUT}, 50%"]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    (default,) = lines
    assert list(default.get_xdata()) == [0, 1, 2, 3, 5]
    assert list(default.get_ydata()) == pytest.approx([1.0, 0.7, 0.6, 0.55, 0.5])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["swap from wanda", "swap from magnitude"]


def test_time_has_lines_of_searches_and_marks_of_the_others():
    query, output = swap_time_figure(contests(cross_check(run()))).axes
    marks = [line for line in query.lines if line.get_linestyle() == "None"]
    assert [(list(m.get_xdata()), list(m.get_ydata())) for m in marks] == [
        ([1.0], [1.0]), ([1.0], [pytest.approx(0.9)]),
    ]  # fmt: skip
    assert len([line for line in output.lines if line.get_linestyle() == "None"]) == 1
    searches = [line for line in query.lines if len(line.get_xdata()) == 4]
    assert [list(line.get_xdata()) for line in searches] == [[0.5, 1.5, 2.5, 3.5]]


@pytest.mark.parametrize("fmt", ["png", "pdf", "svg"])
def test_figures_are_written_and_repeat_themselves(tmp_path, fmt):
    where = write(tmp_path / "run", run())
    first = {path.name: path.read_bytes() for path in write_figures(where, fmt)}
    assert {f"swaps.{fmt}", f"swap-time.{fmt}"} <= set(first)
    assert {path.name: path.read_bytes() for path in write_figures(where, fmt)} == first
