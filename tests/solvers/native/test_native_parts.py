"""The parts of the native adapters: rounding, statuses, units, linearisation, tangents, shifts."""

from dataclasses import replace

import highspy
import numpy as np
import pytest

from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import (
    NativeError,
    NativeRun,
    Outcome,
    OutOfTime,
    round_to_mask,
    stop_of,
)
from maskgap.solvers.native import highs_milp, highs_oa
from maskgap.solvers.objectives import shift
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.tiny import (
    I1_GRAM,
    I1_WEIGHT,
    I2_WEIGHT,
    legal_pruned_sets,
    random_layer,
    row_problem,
)


def _arrays(layer):
    return layer.weight, layer.gram


def test_native_vectors_are_rounded_and_their_budgets_checked():
    groups = BudgetGroups(4, 4, 2)
    assert list(round_to_mask([0.9999999, 1e-9, 1.0000001, 0], groups)) == [False, True] * 2
    assert round_to_mask([0.9, 0.2, 0.3, 0.0], groups) is None
    assert round_to_mask([np.nan, 1.0, 1.0, 0.0], groups) is None
    assert round_to_mask([1.0, 1.0, 0.0], groups) is None
    assert round_to_mask([1.0, 1.0, 0.0, 0.0], BudgetGroups(4, 2, 1)) is None


def test_unknown_statuses_are_errors():
    assert stop_of("ok", {"ok": Stop.TIME}, "any") is Stop.TIME
    with pytest.raises(NativeError, match="any ended with status 'unknown'"):
        stop_of("unknown", {"ok": Stop.TIME}, "any")
    assert set(highs.STATUSES) <= set(highspy.HighsModelStatus.__members__)


def _run(problem, limit=10.0, warm_start="none"):
    return NativeRun(problem, Limits(Deadline(limit)), warm_start, 0, 1e-7)


def test_a_native_vector_beyond_the_budgets_is_no_mask():
    run = _run(row_problem(I1_WEIGHT, I1_GRAM, "50%"))
    answer = run.answer(Outcome(Stop.FINISHED, "fine", "fake 1", [1.0, 1, 1, 0], 0.0, 0.0))
    assert (answer.mask, answer.claimed_objective) == (None, None)
    assert "budgets" in answer.notes["rejected"]


def test_an_objective_that_is_not_the_mask_s_is_passed_on_as_claimed():
    problem = row_problem(I1_WEIGHT, I1_GRAM, "50%")
    run = _run(problem)
    loss = problem.scaled_loss(np.array([False, False, True, True]))
    vector = [1.0, 1.0, 0.0, 0.0]
    near = run.answer(Outcome(Stop.FINISHED, "", "", vector, loss / run.unit * (1 - 1e-10), 0.0))
    assert near.claimed_objective == loss
    run = _run(problem)
    far = run.answer(Outcome(Stop.FINISHED, "", "", vector, 0.5 * loss / run.unit, 0.0))
    assert far.claimed_objective == pytest.approx(0.5 * loss)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e20, -1e20, 1e100, np.nan, None])
def test_native_infinities_are_no_bounds(value):
    run = _run(row_problem(I1_WEIGHT, I1_GRAM, "50%"))
    assert run.answer(Outcome(Stop.TIME, "late", "fake 1", bound=value)).claimed_bound is None


def test_units_are_powers_of_two_and_leave_the_bound_in_scaled_loss():
    run = _run(row_problem(I1_WEIGHT, I1_GRAM * 1e-7, "50%"))
    assert np.log2(run.unit) == round(np.log2(run.unit))
    assert run.claim(10.0) == pytest.approx(10.0 * run.unit, rel=1e-7)
    assert run.claim(10.0) < 10.0 * run.unit


def test_out_of_time_is_raised_while_building():
    run = _run(row_problem(I1_WEIGHT, I1_GRAM, "50%"))
    run.check_time()
    with pytest.raises(OutOfTime):
        run.check_time(needed=100.0)
    run.limits.deadline.interrupt()
    with pytest.raises(OutOfTime):
        run.check_time()
    assert run.unsolved().stop is Stop.INTERRUPTED


def test_highs_has_no_integer_quadratic_solver():
    """What forces the linearisations: an error next to numbers that look like a perfect result."""
    model = highs_milp.linearise(np.eye(3), BudgetGroups(3, 3, 1))
    native = highs.load(model, Limits(Deadline(5)), 0.0, 0)
    hessian = highspy.HighsHessian()
    hessian.dim_ = len(model.cost)
    hessian.format_ = highspy.HessianFormat.kTriangular
    hessian.start_ = np.minimum(np.arange(hessian.dim_ + 1), 3).astype(np.int32)
    hessian.index_ = np.arange(3, dtype=np.int32)
    hessian.value_ = np.full(3, 2.0)
    assert native.passHessian(hessian) == highspy.HighsStatus.kOk
    with pytest.raises(NativeError, match="run returned kError"):
        highs.optimise(native, Limits(Deadline(5)), lambda x: None, lambda bound: None)


@pytest.mark.parametrize("size", [6, 3, 2])
def test_the_linearisation_is_exact(size):
    layer = random_layer(1, 6, tokens=4)
    problem = row_problem(*_arrays(layer), f"1:{size}")
    model = highs_milp.linearise(problem.quad, problem.legal)
    for columns in legal_pruned_sets(6, size, size - 1):
        mask = np.ones(6, dtype=bool)
        mask[list(columns)] = False
        x = highs_milp.complete(mask)
        rows = model.matrix @ x
        assert (rows >= model.row_lower).all()
        assert (rows <= model.row_upper).all()
        assert model.cost @ x == pytest.approx(problem.scaled_loss(mask), abs=1e-12)
        # with z fixed, the rows leave the products no other value
        is_z = np.arange(len(x)) < 6
        for sense in (1.0, -1.0):
            lp = replace(
                model,
                cost=sense * np.where(is_z, 0.0, 1.0),
                lower=np.where(is_z, x, 0.0),
                upper=np.where(is_z, x, 1.0),
            )
            native = highs.load(lp, Limits(Deadline(5)), 0.0, 0)
            highs.optimise(native, Limits(Deadline(5)), lambda x: None, lambda bound: None)
            outcome = highs.read_back(native, len(x))
            assert outcome.vector == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize("kind", shift.SHIFTS)
def test_tangents_stay_below_the_loss_and_touch_their_masks(kind):
    problem = row_problem(*_arrays(random_layer(2, 8, tokens=5)), "50%")
    run = _run(problem)
    tangents = highs_oa.build(run, kind, "best")
    masks = []
    for columns in legal_pruned_sets(8, 8, 4):
        masks.append(np.ones(8, dtype=bool))
        masks[-1][list(columns)] = False
    for mask in masks[::7]:
        assert tangents.add_mask(mask)
        assert not tangents.add_mask(mask)
        height = tangents.height(mask) * run.unit
        assert height == pytest.approx(problem.scaled_loss(mask), rel=1e-9, abs=1e-9)
    for mask in masks:
        assert tangents.height(mask) * run.unit <= problem.scaled_loss(mask) + 1e-9


SHIFT_CASES = {
    "definite": I1_GRAM,
    "singular": np.ones((4, 4)),
    "zero": np.zeros((4, 4)),
    "dead column": np.diag([0.0, 1, 2, 3]),
    "all equal": np.eye(4),
    "spread": np.diag([1e-9, 1.0, 5.0, 9.0]) + 1e-10,
    "indefinite by rounding": np.diag([0.0, 1, 1, 1]) + 1e-7 * np.eye(4)[::-1],
}


@pytest.mark.parametrize("kind", shift.SHIFTS)
@pytest.mark.parametrize("case", SHIFT_CASES)
def test_shifted_matrices_are_semidefinite_and_have_factors(case, kind):
    quad = SHIFT_CASES[case]
    d = shift.diagonal_shift(quad, kind)
    rest = quad - np.diag(d)
    assert shift.least_eigenvalue(rest) >= -1e-14 * max(1.0, np.abs(quad).max())
    rows = shift.factor(rest)
    assert rows.T @ rows == pytest.approx(rest, abs=1e-13 * max(1.0, np.abs(quad).max()))
    if case in ("definite", "all equal", "spread") and kind != "none":
        assert d.max() > 0


def test_the_shifts_are_what_they_say():
    assert shift.diagonal_shift(np.diag([1.0, 2, 4]), "eig") == pytest.approx([1.0, 1, 1])
    assert shift.diagonal_shift(np.diag([0.0, 2, 4]), "diag") == pytest.approx([0.0, 2, 4])
    assert shift.diagonal_shift(np.diag([0.0, 2, 4]), "eig") == pytest.approx([0.0, 0, 0])
    pair = np.array([[4.0, 1], [1, 1]])  # S^-1 Q S^-1 = [[1, 1/2], [1/2, 1]], lambda_min 1/2
    assert shift.diagonal_shift(pair, "diag") == pytest.approx([2.0, 0.5])
    assert not shift.diagonal_shift(I1_GRAM, "none").any()


def test_a_wide_gram_gives_a_problem_of_its_own_row():
    layer = Layer.from_arrays(np.vstack([I1_WEIGHT, I2_WEIGHT]), I1_GRAM)
    problem = Problem.of(layer, parse_pattern("50%"))
    starts = [
        NativeRun(problem.part_of(r), Limits(Deadline(5)), "wanda", 0, 1e-7).start for r in (0, 1)
    ]
    both = registry.build("wanda").solve_rows(problem, Limits(Deadline(5)), 0)
    assert all((start == row.mask).all() for start, row in zip(starts, both, strict=True))
