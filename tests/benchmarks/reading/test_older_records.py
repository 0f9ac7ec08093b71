"""Records of before schema 4, which do not say what their solver is."""

import json

import pytest

from maskgap.benchmarks.reading.contest import absent_of, contests
from maskgap.benchmarks.reading.labels import labels
from maskgap.benchmarks.reading.older_records import completed
from maskgap.benchmarks.reading.run_directory import read_run
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import RECORDS_FILE
from tests.helpers.records import choice, closed, full_run, record

SINCE_4 = ("gives", "batched", "register_place", "install", "summary", "defaults")


def older(one):
    """The same record as schema 2 had it."""
    values = {k: v for k, v in json.loads(one.line()).items() if k not in SINCE_4}
    return Record.model_validate({**values, "schema_version": 2})


def test_what_solvers_give_is_told_from_their_records_together():
    records = full_run()
    told = {r.solver: r.gives for r in completed([older(r) for r in records])}
    known = {r.solver: r.gives for r in records}
    assert {s: told[s] for s in known if known[s] in ("mask", "bound")} == {
        s: gives for s, gives in known.items() if gives in ("mask", "bound")
    }
    # its bounds are claimed in these records but where it is proved
    assert {s for s in known if told[s] == "proof"} == {"exhaustive"}
    assert all(told[s] == "claim" for s in known if known[s] == "claim")


def test_a_solver_that_never_came_to_a_bound_counts_as_one_of_masks():
    (alone,) = completed([older(record("scip-miqp", stop="time"))])
    assert alone.gives == "mask"


def test_a_newer_record_says_it_for_the_older_ones():
    new = record("scip-miqp", "p0", 12.0)
    old = older(record("scip-miqp", "p1", 12.0))
    assert [r.gives for r in completed([new, old])] == ["claim", "claim"]
    assert completed([new])[0] is new


@pytest.mark.parametrize(
    ("own", "batched"),
    [
        ([{"rows": 48}], True),
        ([{"wall_s": 1.25, "row": 0}, {"wall_s": 1.25, "row": 1}], True),
        ([{"wall_s": 1.25, "row": 0}, {"wall_s": 1.5, "row": 1}], False),
        ([{"wall_s": 1.25, "seed": 0}, {"wall_s": 1.25, "seed": 1}], False),
        ([{"row": 0}, {"row": 1}], False),
    ],
)
def test_a_batch_is_known_by_what_its_records_share(own, batched):
    records = [older(record("other:Solver", "p", 3.0, **{"instance": "layer", **o})) for o in own]
    assert {r.batched for r in completed(records)} == {batched}


def test_what_installs_a_solver_is_read_from_the_reason_of_a_refusal(tmp_path):
    reason = {"stop": "refused", "reason": "pip install gurobipy"}
    told = older(record("gurobi", objective=None, **reason))
    assert absent_of([told]) == {"gurobi": "pip install gurobipy"}
    newer = record("gurobi", objective=None, **reason)  # which would say so itself
    assert absent_of([newer]) == {}
    crashed = record("gurobi", objective=None, stop="crashed", reason="pip install x")
    assert older(crashed).install is None


def test_settings_are_all_named_where_no_default_is_recorded():
    records = [choice("p0"), choice("p0", variant="away")]
    assert labels(records, [10.0] * 2) == ["fw-bnb [default]", "fw-bnb [variant=away]"]
    before = records[0].settings["variant"]
    assert labels([older(r) for r in records], [10.0] * 2) == [
        f"fw-bnb [variant={before}]",
        "fw-bnb [variant=away]",
    ]


def test_contenders_without_a_place_follow_masks_then_proofs_then_bounds():
    records = [
        record("b-bound", "p", None, bound=1.0, bound_kind="checked"),
        closed("a-proof", "p", 3.0),
        record("z-mask", "p", 4.0),
        record("swap", "p", 4.0),
        record("wanda", "p", 5.0),
    ]
    (contest,) = contests(completed(records))
    assert contest.contenders == ("wanda", "swap", "z-mask", "a-proof", "b-bound")


def test_a_directory_of_older_records_is_read_complete(tmp_path):
    lines = [older(r).line() for r in (closed("scip-miqp", "p0", 3.0), record("swap", "p0", 3.0))]
    (tmp_path / RECORDS_FILE).write_text("".join(lines))
    assert {r.solver: r.gives for r in read_run(tmp_path).records} == {
        "scip-miqp": "claim",
        "swap": "mask",
    }
