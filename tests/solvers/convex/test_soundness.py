"""Ways in which a part of a set could be lost from the least bound, each with a known optimum."""

import itertools
import subprocess
import sys
from contextlib import nullcontext as does_not_raise

import numpy as np
import pytest

import maskgap
from maskgap import objectives, oracles
from maskgap.solvers.convex import rules
from maskgap.solvers.convex.switched.problem import switched
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from tests.helpers.command import ROOT
from tests.helpers.mixed_sets import quadratic_optimum


@pytest.mark.parametrize("seed", range(6))
def test_rounding_that_leads_out_of_the_domain_bounds_nothing(seed):
    """On the rim of its domain f is infinite at every other point, by rounding alone."""
    random = np.random.default_rng(seed)
    aim = 0.5 * random.random(6)

    def plain(x):
        return float((x - aim) @ (x - aim)), 2 * (x - aim)

    def rimmed(x):
        return plain(x) if x.sum() <= 1.0 else (np.inf, np.zeros(6))

    best = maskgap.minimise(plain, oracles.simplex(6))
    result = maskgap.minimise(rimmed, oracles.simplex(6))
    assert result.bound <= best.objective <= result.objective + 1e-12
    assert result.stop in ("gap", "stalled")
    assert (result.stop == "gap") == (result.gap <= 1e-6)


def test_nodes_outside_of_the_domain_do_not_end_a_search():
    """The objective is infinite where the first two variables are 0, which some nodes are."""
    points = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    points = points[points.sum(axis=1) <= 2]

    def f(x):
        seen = x[0] + x[1]
        if seen <= 0.0:
            return np.inf, np.zeros(4)
        slope = np.array([3.0, 3.1, -1.0, -1.0])
        slope[:2] -= 0.5 / seen
        return float(3.0 * x[0] + 3.1 * x[1] - x[2] - x[3] - 0.5 * np.log(seen)), slope

    result = maskgap.minimise(f, oracles.cardinality(4, 2), branching="fractionality")
    assert result.objective == pytest.approx(min(f(x)[0] for x in points))
    assert result.stop == "gap"
    alone = oracles.milp(np.ones((1, 4)), 0, 2, [0, 0, 0, 0], [0, 0, 1, 1], 1)
    assert maskgap.minimise(f, alone).stop == "unsound"


@pytest.mark.parametrize("stated", [False, True])
def test_values_far_from_the_optimum_do_not_widen_the_gap(stated):
    aim = np.array([2.3, -1.7, 0.6])
    far = oracles.milp(np.ones((1, 3)), -1e6, 1e6, -1e4, 1e4, 1)
    if stated:
        P = np.diag([1.0, 2.0, 3.0])
        result = maskgap.minimise(
            objectives.quadratic(P, -2 * P @ aim, aim @ P @ aim), far, gap=1e-9
        )
        assert result.gap <= 1e-9
    else:
        result = maskgap.minimise(
            lambda x: (float(((x - aim) ** 4).sum()), 4 * (x - aim) ** 3), far
        )
        assert result.gap <= 1e-6
    assert result.x.tolist() == [2.0, -2.0, 1.0]
    assert result.stop == "gap"


@pytest.mark.parametrize("M", [1e3, 1e5, 1e6, 1e7])
def test_rows_with_a_large_factor_hide_no_node(M):
    """x2 <= M x1, and the optimum has x1 = x2 = 0, where the row gives by 1 / M^2 alone."""
    f = objectives.quadratic([[1000.0, 0.0], [0.0, 1.0]], [0.0, -20.0], 100.0)
    result = maskgap.minimise(f, oracles.milp([[M, -1.0]], 0.0, np.inf, 0.0, [1.0, M], [1, 0]))
    assert result.objective == pytest.approx(100.0)
    assert result.stop == "gap"
    assert result.violation <= 1e-6


@pytest.mark.parametrize("seed", range(30))
def test_large_variables_and_rows_of_many_sizes(seed):
    """By pivots: variables around a large number, rows of sizes 1e-4 to 1e4, mixed and whole."""
    random = np.random.default_rng(seed)
    n, shift = 3, float(10 ** random.integers(0, 7))
    kinds = np.array([1, 1, random.integers(0, 2)])
    root = random.integers(-2, 3, (n, n)).astype(float)
    P = root @ root.T + np.diag(10.0 ** random.integers(-2, 3, n))
    centre = shift * random.integers(-1, 2, n) + random.uniform(-2, 2, n)
    q = -2 * P @ centre
    A = random.integers(-2, 3, (2, n)) * 10.0 ** random.integers(-4, 5, (2, 1))
    low, high = np.floor(centre) - 2, np.floor(centre) + 3
    inside = A @ np.round(centre)
    width = np.abs(A).sum(axis=1)
    sides = inside - width * random.random(2), inside + (seed % 3) * width * random.random(2)
    f = objectives.quadratic(P, q, float(centre @ P @ centre))
    moved = linear_set(A, tuple(side - A @ low for side in sides), (0.0, high - low), kinds)
    best = quadratic_optimum(P, q + 2 * P @ low, moved)
    result = maskgap.minimise(f, oracles.milp(A, *sides, low, high, kinds))
    if best == np.inf:
        assert result.stop == "infeasible"
        return
    best += f(low)[0]
    slack = 1e-12 * float(np.abs(centre) @ np.abs(P) @ np.abs(centre)) + 1e-9
    assert result.bound <= best + slack
    assert result.objective == pytest.approx(best, rel=2e-6, abs=slack)


def test_an_empty_range_of_a_variable_without_a_switch_is_an_empty_set():
    f = objectives.least_squares(np.eye(2, 3), [1.0, 1.0], ridge=[1.0, 1.0, 0.0], linear=0.1)
    rows = [[1.0, 0, -1], [1, 0, 1], [0, 1, 0], [0, 2, 0]]
    low, high = [-np.inf, 0, 1, -np.inf], [0, np.inf, np.inf, 0]
    oracle = oracles.milp(rows, low, high, [-5, -5, 0], [5, 5, 1], [0, 0, 1])
    result = maskgap.minimise(f, oracle)
    assert (result.stop, result.x) == ("infeasible", None)


def test_ends_of_a_range_that_cross_by_rounding_are_one():
    """Two rows say x = z / 10, of which one says 0.3 / 3 < 0.1."""
    f = objectives.least_squares([[1.0, 0.0]], [5.0], ridge=[1.0, 0.0], linear=[0.0, -3.0])
    rows = [[3.0, -0.3], [1.0, -0.1]]
    result = maskgap.minimise(
        f, oracles.milp(rows, [-np.inf, 0.0], [0.0, np.inf], [-5, 0], [5, 1], [0, 1])
    )
    assert result.x == pytest.approx([0.1, 1.0])
    assert result.objective == pytest.approx(21.02)


def test_a_diagonal_stated_a_little_too_large_is_lowered():
    """P - Diag(D) is indefinite by what a program for D may miss, which would make F too high."""
    P = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])
    stated = 0.5 + 1e-9
    f = objectives.quadratic(P, [1.0, -1.0, 0.1], 0.0, [stated, stated, 0.0])
    rows, sides = [[1.0, 0, -9], [1, 0, 9]], ([-np.inf, 0], [0, np.inf])
    oracle = oracles.milp(rows, *sides, [-9, -9, 0], [9, 9, 1], [0, 0, 1])
    found = switched(f, oracle.rows, {})
    used = found.value.of.diagonal
    assert (used <= stated - 1e-9).all()
    assert np.linalg.eigvalsh(P[:2, :2] - np.diag(used))[0] > -1e-16
    with pytest.raises(maskgap.InputError, match="semidefinite"):
        objectives.quadratic(P, np.zeros(3), 0.0, [stated + 1e-6, stated, 0.0])
    with pytest.raises(maskgap.InputError, match="semidefinite"):
        objectives.quadratic(P - 1e-9 * np.eye(3), np.zeros(3))


def _of_calls(stop):
    """A quadratic by calls that is interrupted at one of them, its calls, and its set."""
    random = np.random.default_rng(5)
    root, aim = random.standard_normal((3, 3)), np.array([0.6, -1.4, 0.5])
    P, calls = root @ root.T + 0.1 * np.eye(3), []

    def f(x):
        calls.append(x)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return float((x - aim) @ P @ (x - aim)), 2 * P @ (x - aim)

    return f, calls, oracles.milp(np.ones((1, 3)), -1, 1, -2.0, 2.0, [1, 1, 0])


def test_an_interrupt_at_any_call_loses_no_node():
    f, calls, oracle = _of_calls(0)
    best = maskgap.minimise(f, oracle)
    assert best.stop == "gap"
    for stop in range(1, len(calls) + 1, 9):
        result = maskgap.minimise(_of_calls(stop)[0], oracle)
        assert result.stop == "interrupted"
        assert result.bound <= best.objective * (1 + 1e-9)
    assert maskgap.minimise(_of_calls(len(calls))[0], oracle).objective == best.objective


def test_time_that_is_up_ends_the_steps_of_a_node(monkeypatch):
    """Of an objective that is slow, steps between two looks at the clock would take long."""
    f, calls, oracle = _of_calls(0)
    monkeypatch.setattr(rules, "clock", lambda: np.inf if len(calls) >= 6 else 0.0)
    result = maskgap.minimise(f, oracle)
    assert result.stop == "time"
    assert len(calls) <= 10


def test_a_diagonal_beyond_the_curvature_is_reported():
    random = np.random.default_rng(1)
    f = objectives.logistic(random.standard_normal((6, 3)), [1, 0, 1, 0, 1, 1], ridge=0.1)
    f.diagonal = np.full(3, 5.0)
    result = maskgap.minimise(f, oracles.milp(np.ones((1, 3)), -9, 9, -3.0, 3.0, 1))
    assert (result.stop, result.bound_kind) == ("unsound", "none")
    assert "diagonal" in result.message


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, -1.0])
def test_a_gradient_of_another_scale_is_reported(factor):
    random = np.random.default_rng(3)
    aim = random.uniform(-2, 2, 5)
    oracle = oracles.milp(np.ones((1, 5)), -4, 4, -3.0, 3.0, [1, 1, 1, 0, 0])
    result = maskgap.minimise(
        lambda x: (float((x - aim) @ (x - aim)), factor * 2 * (x - aim)), oracle
    )
    assert (result.stop, result.bound_kind) == ("unsound", "none")


def test_one_array_for_all_gradients_is_no_harm():
    aim, kept = np.array([0.4, 1.7, -0.6, 2.2]), np.zeros(4)

    def f(x):
        kept[:] = 4 * (x - aim) ** 3
        return float(((x - aim) ** 4).sum()), kept

    oracle = oracles.milp(np.ones((1, 4)), -2, 2, -3.0, 3.0, [1, 1, 1, 0])
    mine = maskgap.minimise(f, oracle, branching="strong")
    theirs = maskgap.minimise(lambda x: (f(x)[0], f(x)[1].copy()), oracle, branching="strong")
    assert mine.nodes == theirs.nodes
    assert mine.objective == theirs.objective


@pytest.mark.parametrize("scale", [1e150, 1e290, 1e307])
def test_values_beyond_the_range_of_numbers_are_told(scale):
    oracle = oracles.milp(np.ones((1, 2)), 1, 9, -3e9, 3e9, 1)
    P = scale * np.eye(2)
    with pytest.raises(maskgap.Refused, match="range") if scale > 1e200 else does_not_raise():
        result = maskgap.minimise(objectives.quadratic(P, np.zeros(2)), oracle)
        assert result.objective == pytest.approx(scale)
    if scale > 1e290:
        with np.errstate(over="ignore", invalid="ignore"):
            told = maskgap.minimise(lambda x: (float(x @ P @ x), 2 * P @ x), oracle)
        assert told.stop == "unsound"


def test_a_set_is_the_users_again_after_a_search():
    oracle = oracles.milp(np.ones((1, 3)), 1, 2, 0.0, 1.0, 1)
    maskgap.minimise(lambda x: (float(x @ x), 2 * x), oracle, time_limit=1e-9)
    direction = np.array([1.0, -2.0, 3.0])
    assert oracle.minimise(direction, np.zeros(3), np.ones(3)).point.tolist() == [0.0, 1.0, 0.0]


def test_a_limit_of_nodes_is_kept_by_dives():
    random = np.random.default_rng(0)
    root = random.standard_normal((12, 12))
    f = objectives.quadratic(root @ root.T + 0.1 * np.eye(12), random.standard_normal(12))
    oracle = oracles.milp(np.ones((1, 12)), 1.0, np.inf, 0.0, 4.0, 1)
    for threads in (1, 2):
        assert maskgap.minimise(f, oracle, node_limit=7, threads=threads).nodes <= 7


SCRIPT = """
import numpy as np, maskgap
from maskgap.solvers.convex.pivoting.warm import warm_up
from maskgap.solvers.frank_wolfe.steps import warm_up as warm_up_steps
from maskgap.solvers.kernels.cache import COMPILING
from maskgap.solvers.kernels.jit import KERNELS
known = lambda: {(k.__module__, k.__name__, str(s)) for k in KERNELS for s in k.signatures}
assert not known(), "compiled at import"
warm_up()
warm_up_steps()
warm, before = known(), COMPILING.seconds()
random = np.random.default_rng(0)
root = random.standard_normal((6, 6))
P, q = root @ root.T + 0.1 * np.eye(6), random.standard_normal(6)
for kinds in (1, [1, 1, 1, 1, 0, 0]):
    for gap in (0, 1e-6):
        oracle = maskgap.oracles.milp(np.ones((1, 6)), 1.0, np.inf, 0.0, 4.0, kinds)
        maskgap.minimise(maskgap.objectives.quadratic(P, q), oracle, gap=gap, threads=2)
        maskgap.minimise(lambda x: (x @ P @ x + q @ x, 2 * P @ x + q), oracle, gap=gap)
flat = maskgap.objectives.quadratic(np.ones((6, 6)), q)
maskgap.minimise(flat, oracle)
assert known() <= warm, known() - warm
print(COMPILING.seconds() - before)
"""


def test_nothing_is_compiled_in_a_search_that_was_warmed_up():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.0"]
