"""Rows without any weight: every bound of them is 0, at once and with a proof."""

import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.objectives.shift import DENSE
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from maskgap.solvers.registry import build, spec_of
from tests.helpers.tiny import random_layer


@pytest.mark.parametrize("columns", [6, DENSE + 20])
@pytest.mark.parametrize("pattern", ["50%", "1:2"])
@pytest.mark.parametrize("name", ["qp-bound", "sdp-bound", "lowrank-bound", "shift-bound"])
def test_a_row_of_zeros_has_the_bound_zero(name, pattern, columns):
    layer = random_layer(3, columns, rows=1)
    problem = Problem.of(Layer.from_arrays(0.0 * layer.weight, layer.gram), parse_pattern(pattern))
    part, solver, limits = problem.part_of(0), build(name), Limits(Deadline(600.0))
    if spec_of(name).batched:
        (answer,) = solver.solve_rows(problem, limits, 0)
    else:
        answer = solve_part(solver, part, limits, 0)
    assert answer.claimed_bound == 0.0
    assert check_part(part, answer.proof).bound == 0.0
