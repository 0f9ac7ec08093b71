"""Blocks of shipped layers by name; tables and figures of coupled choices and whole layers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskgap.benchmarks.layers.bounding import bounding
from maskgap.benchmarks.layers.course import Course
from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.layers.shared_budget import SharedBudgetBound
from maskgap.benchmarks.reading.figures.bound_course import falling_figure
from maskgap.benchmarks.reading.tables.coupled import render_coupled
from maskgap.benchmarks.reference.bound_course import main as course_of_bounds
from maskgap.benchmarks.reference.bound_course import table
from maskgap.benchmarks.reference.regenerate import (
    IN_README,
    NAMES,
    PAGE,
    SUITES,
    marks,
    note_best,
)
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.suites.names import suite_names
from maskgap.benchmarks.suites.suite import load_instance, read_suite
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.sources import shipped
from maskgap.instances.sources.excerpt import parse_excerpt
from tests.helpers.command import ROOT
from tests.helpers.records import record
from tests.helpers.tiny import random_layer


def test_a_block_has_the_sizes_costs_and_forced_entries_it_is_asked_for():
    text = "cut:value1-n384,rows=8,columns=12,seed=3,costs=5,forced=25"
    layer, again = (parse_excerpt(text).layer() for _ in range(2))
    assert layer.weight.shape == (8, 12)
    assert layer.digest == again.digest
    np.testing.assert_array_equal(layer.column_cost, again.column_cost)
    np.testing.assert_array_equal(layer.forced, again.forced)
    assert layer.column_cost.min() >= 1
    assert layer.column_cost.max() <= 5
    assert 0 < (layer.forced != 0).mean() < 0.5
    whole = parse_excerpt("cut:value1-n384").layer()
    assert whole.weight.shape == (16, 384)
    assert whole.column_cost is None
    assert whole.forced is None
    assert parse_excerpt("cut:value1-n384,rows=8,columns=12,seed=4").layer().digest != layer.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut:nothing,rows=2", "no shipped layer"),
        ("cut:value1-n384,rows=99", "more than"),
        ("cut:value1-n384,height=2", "no key"),
        ("cut:value1-n384,forced=101", "0 to 100"),
    ],
)
def test_blocks_that_cannot_be_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_excerpt(text).layer()


def test_every_instance_and_pattern_of_the_suite_can_be_had():
    suite = read_suite("coupled")
    for group in suite.groups:
        for name in group.instances:
            layer = load_instance(name, suite, Path())
            rows = range(layer.d_out) if group.rows is None else range(int(group.rows[2:]))
            for pattern in group.patterns:
                assert len(Problem.of(layer, parse_pattern(pattern), rows)) >= 1


def _records():
    def one(group, problem, solver, **more):
        return record(
            group=group, problem=problem, key=f"{group}{problem}{solver}{more}", solver=solver,
            **{"objective": 10.0, "time_limit_s": 5.0, "n": 16, "seed": 0, **more},
        )  # fmt: skip

    root = {"max_nodes": 1}
    for problem in ("a", "b"):
        for hull, bound in (("convex", 9.0), ("relaxation", 8.0)):
            yield one(
                "cost budget", problem, "fw-bnb", settings={"hull": hull, "max_nodes": -1},
                bound=10.0, bound_kind="checked", verdict="proved", gap=0.0, solve_s=0.3,
                build_s=0.0, stop="finished",
            )  # fmt: skip
            yield one(
                "cost budget", problem, "fw-bnb", settings={"hull": hull, **root}, bound=bound,
                bound_kind="checked", verdict="feasible", gap=0.1, stop="nodes",
            )  # fmt: skip
        yield one(
            "cost budget", problem, "scip-miqp", bound=5.0, bound_kind="claimed",
            verdict="feasible", gap=0.5, stop="time",
        )  # fmt: skip
    yield one("transposable, 4 x 4", "t", "wanda", objective=30.0, verdict="feasible", bound=0.0)
    yield one("transposable, 4 x 4", "t", "swap", objective=24.0, verdict="feasible", bound=0.0)
    yield one("the same blocks, rows alone, 4 x 4", "r", "fw-bnb", objective=20.0,
              verdict="feasible", bound=0.0)  # fmt: skip


def test_the_table_has_root_gaps_times_and_what_transposable_masks_cost():
    text = render_coupled(list(_records()))
    line = next(line for line in text.splitlines() if line.startswith("| cost budget"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:5] == ["cost budget", "2", "16", "10.0 %", "20.0 %"]
    assert cells[5:8] == ["0.300 (2 of 2)", "0.300 (2 of 2)", "5.000 (0 of 2)"]
    assert cells[-1] == "2 of 2"
    cost = next(line for line in text.splitlines() if line.endswith("|") and "1.500" in line)
    assert "1.200" in cost
    assert not any(line.startswith("| the same") for line in text.splitlines())


def test_work_on_a_layer_goes_by_its_pattern_and_has_a_course():
    layer = random_layer(2, 8, rows=2)
    kinds = {"50%": LayerBound, "layer:50%": SharedBudgetBound}
    for pattern, kind in kinds.items():
        work = bounding(Problem.of(layer, parse_pattern(pattern)), RunLimits(60.0), runs=4)
        assert isinstance(work, kind)
        course = Course()
        for _ in work:
            course.look(work)
        course.look(work, last=True)
        assert course.points[-1][1:] == (work.total.objective, work.total.bound)
    with pytest.raises(Refused, match="layer:P%"):
        bounding(Problem.of(layer, parse_pattern("1:2^T")), RunLimits(1.0))


def test_gaps_that_fall_are_drawn_and_tabled():
    trace = [[1.0, None, 0.0], [5.0, 10.0, 2.0], [50.0, 10.0, 9.0]]
    case = {
        "layer": "l", "rows": 2, "pattern": "50%", "trace": trace, "seconds": 90.0, "gap": 0.1,
        "bound_kind": "checked",
    }  # fmt: skip
    line = next(line for line in table([case]).splitlines() if line.startswith("| l "))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["l", "2", "50%", "80.0 %", "80.0 %", "80.0 %", "10.0 % (90 s)", "checked"]
    (axis,) = falling_figure({"l, 50%": trace}).axes
    assert list(axis.lines[0].get_ydata()) == pytest.approx([0.8, 0.1])


def test_a_case_that_ends_at_its_gap_is_shown_with_the_time_it_took(tmp_path):
    text = course_of_bounds(tmp_path, [str(shipped.path("query0-n12")), "50%", "3000:0.9"])
    (line,) = [json.loads(line) for line in (tmp_path / "named.jsonl").read_text().splitlines()]
    assert line["total_gap"] == 0.9
    assert line["gap"] <= 0.9
    (shown,) = [row for row in text.splitlines() if row.startswith("| query0-n12")]
    assert f"({line['trace'][-1][0]:.0f} s)" in shown
    assert line["trace"][-1][0] < 3000


def test_cases_of_named_layers_are_run_once_and_shown_with_their_ends(tmp_path):
    layer = str(shipped.path("query0-n12"))
    for words in ([layer, "50%", "60"], [layer, "50%", "60", f"{layer}+4", "2:4", "61"]):
        text = course_of_bounds(tmp_path, words)
    lines = [json.loads(line) for line in (tmp_path / "named.jsonl").read_text().splitlines()]
    assert [(line["pattern"], line["seconds"]) for line in lines] == [("50%", 60.0), ("2:4", 61.0)]
    assert lines[0]["gap"] <= 1e-6
    assert lines[1]["rows_sampled"] == 4
    shown = [line for line in text.splitlines() if line.startswith("| query0-n12")]
    assert "(60 s)" in shown[0]
    assert "of 4 rows (61 s)" in shown[1]
    assert (tmp_path / "named.md").read_text() == text
    assert not (tmp_path / "bound.md").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["word"], "LAYER PATTERN SECONDS"),
        (["query0-n12", "50%"], "LAYER PATTERN SECONDS"),
        (["nothing-there", "50%", "60"], "nothing-there"),
        (["query0-n12+0", "50%", "60"], "number of rows"),
        (["query0-n12+x", "50%", "60"], "number of rows"),
        (["query0-n12", "half", "60"], "half"),
        (["query0-n12", "50%", "long"], "'long'"),
        (["query0-n12", "50%", "nan"], "'nan'"),
        (["query0-n12", "50%", "60:"], "'60:'"),
        (["query0-n12", "50%", "60:nan"], "'60:nan'"),
        (["query0-n12", "50%", "60:1"], "'60:1'"),
        (["query0-n12", "50%", "60", "query0-n12", "50%", "0"], "'0'"),
    ],
)
def test_words_that_are_no_cases_are_told_before_any_is_run(tmp_path, words, told):
    with pytest.raises(InputError, match=told):
        course_of_bounds(tmp_path / "new", words)
    assert not (tmp_path / "new").exists()


def test_the_course_of_bounds_tells_a_mistake_in_one_line(tmp_path):
    for words in ([tmp_path / "new", "word"], []):
        command = [sys.executable, "-m", "maskgap.benchmarks.reference.bound_course", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "LAYER PATTERN SECONDS" in done.stderr


def test_the_page_of_results_has_a_place_for_everything_that_is_measured():
    for path, names in ((PAGE, NAMES), (ROOT / "README.md", [IN_README])):
        text = path.read_text()
        for first, last in map(marks, names):
            assert text.count(first) == text.count(last) == 1
            assert text.index(first) < text.index(last)
        assert text.count("<!-- reference:") == 2 * len(names)
    assert set(SUITES) <= set(suite_names())


def test_masks_found_under_refit_stay_out_of_the_manifest_of_the_mask_loss(tmp_path):
    """A mask proved best under refit is not the best one of the other loss."""
    for name in ("manifest.json", "query0-n12.safetensors"):
        (tmp_path / name).write_bytes((shipped.folder() / name).read_bytes())
    found = {
        "instance": "query0-n12", "n": 12, "pattern": "25%", "pruned": (0, 1, 2),
        "verdict": "proved", "bound": 10.0, "bound_kind": "checked",
    }  # fmt: skip
    assert note_best([record("fw-bnb", **found, ridge=0.01)], tmp_path) == 0
    assert note_best([record("fw-bnb", **found)], tmp_path) == 1
