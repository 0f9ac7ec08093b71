"""The saddle point of perspective functions: the semidefinite program's value, and below g."""

import cvxpy as cp
import numpy as np
import pytest

from maskgap.instances.layer import Layer
from maskgap.solvers.bounds.perspective.diagonals import (
    eigenvalue_diagonal,
    inverse_diagonal,
    scaled_diagonal,
)
from maskgap.solvers.bounds.perspective.saddle import group_bound, saddle
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_part
from tests.helpers.tiny import random_layer

CASES = [("keep=4", 8), ("50%", 10), ("2:4", 8), ("keep=2", 9), ("keep=8", 9), ("1:4", 12)]


def found_of(part, cut=np.inf, enough=0.0, steps=100):
    groups = part.groups
    share = np.full(part.n, groups.pruned / groups.size)
    return saddle(
        part.hessian, part.target, np.arange(part.n) // groups.size,
        np.full(groups.count, groups.pruned), cut, 0.5 * inverse_diagonal(part.hessian), share, 0.0,
        enough, np.full(1, steps),
    )  # fmt: skip


def value_of_program(part):
    """Min <H, X> - 2 b x + w b over the lifted perspective, by Clarabel."""
    hessian, target, groups = part.hessian, part.target, part.groups
    n, b = part.n, hessian @ target
    lifted = cp.Variable((n + 1, n + 1), PSD=True)
    y = cp.Variable(n)
    x, squares = lifted[0, 1:], cp.diag(lifted[1:, 1:])
    limits = [lifted[0, 0] == 1, y >= 0, y <= 1]
    limits += [cp.quad_over_lin(x[j], y[j]) <= squares[j] for j in range(n)]
    for g in range(groups.count):
        columns = slice(g * groups.size, (g + 1) * groups.size)
        limits.append(cp.sum(y[columns]) == groups.kept)
    loss = cp.trace(hessian @ lifted[1:, 1:]) - 2 * b @ x + target @ b
    problem = cp.Problem(cp.Minimize(loss), limits)
    return problem.solve(solver="CLARABEL")


@pytest.mark.parametrize(("pattern", "n"), CASES)
def test_its_value_is_that_of_the_semidefinite_program(pattern, n):
    part = refit_part(random_layer(3, n), pattern)
    bound, value = found_of(part)[:2]
    wanted = value_of_program(part)
    assert bound == pytest.approx(wanted, rel=2e-5)
    assert bound <= value <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("pattern", "n"), CASES)
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_every_iterate_gives_a_minorant_and_a_feasible_diagonal(pattern, n, steps):
    part = refit_part(random_layer(5, n), pattern)
    bound, value, diagonal, z, slope, delta, _, taken = found_of(part, steps=steps)
    assert taken <= steps
    assert np.linalg.eigvalsh(part.hessian - np.diag(diagonal))[0] > 0.0 < diagonal.min()
    masks = legal_pruned(part.layer, pattern, part.rows)
    for pruned in masks:
        loss = part.scaled_loss(~pruned)
        assert value + float(slope @ (pruned - z)) <= loss * (1 + 1e-9)
        assert bound <= loss * (1 + 1e-9)
    x = part.target - delta
    h = part.hessian @ delta
    np.testing.assert_allclose(slope, (h + diagonal * x) ** 2 / diagonal, rtol=1e-6, atol=1e-12)


def test_steps_end_at_the_cut_and_where_a_node_will_not_close():
    part = refit_part(random_layer(6, 16), "50%")
    whole = found_of(part)
    low = found_of(part, cut=0.5 * whole[0])
    assert 0.5 * whole[0] <= low[0] <= whole[0] * (1 + 1e-9)
    assert low[7] < whole[7]
    early = found_of(part, cut=2.0 * whole[0], enough=1.0)
    assert early[7] < whole[7]
    assert early[1] - early[0] <= 2.0 * whole[0] - early[1]


def test_small_and_zero_weights_are_no_trouble():
    plain = random_layer(7, 10)
    weight = plain.weight.copy()
    weight[0, [1, 4]] = 0.0
    weight[0, 7] *= 1e-9
    part = refit_part(Layer.from_arrays(weight, plain.gram), "50%")
    bound = found_of(part)[0]
    least = min(part.scaled_loss(~m) for m in legal_pruned(part.layer, "50%", part.rows))
    assert 0.3 * least < bound <= least * (1 + 1e-9)
    nothing = refit_part(Layer.from_arrays(np.zeros((1, 10)), plain.gram), "50%")
    assert found_of(nothing)[0] == 0.0


def test_least_sums_over_groups():
    slope, groups = np.array([3.0, 1.0, 2.0, 5.0, 4.0]), np.array([0, 0, 0, 1, 1])
    assert group_bound(slope, groups, np.array([2, 1]), np.array([3, 2])) == 7.0
    assert group_bound(slope, groups, np.array([0, 1]), np.array([3, 2])) == 4.0


@pytest.mark.parametrize("make", [eigenvalue_diagonal, scaled_diagonal, inverse_diagonal])
def test_cheap_diagonals_lie_below_and_touch(make):
    part = refit_part(random_layer(8, 12), "50%")
    diagonal = make(part.hessian)
    least = np.linalg.eigvalsh(part.hessian - np.diag(diagonal))[0]
    assert 0.0 < least < 1e-6
    assert diagonal.min() > 0.0
