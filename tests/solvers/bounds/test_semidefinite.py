"""The interior-point method of the semidefinite relaxation, against cvxpy and brute force."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import conic
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline, Journal
from tests.helpers.tiny import brute_force, random_layer, row_problem


def _root_bound(problem, function):
    repaired = convexify.repair(problem.quad, problem.groups, function)
    convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, repaired))
    return hull.minimise(convex, problem.groups, Deadline(60)).bound


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "2:4", "1:4"])
@pytest.mark.parametrize("seed", range(3))
def test_value_agrees_with_cvxpy_and_lies_below_the_optimum(pattern, seed):
    problem = Problem.of(random_layer(seed, 12), parse_pattern(pattern)).part_of(0)
    solution = solve_sdp(problem.quad, problem.groups, Deadline(60))
    assert solution.converged
    dual = conic.sdp_dual(problem.quad, problem.groups, "CLARABEL", Deadline(60), Journal())
    ours, theirs = _root_bound(problem, solution.function), _root_bound(problem, dual.function)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert solution.bound == pytest.approx(theirs, rel=1e-3)
    best, _ = brute_force(
        problem.weight, problem.layer.gram, problem.groups.size, problem.groups.pruned
    )
    assert problem.rescale(ours) <= best * (1 + 1e-9)


def test_the_function_equals_the_loss_on_legal_masks_and_is_convex():
    problem = Problem.of(random_layer(8, 8), parse_pattern("2:4")).part_of(0)
    function = solve_sdp(problem.quad, problem.groups, Deadline(60)).function
    repaired = convexify.repair(problem.quad, problem.groups, function)
    matrix, linear, _ = convexify.quadratic(problem.quad, problem.groups, repaired)
    assert np.linalg.eigvalsh(matrix)[0] >= 0
    for pruned in problem.groups.enumerate_pruned():
        z = pruned.astype(float)
        values = np.einsum("ij,jk,ik->i", z, matrix, z) + z @ linear
        losses = np.einsum("ij,jk,ik->i", z, problem.quad, z)
        np.testing.assert_allclose(values, losses, atol=1e-10)


def test_a_deadline_leaves_a_weaker_and_valid_function():
    problem = Problem.of(random_layer(1, 12), parse_pattern("50%")).part_of(0)
    stopped = solve_sdp(problem.quad, problem.groups, Deadline(0))
    assert not stopped.converged
    best, _ = brute_force(problem.weight, problem.layer.gram, 12, 6)
    full = solve_sdp(problem.quad, problem.groups, Deadline(60))
    weak, strong = (_root_bound(problem, s.function) for s in (stopped, full))
    assert weak <= strong * (1 + 1e-9)
    assert problem.rescale(weak) <= best


@pytest.mark.parametrize(
    ("gram", "pattern"),
    [
        (np.zeros((4, 4)), "50%"),
        (np.ones((4, 4)), "50%"),
        (np.diag([0.0, 4, 9, 1]), "50%"),
        (np.eye(4), "0%"),
        (np.eye(4), "100%"),
        (np.eye(4), "1:1"),
        (np.eye(1), "keep=1"),
    ],
)
def test_degenerate_rows(gram, pattern):
    problem = row_problem(np.ones((1, len(gram))), gram, pattern)
    solution = solve_sdp(problem.quad, problem.groups, Deadline(60))
    best, _ = brute_force(problem.weight, gram, problem.groups.size, problem.groups.pruned)
    assert np.isfinite(solution.function.u).all()
    bound = problem.rescale(_root_bound(problem, solution.function))
    assert bound <= best * (1 + 1e-9) + 1e-12
    assert bound == pytest.approx(best, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kept", [1, 2, 3, 22, 23])
def test_unbalanced_budgets(kept):
    """Few kept or few pruned: the method converges, and lies below the optimum."""
    problem = Problem.of(random_layer(3, 24), parse_pattern(f"keep={kept}")).part_of(0)
    solution = solve_sdp(problem.quad, problem.groups, Deadline(60))
    assert solution.converged
    assert solution.iterations < 20
    best, _ = brute_force(problem.weight, problem.layer.gram, 24, 24 - kept)
    bound = _root_bound(problem, solution.function)
    assert solution.bound == pytest.approx(bound, rel=1e-4, abs=1e-5)
    assert 0.1 * best < problem.rescale(bound) <= best * (1 + 1e-9)


def test_root_bounds_of_the_bank(known: Path):
    """At least 0.85 of each proven optimum at the root, and never more than all of it."""
    for entry in json.loads((known / "known.json").read_text()):
        layer = read_layer(known / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        solution = solve_sdp(problem.quad, problem.groups, Deadline(60))
        assert solution.converged, entry["file"]
        share = problem.rescale(_root_bound(problem, solution.function)) / entry["optimum"]
        assert 0.85 < share <= 1 + 1e-9, entry["file"]


def test_the_point_is_a_primal_solution_on_the_hull():
    problem = Problem.of(random_layer(2, 24), parse_pattern("2:4")).part_of(0)
    point = solve_sdp(problem.quad, problem.groups, Deadline(60)).point
    np.testing.assert_allclose(point.reshape(-1, 4).sum(axis=1), 2.0, atol=1e-3)
    assert isinstance(problem.groups, BudgetGroups)
