"""Quadratics with switched variables: found in the rows, and minimised over switches alone."""

import numpy as np
import pytest

import maskgap
from maskgap.solvers.convex.formulation import formulate
from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from tests.helpers.mixed_sets import quadratic_optimum


def _problem(seed, tailed=False):
    """Least squares with a ridge on switched variables; one budget, or none where `tailed`."""
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 4))
    A, y, price = random.random((n, n)), random.random(n), random.random()
    near, far = 0.05 + random.random(n), 2.0
    eye = np.eye(n)
    if tailed:
        rows = np.block([[eye, np.diag(far - near)], [eye, -np.diag(far - near)]])
        low = np.concatenate([np.full(n, -np.inf), np.full(n, -far)])
        high = np.concatenate([np.full(n, far), np.full(n, np.inf)])
        price = -price
    else:
        rows = np.block([[eye, -np.diag(near)], [eye, np.diag(near)]])
        rows = np.vstack([rows, np.concatenate([np.zeros(n), np.ones(n)])])
        low = np.concatenate([np.full(n, -np.inf), np.zeros(n), [-np.inf]])
        high = np.concatenate([np.zeros(n), np.full(n, np.inf), [max(1, n - 1)]])
        far = 1.05
    bounds = (
        np.concatenate([np.full(n, -far), np.zeros(n)]),
        np.concatenate([np.full(n, far), np.ones(n)]),
    )
    ridge = np.concatenate([np.full(n, 0.1 + random.random()), np.zeros(n)])
    f = maskgap.objectives.least_squares(
        np.hstack([A, np.zeros((n, n))]),
        y,
        ridge=ridge,
        linear=np.concatenate([np.zeros(n), np.full(n, price)]),
    )
    return f, (rows, (low, high), bounds, np.repeat([0, 1], n))


@pytest.mark.parametrize("tailed", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_the_optimum_is_that_of_every_choice_of_switches(seed, tailed):
    f, (rows, sides, bounds, kinds) = _problem(seed, tailed)
    form = f.quadratic
    best = form.constant + quadratic_optimum(
        form.matrix, form.linear, linear_set(rows, sides, bounds, kinds)
    )
    result = maskgap.minimise(f, maskgap.oracles.milp(rows, *sides, *bounds, kinds))
    assert result.objective == pytest.approx(best, rel=2e-6)
    assert result.bound <= best + 1e-9 * abs(best)
    assert result.gap <= 1e-6
    assert result.violation <= 1e-9


def test_the_set_of_switches_is_a_budget():
    f, (rows, sides, bounds, kinds) = _problem(0)
    found = formulate(f, maskgap.oracles.milp(rows, *sides, *bounds, kinds))
    assert isinstance(found.oracle, BudgetSet)
    assert found.function.n == len(kinds) // 2


def test_gradient_and_model_of_the_value():
    f, (rows, sides, bounds, kinds) = _problem(3)
    found = formulate(f, maskgap.oracles.milp(rows, *sides, *bounds, kinds)).function
    y, step = np.random.default_rng(0).uniform(0.2, 0.8, found.n), 1e-5
    gradient, model = found.at(y)[1], found.known.model(y)
    for j, move in enumerate(step * np.eye(found.n)):
        (above, up), (below, down) = found.at(y + move), found.at(y - move)
        assert gradient[j] == pytest.approx((above - below) / (2 * step), abs=1e-7)
        assert 2 * model.matrix[j] == pytest.approx((up - down) / (2 * step), abs=1e-5)
    assert model.at(y)[1] == pytest.approx(gradient)


def test_rows_that_join_variables_are_left_to_the_general_search():
    f, (rows, (low, high), bounds, kinds) = _problem(0)
    n = len(kinds) // 2
    rows = np.vstack([rows, np.concatenate([np.ones(n), np.zeros(n)])])
    low, high = np.append(low, -1.0), np.append(high, 1.0)
    assert formulate(f, maskgap.oracles.milp(rows, low, high, *bounds, kinds)).function.n == 2 * n
