"""The certificate: gaps, verdicts, and claims that are not believed."""

import numpy as np
import pytest

from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part, gap_of
from tests.helpers.tiny import I1_GRAM, I1_WEIGHT, I2_GRAM, I2_WEIGHT, row_problem

BEST = np.array([False, False, True, True])
SECOND = np.array([False, True, False, True])


@pytest.mark.parametrize(
    ("objective", "bound", "gap"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 1.0),
        (1.0, None, 1.0),
        (None, 0.0, None),
        (1.0, -np.inf, 1.0),
        (1.0, np.nan, 1.0),
        (1e-300, 0.0, 1.0),
        (5.0, 5.0, 0.0),
        (40.0, 20.0, 0.5),
        (5.0, 5.0 * (1 + 1e-13), 0.0),
    ],
)
def test_gap_is_defined_everywhere(objective, bound, gap):
    assert gap_of(objective, bound) == gap


def _judge(mask=BEST, objective=None, bound=None, **more):
    return certify_part(row_problem(I1_WEIGHT, I1_GRAM, "50%"), mask, objective, bound, **more)


def test_objective_is_recomputed_whatever_is_claimed():
    assert _judge(objective=0.0).objective == 20.0
    assert _judge(SECOND, objective=20.0).objective == 49.0


def test_verdicts():
    assert _judge().verdict is Verdict.FEASIBLE
    assert _judge().bound_kind is BoundKind.TRIVIAL
    assert _judge().gap == 1.0
    assert _judge(objective=20.0, bound=20.0).verdict is Verdict.CLOSED
    assert _judge(objective=20.0, bound=19.0).verdict is Verdict.FEASIBLE
    assert _judge(objective=20.0, bound=19.0).gap == pytest.approx(0.05)
    assert _judge(None, bound=19.0).verdict is Verdict.EMPTY
    assert _judge(None, bound=19.0).gap is None
    assert _judge(None, bound=19.0).bound == 19.0


def test_a_bound_above_the_mask_is_wrong_and_never_a_negative_gap():
    certificate = _judge(objective=20.0, bound=24.0)
    assert certificate.verdict is Verdict.WRONG
    assert certificate.gap == 0.0
    assert "24" in certificate.reason
    assert _judge(objective=20.0, bound=20.0 * (1 + 5e-7)).verdict is Verdict.CLOSED
    assert _judge(objective=20.0, bound=20.0 * (1 + 2e-6)).verdict is Verdict.WRONG


def test_a_claim_that_its_mask_does_not_bear_out_closes_nothing():
    """The known failure at small scales: objective 0, gap 0, a mask of loss 69."""
    worst = np.array([True, False, False, True])
    certificate = _judge(worst, objective=0.0, bound=0.0)
    assert certificate.objective == 69.0
    assert certificate.verdict is Verdict.FEASIBLE
    assert certificate.gap == 1.0
    certificate = _judge(SECOND, objective=20.0, bound=49.0)
    assert certificate.verdict is Verdict.FEASIBLE
    assert "claims objective 20" in certificate.reason


@pytest.mark.parametrize("bound", [np.nan, np.inf, -np.inf, -3.0])
def test_useless_bounds_count_as_zero(bound):
    certificate = _judge(bound=bound)
    assert (certificate.bound, certificate.gap) == (0.0, 1.0)
    assert certificate.verdict is Verdict.FEASIBLE


def test_an_illegal_mask_is_wrong():
    for mask in (np.ones(4, dtype=bool), np.ones(3, dtype=bool)):
        certificate = _judge(mask, objective=0.0, bound=0.0)
        assert certificate.verdict is Verdict.WRONG
        assert certificate.objective is None


def test_tolerance_decides_between_closed_and_feasible():
    problem = row_problem(I2_WEIGHT, I2_GRAM, "50%")
    keep = np.array([True, True, False, False])
    assert certify_part(problem, keep, 34.0, 20.0, tolerance=0.5).verdict is Verdict.CLOSED
    assert certify_part(problem, keep, 34.0, 20.0, tolerance=0.5).bound == 20.0
    assert certify_part(problem, keep, 34.0, 20.0).verdict is Verdict.FEASIBLE


def _record(solver, objective, bound, kind, verdict, problem="p"):
    return Record(
        key=solver + problem, instance="i", row=0, n=4, pattern="50%", problem=problem,
        pruned_per_row=2, sparsity=0.5, solver=solver, time_limit_s=1, stop="finished",
        verdict=verdict, objective=objective, bound=bound, bound_kind=kind,
    )  # fmt: skip


def test_one_false_bound_is_found_across_records_and_names_both():
    records = [
        _record("a", 20.0, 20.0, "claimed", "closed"),
        _record("b", 19.0, 0.0, "trivial", "feasible"),
        _record("c", None, 18.9, "checked", "empty"),
        _record("d", 7.0, 0.0, "trivial", "feasible", problem="another"),
    ]
    judged = {r.solver: r for r in cross_check(records)}
    assert judged["a"].verdict == "wrong"
    assert "19 of b" in judged["a"].reason
    assert [judged[s].verdict for s in "bcd"] == ["feasible", "empty", "feasible"]


def test_a_wrong_mask_refutes_nobody():
    records = [
        _record("a", 20.0, 20.0, "claimed", "closed"),
        _record("b", 1.0, 5.0, "claimed", "wrong"),
    ]
    assert [r.verdict for r in cross_check(records)] == ["closed", "wrong"]


def test_a_checked_bound_is_held_to_a_tighter_allowance():
    records = [
        _record("a", None, 20.0 * (1 + 1e-8), "checked", "empty"),
        _record("b", None, 20.0 * (1 + 1e-8), "claimed", "empty"),
        _record("c", 20.0, 0.0, "trivial", "feasible"),
    ]
    assert [r.verdict for r in cross_check(records)] == ["wrong", "empty", "feasible"]
