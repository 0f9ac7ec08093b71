"""Small dense factors against numpy's."""

import numpy as np
import pytest

from maskgap.solvers.bounds.perspective.dense import (
    add_squares,
    cholesky,
    forward,
    inverse,
    solve,
)


def definite(m, seed=0):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(m, m + 2))
    return factor @ factor.T


@pytest.mark.parametrize("m", [1, 2, 3, 17, 64])
def test_factors_and_solutions_are_those_of_numpy(m):
    matrix, rng = definite(m), np.random.default_rng(1)
    lower = np.zeros((m, m))
    assert cholesky(np.tril(matrix) + np.triu(rng.normal(size=(m, m)), 1), lower)
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)
    found = np.empty((m, m))
    inverse(lower, np.empty((m, m)), found)
    np.testing.assert_allclose(found @ matrix, np.eye(m), atol=1e-7)
    np.testing.assert_array_equal(found, found.T)
    right = rng.normal(size=(m, 3))
    half = right.copy()
    forward(lower, half)
    np.testing.assert_allclose(lower @ half, right, atol=1e-9)
    x = right[:, 0].copy()
    solve(lower, x)
    np.testing.assert_allclose(matrix @ x, right[:, 0], atol=1e-7)


def test_squares_are_added_to_the_lower_triangle():
    rows = np.random.default_rng(2).normal(size=(5, 4))
    target = np.zeros((3, 3))
    add_squares(target, rows)
    wanted = rows[:, :3].T @ rows[:, :3]
    np.testing.assert_allclose(np.tril(target), np.tril(wanted))


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0]],
        [[-1.0]],
        [[np.nan]],
        [[np.inf]],
        [[1.0, 1.0], [1.0, 1.0]],
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.0], [np.nan, 1.0]],
    ],
)
def test_what_is_not_safely_definite_has_no_factor(matrix):
    matrix = np.array(matrix)
    assert not cholesky(matrix, np.zeros(matrix.shape))
