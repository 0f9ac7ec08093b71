"""Convex functions by every method: convex, right on binaries, bounds in order, early deadlines."""

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.reformulate import METHODS, reformulate
from maskgap.solvers.objectives import convexify
from maskgap.solvers.protocol import Deadline
from tests.helpers.small_rows import NAMES, PROBLEMS, least_on_hull, optimum
from tests.helpers.tiny import random_layer, row_problem


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
    problem = Problem.of(random_layer(3, 24), parse_pattern("50%")).part_of(0)
    bounds = [
        reformulate(problem.quad, problem.groups, method, Deadline(60)).bound for method in METHODS
    ]
    # eig and diag are two choices of which neither is always the better
    assert bounds[0] < min(bounds[1], bounds[2])
    assert max(bounds[1], bounds[2]) < bounds[3]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01])
def test_an_early_deadline_leaves_a_valid_function(method, seconds):
    problem = Problem.of(random_layer(7, 12), parse_pattern("50%")).part_of(0)
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
