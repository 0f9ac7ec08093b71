"""Tables: failures count, claims are told from checked bounds, and files read back."""

import locale
from io import StringIO

import pandas as pd
import pytest

from maskgap.benchmarks.reading.contest import contests, mixtures
from maskgap.benchmarks.reading.statistics import error_ratio, shifted_geometric_mean, summarise
from maskgap.benchmarks.reading.tables.gaps import render_gaps
from maskgap.benchmarks.reading.tables.summary import (
    page_table,
    problem_frame,
    render,
    render_problems,
    summary_frame,
    write_tables,
)
from maskgap.benchmarks.reading.typeset import latex, markdown, percent
from maskgap.benchmarks.reference.regenerate import NAMES, marks, replace_block
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.instances.errors import InputError
from tests.helpers.records import CAST, closed, full_run, mixed_run, old_line, record, write, wrong


def only(records):
    (contest,) = contests(cross_check(records))
    return contest


def by_name(records):
    return {s.contender: s for s in summarise(only(records))}


# Failures count.


def test_a_solver_that_fails_does_not_rank_above_one_that_solves():
    """A closes one row of three in 1 s, B all three in 2 s each; the limit is 10 s."""
    records = []
    for i in range(3):
        records.append(closed("scip-miqp", f"p{i}", 5.0, solve_s=2.0))
        if i == 0:
            records.append(closed("highs-milp", f"p{i}", 5.0, solve_s=1.0))
        else:
            records.append(record("highs-milp", f"p{i}", None, stop="time", solve_s=0.5))
    found = by_name(records)
    assert (found["highs-milp"].solved, found["scip-miqp"].solved) == (1, 3)
    assert found["highs-milp"].seconds > found["scip-miqp"].seconds
    assert found["highs-milp"].seconds == pytest.approx((1.1 * 10.1 * 10.1) ** (1 / 3) - 0.1)
    assert list(found) == ["scip-miqp", "highs-milp"]


def test_order_is_by_rows_solved_even_when_the_clock_favours_the_one_that_fails():
    records = [closed("scip-miqp", f"p{i}", 5.0, solve_s=9.0) for i in range(3)]
    records += [closed("highs-milp", f"p{i}", 5.0, solve_s=0.001) for i in range(2)]
    assert list(by_name(records)) == ["scip-miqp", "highs-milp"]


def test_a_row_not_run_counts_at_the_limit_and_is_named():
    records = [*mixed_run(), closed("highs-oa", "p0", 10.0)]
    found = by_name(records)["highs-oa"]
    assert (found.ran, found.fates["not run"]) == (1, 2)
    assert found.seconds == pytest.approx((1.1 * 10.1 * 10.1) ** (1 / 3) - 0.1)
    assert "2 not run" in render(records, "md")


def test_a_row_without_a_mask_has_the_largest_gap():
    """Leaving hard rows out must not look like solving them well."""
    records = []
    for i in range(2):
        records += [record("swap", f"p{i}", 10.0),
                    record("qp-bound", f"p{i}", None, bound=9.0, bound_kind="checked")]  # fmt: skip
    records += [closed("exhaustive", "p0", 10.0), record("exhaustive", "p1", None, stop="refused")]
    found = by_name(records)
    assert found["swap"].certified_gap == pytest.approx(0.1)
    assert found["exhaustive"].certified_gap == pytest.approx((0.1 + 1.0) / 2)
    assert found["exhaustive"].own_gap == pytest.approx(0.5)


def test_ratios_on_fewer_rows_say_so():
    records = [record("wanda", f"p{i}", 10.0) for i in range(3)]
    records += [record("swap", f"p{i}", 5.0) for i in range(2)]
    assert by_name(records)["swap"].compared == 2
    assert "0.500 (2)" in render(records, "md")
    assert "1.000 (3)" not in render(records, "md")


def test_a_seed_that_fails_is_no_better_than_one_that_is_bad():
    fails = {"objective": None, "stop": "crashed"}
    one = [record("random", seed=s, **(fails if s else {})) for s in range(3)]
    most = [record("random", seed=s, **({} if s else fails)) for s in range(3)]
    assert by_name(one)["random"].solved == 0
    assert by_name(most)["random"].solved == 1


def test_a_crash_counts_even_when_the_run_left_a_mask():
    found = by_name([record("scip-miqp", "p0", 5.0, stop="crashed")])["scip-miqp"]
    assert found.fates["crashed"] == 1


# Ratios.


@pytest.mark.parametrize(("value", "reference", "expected"), [
    (5.0, 10.0, 0.5), (0.0, 0.0, 1.0), (0.0, 1.0, 1e-3), (1.0, 0.0, 1e3),
    (1e-15, 3e-15, 1.0), (1.0, 1e-9, 1e3), (None, 1.0, None), (1.0, None, None),
])  # fmt: skip
def test_error_ratio(value, reference, expected):
    assert error_ratio(value, reference, energy=100.0) == expected


def test_ratios_to_wanda_state_how_many_rows_enter():
    swap = by_name(mixed_run())["swap"]
    assert swap.error_ratio == pytest.approx((0.55 * 0.55 * 1.0) ** (1 / 3))  # 0 against 0 is 1
    assert (swap.compared, swap.compared_eval) == (3, 0)
    assert swap.error_ratio_eval is None


def test_one_zero_neither_vanishes_nor_decides():
    records = [record("wanda", f"p{i}", 10.0) for i in range(2)]
    records += [record("swap", "p0", 0.0), record("swap", "p1", 10.0)]
    assert by_name(records)["swap"].error_ratio == pytest.approx(1e-3**0.5)


# Gaps, claims.


def test_certified_gap_uses_the_best_checked_bound_of_anyone():
    found = by_name(mixed_run())
    assert found["swap"].certified_gap == pytest.approx((6 / 11 + 6 / 11 + 0) / 3)
    assert found["scip-miqp"].certified_gap == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["scip-miqp"].own_kinds == ("claimed",)  # its claim is no certificate
    assert found["qp-bound"].own_kinds == ("checked",)
    assert found["qp-bound"].certified_gap is None


def test_certified_gap_uses_checked_bounds_of_other_groups_too():
    records = [
        record("swap", "p0", 10.0, group="a"),
        record("qp-bound", "p0", None, group="b", bound=8.0, bound_kind="checked"),
    ]
    (first, _) = contests(records)
    assert summarise(first)[0].certified_gap == pytest.approx(0.2)


def test_own_gap_tells_checked_from_claimed():
    records = [
        record("scip-miqp", "p0", 10.0, bound=6.0, bound_kind="claimed"),
        record("exhaustive", "p0", 10.0, bound=8.0, bound_kind="checked"),
        record("sdp-bound", "p0", None, bound=9.0, bound_kind="checked"),
        record("swap", "p0", 10.0),
    ]
    found = by_name(records)
    assert found["scip-miqp"].own_gap == pytest.approx(0.4)
    assert found["exhaustive"].own_gap == pytest.approx(0.2)
    assert found["sdp-bound"].own_gap == pytest.approx(0.1)
    assert found["swap"].own_gap is None
    text = render(records, "md")
    assert "40.0 % c" in text
    assert "20.0 % c" not in text


def test_a_bound_of_zero_is_an_answer():
    records = [record("qp-bound", "p0", None, bound=0.0, bound_kind="checked")]
    assert by_name(records)["qp-bound"].solved == 1
    assert by_name([record("qp-bound", "p0", None)])["qp-bound"].solved == 0


def test_correct_rate_counts_refuted_claims():
    records = [closed("scip-miqp", "p0", 10.0), closed("highs-milp", "p0", 12.0)]
    found = by_name(records)
    assert (found["scip-miqp"].right, found["scip-miqp"].claims) == (1, 1)
    assert (found["highs-milp"].right, found["highs-milp"].claims) == (0, 1)
    assert found["highs-milp"].verdicts["wrong"] == 1


def test_a_wrong_row_is_never_right_and_its_mask_never_counts():
    found = by_name([wrong("scip-miqp", "p0", 10.0), record("wanda", "p0", 20.0)])["scip-miqp"]
    assert (found.right, found.claims, found.compared) == (0, 1, 0)
    assert found.fates["wrong"] == 1


def test_a_refuted_bound_is_worth_nothing():
    """Three rows of one solver: its true bound counts, its two false ones are a gap of 100 %."""
    records = [record("sdp-bound", "p0", None, bound=9.0, bound_kind="checked")]
    records += [record("sdp-bound", f"p{i}", None, bound=11.0) for i in (1, 2)]
    records += [record("wanda", f"p{i}", 10.0) for i in range(3)]
    found = by_name(records)["sdp-bound"]
    assert found.own_gap == pytest.approx((0.1 + 1.0 + 1.0) / 3)
    assert (found.solved, found.fates["wrong"], found.own_kinds) == (1, 2, ("checked",))


# Who competes.


def test_settings_are_rows_of_their_own_not_seeds():
    records = [record("wanda")]
    records += [record("swap", objective=o, key=w, settings={"warm_start": w})
                for o, w in ((5.0, "wanda"), (9.0, "ria"))]  # fmt: skip
    found = by_name(records)
    assert set(found) == {"wanda", "swap [default]", "swap [warm_start=ria]"}
    assert found["swap [warm_start=ria]"].error_ratio == pytest.approx(0.9)


@pytest.mark.parametrize(("change", "label"), [
    ({"time_limit_s": 60.0}, "limit 60 s"), ({"threads": 4}, "4 threads"),
    ({"device": "cuda"}, "cuda"), ({"solver_version": "maskgap 1; highspy 2"}, "highspy 2"),
])  # fmt: skip
def test_runs_under_other_conditions_are_rows_of_their_own(change, label):
    base = {"solver_version": "maskgap 1; highspy 1"}
    records = [closed("highs-milp", "p0", 5.0, **base)]
    records.append(closed("highs-milp", "p0", 5.0, key="b", **{**base, **change}))
    assert any(label in name for name in by_name(records))
    assert len(by_name(records)) == 2


def test_a_batch_is_compared_by_its_limit_a_row():
    records = [record("swap", f"p{i}", row=i, instance="a", time_limit_s=40.0) for i in range(4)]
    records += [record("scip-miqp", f"p{i}", row=i, instance="a") for i in range(4)]
    assert mixtures(only(records)) == []
    assert "limit 10 s a row" in render(records, "md")


@pytest.mark.parametrize("change", [
    {"time_limit_s": 60.0}, {"threads": 4}, {"device": "cuda"},
    {"host": {"processor": "other", "cores": 2}}, {"gap_tolerance": 1e-4},
])  # fmt: skip
def test_mixed_conditions_are_flagged(change):
    plain = [record("wanda"), record("scip-miqp"), record("highs-milp")]
    assert mixtures(only(plain)) == []
    mixed = [*plain[:2], record("highs-milp", **change)]
    assert len(mixtures(only(mixed))) == 1
    assert "compare times with care" in render(mixed, "md")


def test_seeds_are_represented_by_their_median_and_stated():
    chosen = only(mixed_run()).chosen
    assert chosen["random", "p0"].record.objective == 50.0
    assert by_name(mixed_run())["random"].seeds == (0, 1, 2)
    assert "median error of the seeds 0, 1, 2" in render(mixed_run(), "md")


def test_shifted_geometric_mean_takes_zero_times():
    assert shifted_geometric_mean([0.0, 0.0]) == pytest.approx(0.0)
    assert shifted_geometric_mean([1.0, 10.0], 0.0) == pytest.approx(10**0.5)


# Formats.


def test_csv_reads_back_with_its_types(tmp_path):
    run = write(tmp_path / "run", full_run())
    summary, problems = write_tables(run, "csv")
    expected = [summary_frame(contest) for contest in contests(cross_check(full_run()))]
    types = {name: str(kind) for name, kind in expected[0].dtypes.items()}
    frame = pd.read_csv(summary, dtype=types)  # one header, though there are two groups
    pd.testing.assert_frame_equal(frame, pd.concat(expected, ignore_index=True), rtol=1e-12)
    assert {types[name] for name in ("solved", "closed", "claims")} == {"Int64"}
    rows = pd.read_csv(problems, dtype={"pattern": "string"})
    assert set(rows["pattern"]) == {"50%", "2:4"}
    assert len(rows) == 16
    assert str(problem_frame(only(mixed_run()))["row"].dtype) == "Int64"


@pytest.mark.parametrize("fmt", ["md", "csv", "latex"])
def test_formats_show_every_solver(tmp_path, fmt):
    for path in write_tables(write(tmp_path / "run", full_run()), fmt):
        text = path.read_text()
        assert "nan" not in text.lower()
        assert "<na>" not in text.lower()
        if path.stem == "summary":
            assert all(text.count(name) >= 2 for name in CAST)  # in either group


def test_missing_values_are_empty_never_zero():
    row = pd.read_csv(StringIO(render(mixed_run(), "csv"))).set_index("solver").loc["obs"]
    assert pd.isna(row["error / wanda"])
    assert pd.isna(row["peak (MiB)"])
    assert (row["crashed"], row["not run"]) == (1, 2)


def test_no_number_is_rounded_to_a_better_one():
    assert [percent(v) for v in (None, 0.0, 1e-7, 1e-5, 4e-4, 0.123, 1.0)] == [
        "-", "0 %", "0 %", "<0.1 %", "<0.1 %", "12.3 %", "100.0 %"]  # fmt: skip


def test_signs_of_the_format_do_not_break_a_table():
    assert markdown([{"a|b": "x|y"}]).splitlines()[0] == r"| a\|b |"
    text = latex([{"a_b": "50%"}], "n & m", ["<1"])
    for sign in (r"a\_b", r"50\%", r"n \& m", r"\textless{}1"):
        assert sign in text


def test_a_decimal_comma_locale_writes_points():
    """Skipped in part where no such locale is installed; the plain one is always checked."""
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("C", "de_DE.UTF-8", "ru_RU.UTF-8", "fr_FR.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            assert ",0.67128" in render(mixed_run(), "csv")  # 0.55^(2/3)
            assert " 0.671 |" in render(mixed_run(), "md")
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)


def test_older_records_make_a_table_with_blanks(tmp_path):
    run = write(tmp_path / "run", [record("wanda")])
    with (run / "records.jsonl").open("a") as file:
        file.write(old_line())
    (path, _) = write_tables(run, "csv")
    row = pd.read_csv(path).set_index("solver").loc["scip-miqp"]
    assert row["feasible"] == 1
    assert pd.isna(row["own bound"])
    assert pd.isna(row["peak (MiB)"])


def test_a_solver_of_another_version_is_shown():
    assert "| retired-solver |" in render([record("retired-solver"), record("wanda")], "md")


def test_problem_table_names_the_best_mask_and_bound():
    frame = problem_frame(only(mixed_run()))
    assert list(frame["found by"]) == ["scip-miqp", "swap", "wanda"]
    assert list(frame["verdict"]) == ["closed", "feasible", "proved"]
    assert list(frame["bound by"])[:2] == ["qp-bound", "qp-bound"]
    assert frame["certified gap"][0] == pytest.approx(0.5)
    assert "| 50.0 % |" in render_problems(mixed_run(), "md").replace("       ", "")


def test_problem_table_tells_proved_empty_and_wrong():
    records = [
        closed("exhaustive", "p0", 5.0, verdict="proved", bound_kind="checked"),
        record("scip-miqp", "p1", None, stop="time"),
        wrong("scip-miqp", "p2", 5.0),
    ]
    frame = problem_frame(only(records))
    assert list(frame["verdict"]) == ["proved", "empty", "empty"]
    assert list(frame["wrong"]) == [0, 0, 1]


def test_only_a_checked_bound_makes_a_problem_proved():
    """An error of 0 has gap 0 by definition; without a checked bound that is no proof."""
    records = [record("wanda", "p0", 0.0, gap=0.0)]
    assert list(problem_frame(only(records))["verdict"]) == ["feasible"]
    records.append(record("qp-bound", "p0", None, bound=0.0, bound_kind="checked"))
    assert list(problem_frame(only(records))["verdict"]) == ["proved"]


@pytest.mark.parametrize("suite", NAMES)
def test_the_block_of_a_suite_is_replaced_and_nothing_else(tmp_path, suite):
    page = tmp_path / "README.md"
    blocks = [f"{marks(name)[0]}\nold {name}\n{marks(name)[1]}\n" for name in NAMES]
    page.write_text("a\n" + "between\n".join(blocks) + "b\n")
    replace_block(page, suite, "new")
    once = page.read_text()
    assert f"old {suite}\n" not in once
    assert sum(f"old {name}\n" in once for name in NAMES) == len(NAMES) - 1
    replace_block(page, suite, "new")
    assert page.read_text() == once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    page.write_text("nothing")
    with pytest.raises(InputError, match="marks"):
        replace_block(page, suite, "new")
    assert page.read_text() == "nothing"
    assert "**g**" in page_table(mixed_run())


def test_certified_gaps_of_all_groups_stand_in_one_table():
    """Gap by the best checked bound of anyone; a solver that misses a group is left out."""

    def run(group, solver, problem, objective, **more):
        return record(solver, problem, objective, group=group, **more)

    records = [
        *(run("g", "wanda", f"g{i}", 4.0, objective_eval=8.0) for i in range(2)),
        *(run("g", "swap", f"g{i}", 2.0, objective_eval=4.0) for i in range(2)),
        *(run("g", "sdp-bound", f"g{i}", None, bound=1.0, bound_kind="checked") for i in range(2)),
        run("h", "wanda", "h0", 10.0, objective_eval=1.0),
        run("h", "swap", "h0", 5.0, objective_eval=2.0),
        run("h", "sdp-bound", "h0", None, bound=4.0, bound_kind="checked"),
        run("h", "ria", "h0", 8.0),
    ]
    lines = [line.split("|")[1:-1] for line in render_gaps(records).splitlines()[2:4]]
    cells = [[cell.strip() for cell in line] for line in lines]
    # over rows: (1/2 1/2 1/2)^(1/3), held out (1/2 1/2 2)^(1/3)
    assert cells[0] == ["swap", "50.0 %", "20.0 %", "0.500", "0.794"]
    assert cells[1] == ["wanda", "75.0 %", "60.0 %", "1.000", "1.000"]
    assert "ria" not in render_gaps(records)
