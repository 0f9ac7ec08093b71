"""Baselines that hand over weights under refit, against plain loops of their papers."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from maskgap.benchmarks.runs.child import run_task
from maskgap.benchmarks.runs.judge import judge
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.errors import Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.one_shot.alps import Admm
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.tiny import random_layer

NAMES = ["sparsegpt", "obs-greedy", "alps"]
BEST_WEIGHTS = ["obs-greedy", "alps"]
PATTERNS = ["50%", "keep=5", "29%", "2:4", "1:3", "4:6"]
RIDGE = 0.03


def problem_of(pattern, seed=3, n=12, rows=4, ridge=RIDGE, layer=None):
    layer = layer or random_layer(seed, n, rows)
    return Problem.of(layer, parse_pattern(pattern), objective=objective_spec("refit", ridge))


def hessian_of(problem):
    gram = problem.layer.gram
    return gram + problem.objective.ridge * gram.diagonal().mean() * np.eye(len(gram))


def solve(name, problem, limits=None, **settings):
    """Masks (rows, n), weights (rows, n) or None, and the answers."""
    limits = limits or Limits(Deadline(60.0))
    answers = registry.build(name, settings).solve_rows(problem, limits, 0)
    masks = np.array([answer.mask for answer in answers])
    assert problem.groups.is_legal(masks)
    given = [answer.weights for answer in answers]
    weights = None if given[0] is None else np.array(given)
    if weights is not None:
        assert not weights[~masks].any()
    return masks, weights, answers


def best_weights(hessian, target, kept):
    """The least-squares answer on the kept columns (n,), and its loss."""
    root = np.linalg.cholesky(hessian).T
    found = np.zeros(len(target))
    found[kept] = np.linalg.lstsq(root[:, kept], root @ target, rcond=None)[0]
    return found, float(((root @ (found - target)) ** 2).sum())


# SparseGPT


def slow_sparsegpt(hessian, target, groups, block):
    """(kept, weights) column after column, with the inverse of what is left of H found afresh."""
    n, w, pruned = len(target), target.copy(), set()

    def cost(j):
        return w[j] ** 2 / np.linalg.inv(hessian[j:, j:])[0, 0]

    for j in range(n):
        if groups.count == 1 and j % block == 0:
            last = min(j + block, n)
            shares = [int(Fraction(groups.pruned * c, n) + Fraction(1, 2)) for c in (j, last)]
            pruned.update(sorted(range(j, last), key=cost)[: shares[1] - shares[0]])
        if groups.count > 1 and j % groups.size == 0:
            pruned.update(sorted(range(j, j + groups.size), key=cost)[: groups.pruned])
        if j in pruned:
            inverse = np.linalg.inv(hessian[j:, j:])
            w[j:] -= w[j] / inverse[0, 0] * inverse[0]
            w[j] = 0.0
    return [j not in pruned for j in range(n)], w


@pytest.mark.parametrize("block", [1, 5, 128])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sparsegpt_updates_the_columns_after_each_pruned_one(pattern, block):
    problem = problem_of(pattern)
    masks, weights, _ = solve("sparsegpt", problem, block=block)
    for row, target in enumerate(problem.weight):
        kept, w = slow_sparsegpt(hessian_of(problem), target, problem.groups, block)
        assert_array_equal(masks[row], kept)
        assert_allclose(weights[row], w, rtol=1e-9, atol=1e-12)


def test_sparsegpt_of_two_columns_by_hand():
    # pruning the first costs 3^2 / (2/3), the last 4^2 / (1/2); the last becomes 4 + 3 / 2
    layer = Layer.from_arrays([[3.0, 4.0]], [[2.0, 1], [1, 2]])
    _, weights, _ = solve("sparsegpt", problem_of("50%", ridge=0.0, layer=layer))
    assert_allclose(weights, [[0.0, 5.5]], rtol=1e-12)
    # the last goes at 4^2 / (1/2) < 9^2 / (2/3), and the first has passed: 9 stays, best is 9 + 2
    layer = Layer.from_arrays([[9.0, 4.0]], [[2.0, 1], [1, 2]])
    _, weights, _ = solve("sparsegpt", problem_of("50%", ridge=0.0, layer=layer))
    assert_allclose(weights, [[9.0, 0.0]], rtol=1e-12)


# ExactOBS


def slow_greedy(hessian, target, groups):
    """(kept, weights): the removal that costs least with all others re-optimised, again and again.

    Every candidate is tried, and the loss of what it leaves found by least squares.
    """
    kept, left = list(range(len(target))), [groups.pruned] * groups.count
    for _ in range(groups.total_pruned):
        tried = [
            (best_weights(hessian, target, [c for c in kept if c != j])[1], j)
            for j in kept
            if left[j // groups.size]
        ]
        _, gone = min(tried)
        kept.remove(gone)
        left[gone // groups.size] -= 1
    return [j in kept for j in range(len(target))], best_weights(hessian, target, kept)[0]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_obs_greedy_is_the_greedy_choice_by_the_loss_itself(pattern):
    problem = problem_of(pattern, seed=5)
    masks, weights, _ = solve("obs-greedy", problem)
    for row, target in enumerate(problem.weight):
        kept, best = slow_greedy(hessian_of(problem), target, problem.groups)
        assert_array_equal(masks[row], kept)
        assert_allclose(weights[row], best, rtol=1e-8, atol=1e-10)


# ALPS


def slow_alps(hessian, target, groups):
    """(kept, steps) of one row, with an inverse in each step."""
    root = np.sqrt(hessian.diagonal())
    a, y = hessian / np.outer(root, root), target * root
    k = groups.kept * groups.count

    def nearest(x):
        kept = np.zeros(len(x))
        for first in range(0, len(x), groups.size):
            order = sorted(range(first, first + groups.size), key=lambda j: -abs(x[j]))
            kept[order[: groups.kept]] = 1.0
        return x * kept

    rho, changed, anew, d, v = 0.1, False, 0, nearest(y), np.zeros_like(y)
    support = d != 0
    for step in range(1, 301):
        x = np.linalg.inv(a + rho * np.eye(len(y))) @ (a @ y - v + rho * d)
        d = nearest(x + v / rho)
        v = v + rho * (x - d)
        if step % 3:
            continue
        s = ((d != 0) ^ support).sum()
        support = d != 0
        if s:
            changed = True
            rho *= 1.3 if s >= 0.1 * k else 1.2 if s >= 0.005 * k else 1.1
        elif changed or anew == 5:
            break
        else:
            rho, anew, d, v = rho / 5, anew + 1, nearest(y), np.zeros_like(y)
            support = d != 0
    return list(support), step


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("pattern", ["50%", "keep=7", "2:4", "1:4", "4:6"])
def test_alps_is_a_loop_over_rows(pattern, seed):
    problem = problem_of(pattern, seed, n=24, rows=6)
    masks, _, answers = solve("alps", problem)
    for row, target in enumerate(problem.weight):
        kept, steps = slow_alps(hessian_of(problem), target, problem.groups)
        assert answers[row].counters == {"iterations": steps}
        assert answers[row].stop is Stop.FINISHED
        assert_array_equal(masks[row], kept)
    assert len({answer.counters["iterations"] for answer in answers}) > 1


@pytest.mark.parametrize("groups", [BudgetGroups(16, 16, 8), BudgetGroups(16, 4, 2)])
def test_where_the_steps_of_alps_end_the_weights_are_the_best_of_their_support(groups):
    """At a fixed point x = d, A (d - y) + v = 0 and v = 0 on the support, so d is the refit there.

    And what is left out is at most what is kept: |v_j| / rho <= |d_i| within a group.
    """
    layer = random_layer(8, 16, rows=3)
    root = np.sqrt(layer.gram.diagonal())
    a, y = layer.gram / np.outer(root, root), layer.weight * root
    admm, rows = Admm.start(a, y, groups), np.arange(3)
    admm.rho[:] = 2.0
    for _ in range(3000):
        admm.step(rows)
    support = admm.d != 0.0
    assert_allclose((admm.d - y) @ a + admm.v, 0.0, atol=1e-9)
    assert_allclose(admm.v[support], 0.0, atol=1e-9)
    for row in rows:
        best, _ = best_weights(a, y[row], support[row])
        assert_allclose(admm.d[row], best, atol=1e-8)
        for first in range(0, 16, groups.size):
            mine = slice(first, first + groups.size)
            kept = support[row, mine]
            out, least = admm.v[row, mine][~kept] / 2.0, np.abs(admm.d[row, mine][kept]).min()
            assert (np.abs(out) <= least + 1e-9).all()


def test_the_steps_of_alps_are_cut_off_in_words_and_rho_is_lowered_five_times():
    problem = problem_of("50%", n=24)
    _, weights, answers = solve("alps", problem, iterations=2)
    assert {(a.stop, a.counters["iterations"]) for a in answers} == {(Stop.ITERATIONS, 2)}
    assert weights is not None
    # two columns apart from each other, of weights that no number of steps so small exchanges
    layer = Layer.from_arrays([[1.0, 1e-6]], np.eye(2))
    _, _, (answer,) = solve("alps", problem_of("50%", layer=layer))
    assert (answer.stop, answer.counters["iterations"]) == (Stop.FINISHED, 18)


def test_alps_re_optimises_rows_in_blocks(monkeypatch):
    problem = problem_of("50%", n=16, rows=5)
    _, whole, _ = solve("alps", problem)
    monkeypatch.setattr("maskgap.solvers.one_shot.alps.REFIT_ROWS", 2)
    _, blocks, _ = solve("alps", problem)
    assert_allclose(blocks, whole, rtol=1e-10)


# All of them


@pytest.mark.parametrize("name", BEST_WEIGHTS)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_weights_are_the_best_ones_of_their_mask(name, pattern):
    problem = problem_of(pattern, seed=7, n=32, rows=3)
    masks, weights, _ = solve(name, problem)
    for row, target in enumerate(problem.weight):
        best, _ = best_weights(hessian_of(problem), target, masks[row])
        assert_allclose(weights[row], best, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["50%", "2:4", "0%", "100%"])
def test_a_run_is_judged_by_its_mask_and_tells_its_own_weights(name, pattern):
    problem = problem_of(pattern, n=16, rows=3)
    task = Task(problem, name, {}, RunLimits(60.0))
    for judged in judge(task, run_task(task)):
        found, part = judged.certificate, judged.problem
        assert found.verdict is (Verdict.PROVED if pattern == "0%" else Verdict.FEASIBLE)
        assert found.objective == pytest.approx(part.loss(judged.answer.mask), rel=1e-9)
        if name in BEST_WEIGHTS:
            assert found.error_own_weights == pytest.approx(found.objective, rel=1e-9, abs=1e-12)
        elif pattern in ("50%", "2:4"):
            assert found.error_own_weights > found.objective


@pytest.mark.parametrize("name", NAMES)
def test_the_ridge_is_that_of_the_objective_whatever_the_damping(name):
    plain, first, _ = solve(name, problem_of("50%", n=16))
    again, second, _ = solve(name, problem_of("50%", n=16), damping=5.0)
    assert_array_equal(plain, again)
    assert_array_equal(first, second)
    _, other, _ = solve(name, problem_of("50%", n=16, ridge=0.5))
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [-140, -20, 20, 140])
def test_weights_are_in_units_of_the_layer(name, exponent):
    layer = random_layer(2, 12, 3)
    masks, weights, _ = solve(name, problem_of("50%", layer=layer))
    scaled = Layer.from_arrays(np.ldexp(layer.weight, exponent), layer.gram)
    moved, other, _ = solve(name, problem_of("50%", layer=scaled))
    assert_array_equal(masks, moved)
    assert_array_equal(np.ldexp(weights, exponent), other)


@pytest.mark.parametrize("name", NAMES)
def test_no_weights_where_time_was_over_nor_under_the_loss_of_a_mask(name):
    problem = problem_of("50%")
    _, weights, answers = solve(name, problem, Limits(Deadline(0.0)))
    assert weights is None
    assert {answer.stop for answer in answers} == {Stop.TIME}
    plain = Problem.of(problem.layer, problem.pattern)
    assert solve(name, plain)[1] is None
    with_damping, _, _ = solve(name, plain, damping=RIDGE)
    assert_array_equal(with_damping, solve(name, problem)[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_column_has_a_price_under_refit(name):
    """Its weight is all ridge: large enough, it stays; under the loss of a mask it goes first."""
    gram = np.diag([4.0, 1.0, 0.0, 2.0])
    layer = Layer.from_arrays([[1.0, 1.0, 100.0, 1.0]], gram)
    masks, weights, _ = solve(name, problem_of("keep=2", layer=layer))
    assert masks[0, 2]
    assert weights[0, 2] == pytest.approx(100.0, rel=1e-12)
    assert not solve(name, Problem.of(layer, parse_pattern("keep=2")))[0][0, 2]


def test_other_patterns_are_refused():
    for name in NAMES:
        with pytest.raises(Refused):
            solve(name, Problem.of(random_layer(1, 8, 4), parse_pattern("layer:50%")))
