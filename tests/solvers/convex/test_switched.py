"""Quadratics with switched variables: found in the rows, and minimised over switches alone."""

import numpy as np
import pytest

import maskgap
from maskgap.solvers.convex.formulation import formulate
from maskgap.solvers.convex.result import Ended
from maskgap.solvers.convex.switched import smooth_value, value
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


def test_the_value_is_met_by_its_point_where_little_is_strongly_convex():
    for seed in range(20):
        random = np.random.default_rng(seed)
        n = 30
        diagonal = 10.0 ** random.uniform(-5, 1, n)
        ends = np.full(n, random.uniform(0.1, 1.0))
        of = value.SwitchedQuadratic(
            random.standard_normal((n, n)),
            diagonal,
            20.0 * random.standard_normal(n),
            value.Ranges(np.zeros(n), np.zeros(n)),
            value.Ranges(-ends, ends),
            np.arange(n),
            random.random(n),
            1.0,
        )
        found = value.SwitchedValue(of).evaluate(random.random(n).round(1))
        paid = (1 - found.y) @ (diagonal * found.s0**2) + found.y @ (diagonal * found.s1**2)
        terms = [np.sum((of.A @ found.x) ** 2), paid, of.cost @ found.y, of.constant]
        at_point = sum(terms) - 2 * of.linear @ found.x
        assert at_point == pytest.approx(found.value, rel=1e-9, abs=1e-9 * sum(terms))


@pytest.mark.parametrize("of", [value.SwitchedValue, smooth_value.SmoothValue])
def test_a_value_that_is_found_roughly_is_no_fault_of_the_objective(of, monkeypatch):
    monkeypatch.setattr(value, "NEWTON", 1)
    monkeypatch.setattr(smooth_value, "ROUNDS", 1)
    random = np.random.default_rng(4)
    n, eye = 12, np.eye(12)
    rows = np.block([[eye, -eye], [eye, eye], [np.zeros((1, n)), np.ones((1, n))]])
    low = np.concatenate([np.full(n, -np.inf), np.zeros(n + 1)])
    high = np.concatenate([np.zeros(n), np.full(n, np.inf), [4.0]])
    bounds = np.concatenate([np.full(n, -1.0), np.zeros(n)]), np.ones(2 * n)
    space = maskgap.oracles.milp(rows, low, high, *bounds, np.repeat([0, 1], n))
    A, y = random.standard_normal((40, n)), random.standard_normal(40)
    ridge = np.repeat([0.01, 0.0], n)
    A = np.hstack([A, np.zeros((40, n))])
    if of is value.SwitchedValue:
        f = maskgap.objectives.least_squares(A, 3.0 * y, ridge=ridge)
    else:
        f = maskgap.objectives.logistic(A, np.sign(y), ridge=ridge)
    assert formulate(f, space).function.n == n
    found = maskgap.minimise(f, space, node_limit=200)
    assert found.stop is not Ended.UNSOUND
    assert -np.inf < found.bound <= found.objective


def test_rows_that_join_variables_are_left_to_the_general_search():
    f, (rows, (low, high), bounds, kinds) = _problem(0)
    n = len(kinds) // 2
    rows = np.vstack([rows, np.concatenate([np.ones(n), np.zeros(n)])])
    low, high = np.append(low, -1.0), np.append(high, 1.0)
    assert formulate(f, maskgap.oracles.milp(rows, low, high, *bounds, kinds)).function.n == 2 * n
