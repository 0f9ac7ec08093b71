"""What settings gain: names by difference from the default, counts, ratios, and what is cut off."""

from io import StringIO
from math import sqrt

import pandas as pd
import pytest

from maskgap.benchmarks.reading.contest import contests
from maskgap.benchmarks.reading.figures.choices import choices_figure
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.labels import differences, labels, several_settings, stacked
from maskgap.benchmarks.reading.tables.ablation import (
    MANY,
    ablations,
    render_ablations,
    without_crowds,
)
from maskgap.benchmarks.reading.tables.summary import render, write_tables
from maskgap.benchmarks.reference.regenerate import page_block
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.suites.suite import read_suite
from maskgap.solvers.registry import build, settings_of
from tests.helpers.records import choice, choices_run, closed, record, write

DEFAULT = settings_of(build("fw-bnb"))


def of(records):
    return contests(cross_check(records))


def only(records):
    (found,) = ablations(of(records))
    return found


def lines(records):
    """The choices of the only ablation, by name."""
    found = only(records)
    return {found.name(choice): choice for choice in found.choices}


def cells(text, name):
    """The cells of the Markdown line of a choice, by column."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.splitlines() if line.startswith("|")]  # fmt: skip
    (own,) = (row for row in rows if row[0] == name)
    return dict(zip(rows[0], own, strict=True))


# Names.


def test_a_run_is_named_by_what_it_changes_of_the_default_in_the_solvers_order():
    records = [
        choice("p0"),
        choice("p0", variant="away", lazy=False),
        choice("p0", node_tolerance=0.2),
    ]
    assert labels(records, [10.0] * 3) == [
        "fw-bnb [default]",
        "fw-bnb [variant=away, lazy=false]",
        "fw-bnb [node_tolerance=0.2]",
    ]


def test_one_setting_alone_is_just_the_solver_even_when_it_is_not_the_default():
    assert labels([choice("p0", variant="away"), record("wanda")], [10.0] * 2) == [
        "fw-bnb",
        "wanda",
    ]


def test_a_setting_that_a_record_does_not_state_is_no_difference():
    stated = choice("p0")
    older = stated.model_copy(update={"settings": {"variant": DEFAULT["variant"]}})
    assert several_settings([stated, older]) == set()
    assert differences(older) == {}


def test_without_a_known_default_all_that_varies_is_listed():
    records = [record("retired-solver", settings={"a": a, "b": 1}) for a in (1, 2)]
    assert labels(records, [10.0] * 2) == ["retired-solver [a=1]", "retired-solver [a=2]"]


def test_a_setting_that_this_version_lacks_tells_runs_apart():
    records = [choice("p0", of_old=3), choice("p0", of_old=4)]
    assert labels(records, [10.0] * 2) == ["fw-bnb [of_old=3]", "fw-bnb [of_old=4]"]
    assert [*lines([*records, choice("p0")])] == ["default", "of_old=3", "of_old=4"]


def test_conditions_stay_in_the_name():
    records = [choice("p0"), choice("p0", variant="away").model_copy(update={"threads": 2})]
    assert labels(records, [10.0] * 2) == [
        "fw-bnb [default, 1 thread]",
        "fw-bnb [variant=away, 2 threads]",
    ]
    assert [*lines(records)] == ["1 thread", "variant=away, 2 threads"]


def test_the_summary_says_what_brackets_mean_where_there_are_any():
    several = [choice("p0"), choice("p0", variant="away")]
    assert "In brackets: what a run changes" in render(several, "md")
    assert "In brackets" not in render(several[:1], "md")


def test_different_settings_never_share_a_name():
    settings = [{}, {"lazy": False}, {"inherit": False}, {"lazy": False, "inherit": False},
                {"node_tolerance": 1.0}, {"node_tolerance": 10.0}, {"max_nodes": 10}]  # fmt: skip
    names = labels([choice("p0", **changed) for changed in settings], [10.0] * len(settings))
    assert len(set(names)) == len(settings)


def test_the_default_comes_first_then_the_solvers_order_then_the_value():
    changes = [{"fixing": False}, {"node_tolerance": 10.0}, {"variant": "away"}, {},
               {"node_tolerance": 0.2}]  # fmt: skip
    (contest,) = of([choice("p0", **changed) for changed in changes])
    assert contest.contenders == (
        "fw-bnb [default]",
        "fw-bnb [variant=away]",
        "fw-bnb [node_tolerance=0.2]",
        "fw-bnb [node_tolerance=10]",
        "fw-bnb [fixing=false]",
    )


def test_narrow_places_have_a_part_a_line():
    assert stacked("swap") == "swap"
    assert stacked("s [a=1, b=2]") == "s\n[a=1,\n b=2]"


# Numbers.


def test_counts_are_shifted_geometric_means():
    found = lines([
        choice("p0", nodes=0, calls=10), choice("p1", nodes=30, calls=150),
        choice("p0", variant="away", nodes=5), choice("p1", variant="away", nodes=5),
    ])  # fmt: skip
    assert found["variant=decomposition-invariant (default)"].nodes == pytest.approx(10.0)
    assert found["variant=decomposition-invariant (default)"].calls == pytest.approx(
        sqrt(20 * 160) - 10
    )
    assert found["variant=away"].nodes == pytest.approx(5.0)


def test_a_ratio_is_the_mean_over_rows_and_counts_an_unsolved_row_at_the_limit():
    records = [choice("p0", seconds=0.1), choice("p1", seconds=0.9)]
    records += [
        choice("p0", fixing=False, seconds=0.3),
        choice("p1", fixing=False, seconds=0.5, solved=False),
    ]
    found = lines(records)["fixing=false"]
    assert found.ratio == pytest.approx(sqrt((0.4 / 0.2) * (10.1 / 1.0)))
    assert found.summary.solved == 1
    assert found.spent == pytest.approx(sqrt(0.4 * 0.6) - 0.1)


def test_a_row_not_run_counts_at_the_limit_and_is_named():
    records = [choice("p0", seconds=0.1), choice("p1", seconds=0.1), choice("p0", fixing=False)]
    assert lines(records)["fixing=false"].cut
    assert cells(render_ablations(records, "md"), "fixing=false")["failed"] == "1 not run"


def test_what_was_cut_off_is_a_lower_estimate_only_against_a_base_that_solved_all():
    good = [choice("p0"), choice("p1")]
    bad = [choice("p0"), choice("p1", solved=False)]
    cut = [choice("p0", fixing=False), choice("p1", fixing=False, solved=False)]
    both = {name: cells(render_ablations(base + cut, "md"), "fixing=false")
            for name, base in (("good", good), ("bad", bad))}  # fmt: skip
    assert both["good"]["time / base"].startswith("≥ ")
    assert both["bad"]["time / base"] == "1.00"
    assert both["good"]["nodes"] == both["bad"]["nodes"] == "≥ 40"
    default = cells(render_ablations(good + cut, "md"), "fixing=true (default)")
    assert (default["nodes"], default["solved"], default["own gap"]) == ("40", "2 of 2", "0 %")


def test_where_the_base_leaves_most_rows_unsolved_the_time_spent_takes_the_place_of_ratios():
    records = [choice(p, max_nodes=1, convexify=c, solved=False, nodes=1, seconds=0.2)
               for p in ("p0", "p1") for c in ("none", "sdp")]  # fmt: skip
    own = cells(render_ablations(records, "md"), "convexify=none")
    assert [*own] == ["settings", "solved", "nodes", "oracle calls", "spent (s)", "own gap"]
    assert (own["nodes"], own["spent (s)"], own["own gap"]) == ("1", "0.200", "50.0 %")


def test_what_all_choices_change_stands_in_the_heading_alone():
    records = [choice("p0", max_nodes=1), choice("p0", max_nodes=1, convexify="none")]
    text = render_ablations(records, "md")
    assert "fw-bnb, all with max_nodes=1; 1 rows" in text
    assert [*lines(records)] == ["convexify=sdp-triangles (default)", "convexify=none"]


def test_without_the_default_the_base_is_what_the_others_differ_from_least():
    records = [choice("p0", variant="away", oracle="highs"), choice("p0", variant="away")]
    assert next(iter(lines(records))) == "oracle=closed-form (default)"
    usual = {"node_tolerance": 7.0}  # the default of another version, it may be
    changes = [{"node_tolerance": 3.0}, {**usual, "fixing": False}, usual, {**usual, "lazy": False}]
    assert next(iter(lines([choice("p0", **own) for own in changes]))) == "node_tolerance=7"


def test_the_default_is_the_base_even_where_another_choice_is_more_central():
    changes = [{"lazy": False}, {"lazy": False, "fixing": False},
               {"lazy": False, "inherit": False}, {}]  # fmt: skip
    assert next(iter(lines([choice("p0", **own) for own in changes]))) == "default"


def test_solvers_without_counts_have_no_column_of_them():
    records = [record("swap", "p0", 5.0 + w, key=str(w), settings={"max_swaps": w})
               for w in (1, 2)]  # fmt: skip
    own = cells(render_ablations(records, "md"), "max_swaps=2")
    assert "nodes" not in own
    assert own["solved"] == "1 of 1"


def test_wrong_and_crashed_rows_are_named():
    records = [choice("p0"), choice("p1"),
               choice("p0", fixing=False).model_copy(
                   update={"verdict": "wrong", "claimed_bound": 99.0, "bound": 99.0}),
               choice("p1", fixing=False, solved=False).model_copy(
                   update={"stop": "crashed", "objective": None, "verdict": "empty"})]  # fmt: skip
    assert cells(render_ablations(records, "md"), "fixing=false")["failed"] == (
        "1 wrong, 1 crashed"
    )


# Files.


def test_the_table_is_written_only_where_there_is_something_to_compare(tmp_path):
    plain = write(tmp_path / "plain", [record("wanda"), closed("scip-miqp", "p0", 5.0)])
    assert [path.stem for path in write_tables(plain, "md")] == ["summary", "problems"]
    assert "choices" not in {path.stem for path in write_figures(plain, "png")}
    run = write(tmp_path / "run", choices_run())
    assert [path.stem for path in write_tables(run, "md")] == ["summary", "problems", "ablation"]
    assert "choices" in {path.stem for path in write_figures(run, "png")}


@pytest.mark.parametrize("fmt", ["md", "latex"])
def test_formats_show_every_choice(fmt):
    text = render_ablations(choices_run(), fmt).replace(r"\_", "_")
    for name in ("default", "variant=away", "node_tolerance=0.2", "fixing=false", "max_nodes=1"):
        assert name in text
    assert "nan" not in text


def test_csv_has_plain_numbers_and_whole_settings():
    frame = pd.read_csv(StringIO(render_ablations(choices_run(), "csv")))
    assert set(frame["group"]) == {"choices", "root"}
    rows = frame.set_index(["group", "settings"])
    assert rows.loc[("choices", "fixing=false"), "solved"] == 1
    assert rows.loc[("choices", "default"), "time / base"] == 1.0
    assert rows.loc[("root", "convexify=none max_nodes=1"), "own gap"] == pytest.approx(0.5)


def test_every_choice_has_a_mark_a_row_in_its_figure():
    groups = of(choices_run())
    figure = choices_figure(groups)
    found = ablations(groups)
    for axes, ablation in zip(
        zip(figure.axes[::2], figure.axes[1::2], strict=True), found, strict=True
    ):
        for axis in axes:
            heights = [y for line in axis.lines if line.get_marker() == "o"
                       for y in line.get_ydata()]  # fmt: skip
            rows = len(ablation.contest.problems)
            assert sorted(heights) == sorted(rows * [*range(len(ablation.choices))])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [found[0].name(choice) for choice in found[0].choices]


def test_other_figures_show_the_base_of_a_crowd():
    settings = [{}, *({"node_tolerance": float(i)} for i in range(3, 3 + MANY))]
    crowd = [record("wanda", group="choices"), *(choice("p0", **changed) for changed in settings)]
    (contest,) = of(crowd)
    assert without_crowds(contest).contenders == ("wanda", "fw-bnb [default]")
    assert len(without_crowds(contest).entries) == 2
    (few,) = of(crowd[: MANY + 1])
    assert without_crowds(few).contenders == few.contenders


# The suites.


def test_the_suite_changes_one_axis_at_a_time_and_repeats_no_run():
    """A run given to two groups has one record, so it would be missing from one of them."""
    suite = read_suite("ablation")
    seen = set()
    for group in suite.groups:
        for entry in group.solvers:
            settings = settings_of(build(entry.name, entry.settings))
            for instance in group.instances:
                key = (instance, entry.name, str(settings), group.time_limit_s)
                assert key not in seen, f"{group.name}: {entry.settings} is run already"
                seen.add(key)
    changed = [entry.settings for entry in suite.groups[0].solvers if entry.name == "fw-bnb"]
    assert {} in changed
    assert all(len(own) <= 1 for own in changed if own.get("variant") != "blended-pairwise")


def test_the_growth_suite_has_more_and_more_columns():
    (group,) = read_suite("growth").groups
    widths = [int(name.rpartition("-n")[2]) for name in group.instances]
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (24, 160)


def test_the_page_of_results_shows_the_table_of_choices():
    block = page_block("ablation", choices_run())
    assert "node_tolerance=0.2" in block
    assert "Suite `s`" in block
