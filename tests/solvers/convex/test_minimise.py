"""`maskgap.minimise` against brute force, and what it says of bad problems."""

import numpy as np
import pytest

import maskgap
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from tests.helpers.mixed_sets import quadratic_optimum


def _quadratic(seed, equality):
    """P, q and a set with whole and continuous variables and one row."""
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 5))
    whole = random.random(n) < 0.7
    whole[0] = True
    root = random.standard_normal((n, n))
    P, q = root @ root.T / n + 0.01 * np.eye(n), 3 * random.standard_normal(n)
    row = random.integers(-2, 3, n).astype(float)
    bounds = (row[None], (1.0 if equality else -np.inf, 1.0), (-2.0, 2.0), whole.astype(int))
    return P, q, bounds


def _objective(P, q, stated):
    """As a callable that tells value and gradient alone, or one that states its matrices."""
    if stated:
        return maskgap.objectives.quadratic(P, q)
    return lambda x: (x @ P @ x + q @ x, 2 * P @ x + q)


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("seed", range(50))
def test_quadratics_of_whole_and_continuous_variables(seed, stated):
    P, q, (A, sides, bounds, kinds) = _quadratic(seed, equality=seed % 2 == 1)
    best = quadratic_optimum(P, q, linear_set(A, sides, bounds, kinds))
    oracle = maskgap.oracles.milp(A, *sides, *bounds, kinds)
    result = maskgap.minimise(_objective(P, q, stated), oracle, threads=1 + seed % 2)
    if best == np.inf:
        assert (result.stop, result.x, result.bound) == ("infeasible", None, np.inf)
        return
    assert result.objective == pytest.approx(best, rel=2e-6)
    assert result.bound <= best + 1e-9 * abs(best)
    assert result.gap <= 1e-6
    assert result.stop == "gap"
    assert result.violation <= 1e-6
    assert result.bound_kind == "claimed"


def _cube(n=3):
    return maskgap.oracles.milp(np.ones((1, n)), 0.0, n, 0.0, 1.0, np.ones(n))


def test_an_objective_that_is_no_number_is_reported():
    result = maskgap.minimise(lambda x: (np.nan, x), _cube())
    assert (result.stop, result.bound_kind, result.bound) == ("unsound", "none", -np.inf)
    assert "nan" in result.message


def test_an_objective_that_is_not_convex_is_reported():
    result = maskgap.minimise(lambda x: (-float(x @ x), -2 * x), _cube())
    assert (result.stop, result.bound_kind) == ("unsound", "none")
    assert "convex" in result.message


def test_an_unbounded_direction_is_refused_in_words():
    oracle = maskgap.oracles.milp(np.ones((1, 2)), 0.0, np.inf, 0.0, np.inf, [1, 0])
    with pytest.raises(maskgap.Refused, match="unbounded"):
        maskgap.minimise(lambda x: (-x.sum(), -np.ones(2)), oracle)
