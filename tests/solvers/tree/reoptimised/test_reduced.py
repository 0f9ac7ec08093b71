"""What a node leaves of a row, against the masks of the node."""

import numpy as np
import pytest

from maskgap.benchmarks.verify.quadratic import scaled_quad, verified
from maskgap.instances.arrays import pruned_of
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.semidefinite import Effort, solve_with_triangles
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.reduced_row import ReducedRow
from maskgap.solvers.protocol import Deadline
from maskgap.solvers.tree.reoptimised.reduced_loss import ReducedLoss
from tests.helpers.tiny import random_layer

N, PRUNE = 12, 6


def node_of(seed):
    """A part, a node of it, and the node's masks (masks, n) bool, True = pruned."""
    part = Problem.of(random_layer(seed, N), parse_pattern("50%")).part_of(0)
    state = np.full(N, FREE, np.int8)
    state[[1, 4, 7]] = KEPT, PRUNED, PRUNED
    pruned = np.concatenate(list(part.groups.enumerate_pruned()))
    mine = pruned[(pruned[:, 1] == 0) & pruned[:, 4] & pruned[:, 7]]
    return part, state, mine


@pytest.mark.parametrize("seed", range(4))
def test_its_loss_is_that_of_the_row(seed):
    part, state, masks = node_of(seed)
    row = ReducedRow.of(part.quad, state, part.groups)
    loss = ReducedLoss(row, [])
    assert (row.groups.n, row.groups.pruned) == (9, 4)
    for pruned in masks:
        z = pruned[row.free].astype(float)
        whole = row.mask(z)
        assert (pruned_of(whole) == pruned).all()
        assert z @ row.quad @ z == pytest.approx(part.scaled_loss(whole), rel=1e-12)
        assert loss.exact(~pruned[row.free]) == pytest.approx(part.scaled_loss(whole), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_its_functions_are_those_that_a_proof_states(seed):
    part, state, masks = node_of(seed)
    row = ReducedRow.of(part.quad, state, part.groups)
    found = solve_with_triangles(row.quad, row.groups, Deadline(60.0), Effort(least=0.0))
    for solution in found:
        function = convexify.repair(row.quad, row.groups, solution.function)
        matrix, linear, constant = convexify.quadratic(row.quad, row.groups, function)
        stated = row.stated(function)
        assert not stated.u[state != FREE].any()
        built = verified(part, scaled_quad(part), stated, 0, state)
        assert built.matrix == pytest.approx(matrix, abs=1e-12)
        for pruned in masks:
            z = pruned[row.free].astype(float)
            here = z @ matrix @ z + linear @ z + constant
            there = z @ built.matrix @ z + built.linear @ z + built.constant
            assert here == pytest.approx(there, rel=1e-10, abs=1e-12)
            assert here <= z @ row.quad @ z + 1e-10
        assert 0.0 < row.margin(function) < 1e-9


def test_points_are_those_of_the_row():
    part, state, _ = node_of(1)
    row = ReducedRow.of(part.quad, state, part.groups)
    x = np.linspace(0.1, 0.9, 9)
    point = row.point(x)
    assert point.dtype == np.float32
    assert point[row.free] == pytest.approx(x)
    assert point[[1, 4, 7]].tolist() == [0.0, 1.0, 1.0]
