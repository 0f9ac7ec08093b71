"""Limits, starts, callbacks and interrupts of a search, and what it keeps then."""

import itertools

import numpy as np
import pytest

import maskgap
from maskgap.solvers.convex.result import relative_gap

N = 12
RANDOM = np.random.default_rng(0)
ROOT = RANDOM.standard_normal((N, N))
P, Q = ROOT @ ROOT.T + 0.1 * np.eye(N), RANDOM.standard_normal(N)
STATED = maskgap.objectives.quadratic(P, Q)
SET = maskgap.oracles.milp(np.ones((1, N)), 1.0, np.inf, 0.0, 4.0, 1)


def _told(x):
    return x @ P @ x + Q @ x, 2 * P @ x + Q


BEST = maskgap.minimise(STATED, SET)


@pytest.mark.parametrize("f", [_told, STATED])
def test_a_limit_of_nodes_leaves_a_point_and_a_true_bound(f):
    result = maskgap.minimise(f, SET, node_limit=2)
    assert result.stop == "nodes"
    assert result.bound <= BEST.objective <= result.objective
    assert result.gap == relative_gap(result.objective, result.bound) > 1e-6
    assert result.violation <= 1e-6


@pytest.mark.parametrize("f", [_told, STATED])
def test_no_time_leaves_no_false_claim(f):
    result = maskgap.minimise(f, SET, time_limit=1e-9)
    assert result.stop == "time"
    assert result.bound <= BEST.objective <= result.objective


@pytest.mark.parametrize("f", [_told, STATED])
def test_a_callback_ends_the_search_and_sees_its_states(f):
    seen = []

    def callback(state):
        seen.append(state)
        return True

    result = maskgap.minimise(f, SET, callback=callback)
    assert result.stop == "interrupted"
    assert result.x is not None
    assert seen[0].objective >= BEST.objective
    assert [p.objective for p in result.trace if p.objective is not None]


@pytest.mark.parametrize("f", [_told, STATED])
def test_an_interrupt_keeps_the_best_point(f):
    def callback(state):
        raise KeyboardInterrupt

    result = maskgap.minimise(f, SET, callback=callback)
    assert result.stop == "interrupted"
    assert result.x is not None
    assert result.bound <= BEST.objective <= result.objective


def test_a_start_is_taken_if_it_is_feasible():
    assert maskgap.minimise(_told, SET, start=BEST.x, node_limit=0).objective == BEST.objective
    assert maskgap.minimise(_told, SET, start=np.zeros(N), node_limit=0).objective == np.inf
    with pytest.raises(maskgap.InputError, match="start"):
        maskgap.minimise(_told, SET, start=np.zeros(N + 1))


def test_both_gaps_mean_what_they_say():
    loose = maskgap.minimise(_told, SET, gap=0.2)
    assert loose.gap <= 0.2
    assert loose.bound <= BEST.objective
    absolute = maskgap.minimise(STATED, SET, gap=0.0, absolute_gap=0.05)
    assert absolute.objective - absolute.bound <= 0.05
    exact = maskgap.minimise(STATED, SET, gap=1e-9)
    assert exact.gap <= 1e-9


@pytest.mark.parametrize("rule", ["pseudo-cost", "fractionality", "strong", "hybrid"])
def test_every_rule_of_branching_comes_to_the_optimum(rule):
    result = maskgap.minimise(_told, SET, branching=rule)
    assert result.objective == pytest.approx(BEST.objective, rel=2e-6)
    assert result.gap <= 1e-6


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("stated", [False, True])
def test_the_scale_of_the_objective_changes_nothing(scale, stated):
    f = maskgap.objectives.quadratic(scale * P, scale * Q)
    result = maskgap.minimise(f if stated else lambda x: f(x), SET)
    assert result.objective == pytest.approx(scale * BEST.objective, rel=2e-6)
    assert result.gap <= 1e-6


def test_an_objective_that_becomes_no_number_later_is_reported():
    calls = []

    def f(x):
        calls.append(x)
        return (np.nan if len(calls) > 20 else _told(x)[0]), _told(x)[1]

    result = maskgap.minimise(f, SET)
    assert (result.stop, result.bound_kind, result.gap) == ("unsound", "none", np.inf)


def test_gaps_by_definition():
    assert relative_gap(0.0, 0.0) == 0.0
    assert relative_gap(1.0, 0.0) == 1.0
    assert relative_gap(0.0, -1.0) == np.inf
    assert relative_gap(np.inf, 0.0) == np.inf
    assert relative_gap(1.0, -np.inf) == np.inf
    assert relative_gap(np.inf, np.inf) == np.inf


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_an_optimum_of_nothing_is_reached(seed, stated):
    random = np.random.default_rng(seed)
    root, aim = random.standard_normal((4, 4)), random.integers(0, 3, 4).astype(float)
    matrix = root @ root.T
    f = maskgap.objectives.quadratic(matrix, -2 * matrix @ aim, aim @ matrix @ aim)
    oracle = maskgap.oracles.milp(np.ones((1, 4)), aim.sum(), aim.sum(), 0.0, 3.0, 1)
    result = maskgap.minimise(f if stated else lambda x: f(x), oracle)
    assert result.objective == pytest.approx(0.0, abs=1e-12)
    assert result.x.tolist() == aim.tolist()
    assert result.stop == "gap"
    assert result.bound >= -1e-10


def test_rows_that_leave_no_whole_point_are_infeasible():
    random = np.random.default_rng(1014)
    points = np.array(list(itertools.product(range(-2, 4), repeat=4)), dtype=float)
    for _ in range(60):
        A = random.integers(-3, 4, (3, 4)).astype(float)
        low = random.integers(-6, 3, 3) + 0.5
        held = (points @ A.T >= low) & (points @ A.T <= low + 0.8)
        root = random.integers(-2, 3, (4, 4)).astype(float)
        f = maskgap.objectives.quadratic(root @ root.T + 1e-6 * np.eye(4), random.normal(size=4))
        result = maskgap.minimise(f, maskgap.oracles.milp(A, low, low + 0.8, -2.0, 3.0, 1))
        kept = points[held.all(axis=1)]
        if len(kept):
            assert result.objective == pytest.approx(min(f(x)[0] for x in kept), rel=2e-6, abs=1e-9)
        else:
            assert result.stop == "infeasible"


@pytest.mark.parametrize("seed", range(10))
def test_quadratics_that_are_not_definite(seed):
    """Zero, or singular along the rows; the least value by every point."""
    random = np.random.default_rng(seed)
    root = random.integers(-1, 2, (4, seed % 4)).astype(float)
    matrix, linear = root @ root.T, random.integers(-3, 4, 4).astype(float)
    f = maskgap.objectives.quadratic(matrix, linear)
    points = np.array(list(itertools.product(range(3), repeat=4)), dtype=float)
    points = points[points.sum(axis=1) == 3]
    best = min(f(x)[0] for x in points)
    result = maskgap.minimise(f, maskgap.oracles.milp(np.ones((1, 4)), 3, 3, 0.0, 2.0, 1))
    assert result.objective == pytest.approx(best, abs=1e-9)
    assert result.stop == "gap"
    assert result.bound <= best + 1e-9


def test_the_log_prints_as_it_improves(capsys):
    maskgap.minimise(_told, SET, log=True, node_limit=1)
    lines = capsys.readouterr().out.splitlines()
    assert "objective" in lines[0]
    assert len(lines) > 1
