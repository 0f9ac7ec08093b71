"""Convex functions by every method: convex, right on binaries, bounds in order, early deadlines."""

import numpy as np
import pytest

from instances.errors import InputError
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers.base import Deadline
from solvers.bounds import convexify, hull
from solvers.bounds.reformulate import METHODS, reformulate
from tests.tiny import brute_force, random_layer, row_problem


def problems():
    """Small rows: patterns, a singular Gram, duplicate and dead columns."""
    for seed, pattern in enumerate(["50%", "keep=1", "keep=7", "2:4", "1:4", "3:4"]):
        yield Problem.of(random_layer(seed, 8), parse_pattern(pattern)).row(0)
    yield Problem.of(random_layer(9, 8, tokens=3), parse_pattern("50%")).row(0)
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(8, 32))
    inputs[3], inputs[6] = inputs[2], 0.0
    yield row_problem(rng.normal(size=(1, 8)), inputs @ inputs.T, "50%")
    weight = np.array([[1.0, 2, 0, -1, 3, 0, 1, 1]])
    yield row_problem(weight, inputs @ inputs.T, "2:4")


PROBLEMS = list(problems())
NAMES = ["50%", "keep=1", "keep=7", "2:4", "1:4", "3:4", "singular", "duplicate", "dead"]


def optimum(problem):
    """The least loss of a row in units of `quad`, by brute force."""
    groups = problem.groups
    best, _ = brute_force(problem.weight, problem.layer.gram, groups.size, groups.pruned)
    return best / problem.rescale(1.0)


def least_on_hull(problem, function):
    """The minimum of a function over the hull."""
    matrix, linear, constant = convexify.quadratic(problem.quad, problem.groups, function)
    return hull.minimise(matrix, linear, problem.groups, Deadline(60), 5000).bound + constant


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_functions_are_convex_and_at_most_the_loss(problem, method):
    found = reformulate(problem.quad, problem.groups, method, Deadline(60))
    z = np.concatenate(list(problem.groups.enumerate_pruned())).astype(float)
    losses = np.einsum("ij,jk,ik->i", z, problem.quad, z)
    for function in found.functions:
        matrix, linear, constant = convexify.quadratic(problem.quad, problem.groups, function)
        assert np.linalg.eigvalsh(matrix)[0] >= 0.0
        values = np.einsum("ij,jk,ik->i", z, matrix, z) + z @ linear + constant
        assert (values <= losses + 1e-9).all()
        if not len(function.triangles):
            np.testing.assert_allclose(values, losses, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_the_bound_is_that_of_the_last_function_and_below_the_optimum(problem, method):
    found = reformulate(problem.quad, problem.groups, method, Deadline(60))
    best = optimum(problem)
    bounds = [least_on_hull(problem, function) for function in found.functions]
    assert max(bounds) <= best + 1e-9
    assert bounds[-1] == pytest.approx(max(bounds), abs=1e-4)
    assert found.bound <= bounds[-1] + 1e-7
    assert found.bound == pytest.approx(bounds[-1], abs=0.05 * (best + 0.01))
    assert ((found.point >= 0.0) & (found.point <= 1.0)).all()
    np.testing.assert_allclose(
        found.point.reshape(-1, problem.groups.size).sum(axis=1), problem.groups.pruned, atol=1e-2
    )


def test_each_method_is_at_least_as_strong_as_the_one_before():
    problem = Problem.of(random_layer(3, 24), parse_pattern("50%")).row(0)
    bounds = [
        reformulate(problem.quad, problem.groups, method, Deadline(60)).bound for method in METHODS
    ]
    # eig and diag are two choices of which neither is always the better
    assert bounds[0] < min(bounds[1], bounds[2])
    assert max(bounds[1], bounds[2]) < bounds[3]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01])
def test_an_early_deadline_leaves_a_valid_function(method, seconds):
    problem = Problem.of(random_layer(7, 12), parse_pattern("50%")).row(0)
    found = reformulate(problem.quad, problem.groups, method, Deadline(seconds))
    bounds = [least_on_hull(problem, function) for function in found.functions]
    assert found.bound - 1e-7 <= max(bounds) <= optimum(problem) + 1e-9
    assert max(bounds) > 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("gram", "pattern", "loss"),
    [
        (np.zeros((4, 4)), "50%", 0.0),
        (np.ones((4, 4)), "50%", 4.0),
        (np.diag([0.0, 4, 9, 1]), "50%", 1.0),
        (np.eye(4), "0%", 0.0),
        (np.eye(4), "100%", 4.0),
        (np.eye(4), "1:1", 0.0),
        (np.eye(1), "keep=1", 0.0),
    ],
)
def test_degenerate_rows(method, gram, pattern, loss):
    problem = row_problem(np.ones((1, len(gram))), gram, pattern)
    found = reformulate(problem.quad, problem.groups, method, Deadline(60))
    assert np.isfinite(found.functions[-1].u).all()
    bound = problem.rescale(least_on_hull(problem, found.functions[-1]))
    assert bound <= loss * (1 + 1e-9) + 1e-12
    if problem.groups.masks == 1 or not problem.quad.any():
        assert bound == pytest.approx(loss, abs=1e-9)


def test_an_unknown_method_is_named():
    problem = PROBLEMS[0]
    with pytest.raises(InputError, match="none, eig, diag, sdp"):
        reformulate(problem.quad, problem.groups, "qcr", Deadline(60))
