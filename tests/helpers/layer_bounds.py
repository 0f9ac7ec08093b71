"""Bounds of all rows of a layer by one solver, each derived again by the checker; and optima."""

import numpy as np

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Deadline, Limits
from maskgap.solvers.registry import build
from tests.helpers.tiny import brute_force


def bounds_of(solver, layer, pattern, seconds=60.0, **settings):
    """(problem, answers, checked bounds) of a layer."""
    problem = Problem.of(layer, parse_pattern(pattern))
    answers = build(solver, settings).solve_rows(problem, Limits(Deadline(seconds)), 0)
    checked = [check_part(problem.part_of(a.proof.row), a.proof).bound for a in answers]
    for answer, bound in zip(answers, checked, strict=True):
        assert answer.mask is None
        assert answer.proof.bound == answer.claimed_bound <= bound
    return problem, answers, np.array(checked)


def optima(layer, groups):
    """The least loss of each row, by enumeration."""
    return np.array(
        [brute_force(w, layer.gram, groups.size, groups.pruned)[0] for w in layer.weight]
    )
