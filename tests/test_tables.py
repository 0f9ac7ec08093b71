"""Tables: failures count, claims are told from checked bounds, and files read back."""

import locale
import os
from io import StringIO

import pandas as pd
import pytest

from benchmarks.reference import replace_block
from benchmarks.statistics import (
    claims_optimum,
    mixtures,
    representatives,
    shifted_geometric_mean,
    summarise,
)
from benchmarks.tables import problem_frame, readme_table, render, summary_frame, write_tables
from instances.errors import InputError
from tests.records import closed, mixed_run, record, write


def by_name(records):
    return {s.solver: s for s in summarise(records)}


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


def test_a_row_not_run_counts_at_the_limit_and_is_named():
    records = [*mixed_run(), closed("highs-oa", "p0", 10.0)]
    assert by_name(records)["highs-oa"].ran == 1
    assert by_name(records)["highs-oa"].seconds > 1
    assert "2 not run" in render(records, "md")


def test_ratios_to_wanda_state_how_many_rows_enter():
    swap = by_name(mixed_run())["swap"]
    assert swap.error_ratio == pytest.approx(0.55)
    assert swap.compared == 2  # the row of error 0 has no ratio


def test_seeds_are_represented_by_their_median():
    chosen = representatives(mixed_run())
    assert chosen["random", "p0"].objective == 50.0
    assert by_name(mixed_run())["random"].seeds == 3


def test_certified_gap_uses_the_best_checked_bound_of_anyone():
    found = by_name(mixed_run())
    assert found["swap"].certified_gap == pytest.approx((6 / 11 + 6 / 11 + 0) / 3)
    assert found["scip-miqp"].certified_gap == pytest.approx(0.5)  # its claim is no certificate
    assert found["scip-miqp"].bound_kind == "claimed"
    assert found["qp-bound"].bound_kind == "checked"
    assert found["qp-bound"].certified_gap is None


def test_correct_rate_counts_refuted_claims():
    records = [closed("scip-miqp", "p0", 10.0), closed("highs-milp", "p0", 12.0)]
    assert claims_optimum(records[1])
    found = by_name(records)
    assert (found["scip-miqp"].right, found["scip-miqp"].claims) == (1, 1)
    assert (found["highs-milp"].right, found["highs-milp"].claims) == (0, 1)


def test_shifted_geometric_mean_takes_zero_times():
    assert shifted_geometric_mean([0.0, 0.0]) == pytest.approx(0.0)
    assert shifted_geometric_mean([1.0, 10.0], 0.0) == pytest.approx(10**0.5)


@pytest.mark.parametrize("change", [{"time_limit_s": 60.0}, {"threads": 4}, {"device": "cuda"}])
def test_mixed_conditions_are_flagged(change):
    plain = [record("wanda"), record("scip-miqp"), record("highs-milp")]
    assert mixtures(plain) == []
    mixed = [*plain[:2], record("highs-milp", **change)]
    assert len(mixtures(mixed)) == 1
    assert "compare times with care" in render(mixed, "md")


def test_csv_reads_back_with_its_types(tmp_path):
    run = write(tmp_path / "run", mixed_run())
    summary, problems = write_tables(run, "csv")
    types = {"solved": "Int64", "closed": "Int64", "bound kind": "string"}
    frame = pd.read_csv(summary, dtype=types)
    expected = summary_frame(mixed_run())
    assert list(frame["solver"]) == list(expected["solver"])
    assert list(frame["solved"]) == list(expected["solved"])
    assert pd.isna(frame.set_index("solver").loc["qp-bound", "error / wanda"])
    rows = pd.read_csv(problems, dtype={"pattern": "string"})
    assert list(rows["pattern"]) == ["50%"] * 3
    assert str(problem_frame(mixed_run())["row"].dtype) == "Int64"


@pytest.mark.parametrize("fmt", ["md", "csv", "latex"])
def test_formats_show_every_solver(tmp_path, fmt):
    text = write_tables(write(tmp_path / "run", mixed_run()), fmt)[0].read_text()
    for name in ("wanda", "swap", "exhaustive", "qp-bound", "random", "scip-miqp", "obs"):
        assert name in text
    assert "nan" not in text.lower().replace("maskgap", "")


def test_missing_values_are_empty_never_zero():
    text = render(mixed_run(), "csv")
    row = pd.read_csv(StringIO(text)).set_index("solver").loc["obs"]
    assert pd.isna(row["certified gap"])
    assert row["crashed"] == 1


def test_a_decimal_comma_locale_writes_points():
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "ru_RU.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            assert "0.55" in render(mixed_run(), "csv")
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)
    assert "0.55" in render(mixed_run(), "csv")
    assert os.linesep == "\n"


def test_older_records_still_make_a_table():
    old = record("scip-miqp", bound=None, bound_kind=None, gap=None, host={}, packages={})
    assert "scip-miqp" in render([old, record("wanda")], "md")


def test_the_readme_block_is_replaced_and_nothing_else():
    text = "a\n<!-- reference:table -->\nold\n<!-- reference:end -->\nb\n"
    once = replace_block(text, "new")
    assert "old" not in once
    assert replace_block(once, "new") == once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    with pytest.raises(InputError, match="marks"):
        replace_block("nothing", "new")
    assert "**g**" in readme_table(mixed_run())
