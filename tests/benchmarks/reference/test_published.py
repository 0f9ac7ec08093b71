"""Runs on published instances, and the audit of what others claim of them."""

import json
from math import inf

import pytest

from maskgap.benchmarks.reference.published import page, records
from maskgap.benchmarks.reference.published.audit import Finding, audit, own_refuted
from maskgap.benchmarks.reference.published.case import OWN
from maskgap.benchmarks.reference.published.records import Run
from maskgap.instances.errors import InputError
from maskgap.instances.sources.published.make import FAMILIES
from maskgap.instances.sources.published.reported import Reported

CASE = ("sparse_reg", 1, "dimension=15")


def _run(objective=2.0, bound=2.0, solver=OWN, seconds=1.0, exact=True):
    return Run(solver, *CASE, "gap", objective, exact, bound, None, 5, seconds, seconds)


def _claim(objective, solver="Boscia", termination="OPTIMAL", seconds=3.0):
    return Reported(*CASE, solver, objective, termination, seconds, 10)


@pytest.mark.parametrize(
    ("claimed", "solver", "run", "found"),
    [
        (2.0, "SHOT", _run(), Finding.RIGHT),
        (2.0 + 1e-6, "SHOT", _run(), Finding.RIGHT),
        (2.01, "Boscia", _run(), Finding.WITHIN),
        (2.01, "SHOT", _run(), Finding.REFUTED),
        (2.1, "Boscia", _run(), Finding.REFUTED),
        (2.0, "SHOT", _run(bound=1.9), Finding.OPEN),
        (2.0, "SHOT", _run(objective=inf, bound=1.9), Finding.OPEN),
        (1.9, "SHOT", _run(), Finding.BELOW),
    ],
)
def test_findings(claimed, solver, run, found):
    (audited,) = audit([run], [_claim(claimed, solver)])
    assert audited.finding is found


def test_a_value_that_another_reports_refutes_beyond_its_slack_alone():
    rows = [_claim(2.01, "SHOT"), _claim(2.0, "SCIP-OA", seconds=1800.0)]
    assert [a.finding for a in audit([], rows)] == [Finding.REFUTED]
    near = [_claim(2.0001, "SHOT"), _claim(2.0, "SCIP-OA", seconds=1800.0)]
    assert [a.finding for a in audit([], near)] == [Finding.OPEN]
    unchecked = [_claim(2.01, "SHOT"), _claim(2.0, "Ipopt-BnB", seconds=1800.0)]
    assert [a.finding for a in audit([], unchecked)] == [Finding.OPEN]


def test_a_peer_run_here_gives_a_value_and_no_bound():
    runs = [_run(1.0, 1.0, "SHOT")]
    assert [a.finding for a in audit(runs, [_claim(2.0, "SHOT")])] == [Finding.REFUTED]
    assert [a.finding for a in audit(runs, [_claim(1.0, "SHOT")])] == [Finding.OPEN]


def test_a_point_that_misses_rows_by_little_refutes_nothing():
    runs = [_run(1.0, 1.0, exact=False)]
    assert [a.finding for a in audit(runs, [_claim(2.0, "SHOT")])] == [Finding.OPEN]
    assert page.best_values(runs) == {CASE: inf}


def test_what_ended_at_the_limit_claims_nothing():
    assert audit([_run()], [_claim(2.5, "SHOT", "LOCALLY_SOLVED", 1800.0)]) == []


def test_bounds_of_ours_above_what_others_report_are_found():
    assert own_refuted([_run(2.0, 2.0)], [_claim(1.9, "SHOT")]) != []
    assert own_refuted([_run(2.0, 2.0)], [_claim(2.0 - 1e-5, "SHOT")]) == []
    assert own_refuted([_run(2.0, 2.0)], [_claim(1.9)]) == []  # a value of its own


def test_a_case_is_solved_by_its_point_and_its_bound_in_time():
    best = {CASE: 2.0}
    assert page.solved(_run(), 1e-6, best)
    assert not page.solved(_run(bound=1.99), 1e-6, best)
    assert page.solved(_run(bound=1.99), 1e-2, best)
    assert not page.solved(_run(2.1, 2.1), 1e-6, best)  # its bound is wrong
    assert not page.solved(_run(seconds=61.0), 1e-6, best)
    assert not page.solved(_run(inf, 2.0), 1e-2, best)


def test_runs_are_recorded_once_and_read_back(tmp_path):
    wanted = records.cases("tailed_cardinality", 15)[:2]
    said = []
    records.sweep(tmp_path, wanted, ["SCIP cuts"], said.append)
    records.sweep(tmp_path, wanted, ["SCIP cuts"], said.append)
    assert len(said) == 2
    runs = records.read_runs(tmp_path)
    assert [run.case for run in runs] == wanted
    for run, value in zip(runs, (3.3703471620782786, 2.1140406370056635), strict=True):
        assert run.objective == pytest.approx(value, rel=1e-6)
        assert run.gap <= 1e-5
    text = page.write(tmp_path)
    assert "`tailed_cardinality`" in text
    assert (tmp_path / "published.md").read_text() == text + "\n"
    lines = (tmp_path / "audit.csv").read_text().splitlines()
    assert lines[0].startswith("family,seed,size,solver,claimed")


def test_a_point_that_misses_a_row_has_no_value(tmp_path):
    line = {"solver": "SHOT", "family": "sparse_reg", "seed": 1, "size": "dimension=15",
            "stop": "x", "objective": 1.0, "violation": 1e-3, "claimed_bound": None,
            "root_bound": None, "calls": 0, "seconds": 1.0, "cpu_s": 1.0}  # fmt: skip
    (tmp_path / records.FILE).write_text(json.dumps(line) + "\n")
    (run,) = records.read_runs(tmp_path)
    assert (run.objective, run.bound, run.gap) == (inf, -inf, inf)


def test_all_published_cases_have_five_seeds():
    counts = {family: len(records.cases(family)) for family in FAMILIES}
    assert counts == {"sparse_reg": 80, "portfolio_integer": 105, "portfolio_mixed": 105,
                      "tailed_cardinality": 80}  # fmt: skip
    assert records.families(["sparse_reg=16"]) == records.cases("sparse_reg")[:10]


def test_what_cannot_be_read_or_written_is_said_in_a_line(tmp_path):
    (tmp_path / records.FILE).write_text("{\n")
    with pytest.raises(InputError, match="line 1: no record"):
        records.read_runs(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        records.sweep(tmp_path / records.FILE, [], [OWN])
    for word in ("sparse", "sparse_reg=", "sparse_reg=x"):
        with pytest.raises(InputError, match="expected FAMILY"):
            records.families([word])
