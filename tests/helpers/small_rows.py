"""Small rows of every kind of equal groups, and the least of functions over their hulls."""

import numpy as np

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline
from tests.helpers.tiny import brute_force, random_layer, row_problem


def problems():
    """Small rows: patterns, a singular Gram, duplicate and dead columns."""
    for seed, pattern in enumerate(["50%", "keep=1", "keep=7", "2:4", "1:4", "3:4"]):
        yield Problem.of(random_layer(seed, 8), parse_pattern(pattern)).part_of(0)
    yield Problem.of(random_layer(9, 8, tokens=3), parse_pattern("50%")).part_of(0)
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
    convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, function))
    return hull.minimise(convex, problem.groups, Deadline(60), iterations=5000).bound
