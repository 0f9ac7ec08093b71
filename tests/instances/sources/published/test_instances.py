"""Optima that others report, and programs that mean what their families say."""

import itertools

import numpy as np
import pytest
import scipy.optimize

from maskgap.instances.errors import InputError
from maskgap.instances.program import QuadraticForm
from maskgap.instances.sources.published import own
from maskgap.instances.sources.published.make import FAMILIES, instance
from maskgap.instances.sources.published.portfolio import portfolio
from maskgap.instances.sources.published.regression import sparse_regression
from maskgap.instances.sources.published.reported import reported


def _box_least(form, lower, upper):
    """Least of a definite quadratic over a box, by bounded least squares."""
    factor = np.linalg.cholesky(form.matrix + 0.0)
    target = -0.5 * np.linalg.solve(factor, form.linear)
    found = scipy.optimize.lsq_linear(factor.T, target, (lower, upper), tol=1e-14)
    return found.x


PORTFOLIO = {
    1: 2.0, 4: 1.0, 5: 1.0, 6: 1.0, 7: 1.0, 9: 2.0, 11: 1.0, 13: 1.0, 14: 2.0, 17: 2.0, 19: 1.0,
}  # fmt: skip
"""What is held of each share in the best portfolio of 20, seed 1."""


@pytest.mark.parametrize("row", [r for r in reported() if r.family == "tailed_cardinality"][::11])
def test_tailed_optima_by_all_choices_of_z(row):
    made = instance(row.family, row.seed, row.size)
    n = made.program.space.n // 2
    form = made.program.objective
    best = np.inf
    for z in itertools.product((0.0, 1.0), repeat=n):
        reach = made.program.space.upper[:n] - np.diag(made.program.space.matrix[:n, n:]) * z
        inner = QuadraticForm(form.matrix[:n, :n], form.linear[:n], 0.0, form.diagonal[:n])
        x = np.concatenate([_box_least(inner, -reach, reach), z])
        assert made.program.space.violation(x) <= 1e-9
        assert made.worth(x) == pytest.approx(form(x)[0], rel=1e-12)
        best = min(best, made.worth(x))
    assert best == pytest.approx(row.objective, rel=2.1e-3)
    assert best <= row.objective * (1 + 1e-9)


def test_sparse_regression_of_15_has_the_value_reported():
    """The support is that of the best point, where all three numbers are at their bounds."""
    made = sparse_regression(1, 15)
    x, support = np.zeros(150), [47, 53, 64]
    x[support] = made.program.space.upper[support]
    x[[75 + j for j in support]] = 1.0
    assert made.program.space.violation(x) == 0.0
    assert made.worth(x) == pytest.approx(2.2335078624459115, rel=1e-14)
    assert made.program.objective(x)[0] == pytest.approx(2.2335078624459115, rel=1e-13)


def test_portfolio_of_20_has_the_value_reported_at_a_point():
    """The point is the one that three solvers report the value of."""
    made = portfolio(1, 20)
    x = np.zeros(20)
    x[list(PORTFOLIO)] = list(PORTFOLIO.values())
    assert made.program.space.violation(x) == 0.0
    assert made.worth(x) == pytest.approx(-1.5315296315467162, rel=1e-13)


@pytest.mark.parametrize("family", [*FAMILIES, *own.KINDS])
def test_gradients_worth_and_statements_agree(family):
    made = instance(family, 3, "dimension=20")
    objective, space = made.program.objective, made.program.space
    random = np.random.default_rng(4)
    x = space.lower + random.random(space.n) * (np.minimum(space.upper, 2.0) - space.lower)
    value, gradient = objective(x)
    step = 1e-6
    for j in range(space.n):
        ahead, behind = x.copy(), x.copy()
        ahead[j] += step
        behind[j] -= step
        slope = (objective(ahead)[0] - objective(behind)[0]) / (2.0 * step)
        assert slope == pytest.approx(gradient[j], rel=1e-5, abs=1e-5)
    assert made.worth(x) == pytest.approx(value, rel=1e-12)
    if isinstance(objective, QuadraticForm):
        left = np.linalg.eigvalsh(objective.matrix - np.diag(objective.diagonal))
        assert left[0] >= -1e-9 * left[-1]
    for j, i in space.switches:
        off = x.copy()
        off[i], off[j] = 0.0, 1.0
        assert space.violation(off) >= 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_reported_run_names_an_instance(family):
    rows = [row for row in reported() if row.family == family]
    assert len({row.seed for row in rows}) == 5
    made = instance(family, rows[0].seed, rows[0].size)
    assert (made.family, made.seed, made.size) == (family, rows[0].seed, rows[0].size)


def test_names_that_are_none():
    with pytest.raises(InputError, match="family 'x'"):
        instance("x", 1, "dimension=3")
    with pytest.raises(InputError, match="size 'n=3'"):
        instance("sparse_reg", 1, "n=3")
