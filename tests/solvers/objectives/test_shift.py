"""Extreme eigenvalues of wide matrices, at every scale that float64 holds."""

import numpy as np
import pytest

from maskgap.solvers.objectives.shift import DENSE, NEAR, largest_eigenvalue, least_eigenvalue

N = DENSE + 20
SCALES = [5e-324, 1e-310, 1e-200, 1.0, 1e200, 1e300]


def _matrices():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(N, 5)) / N
    one = np.zeros((N, N))
    one[3, 3] = 1.0
    return {
        "identity": np.eye(N),
        "one entry": one,
        "one entry below 0": -one,
        "few directions": few @ few.T,
        "few directions, lowered": few @ few.T - 0.1 * np.eye(N),
        "nothing on the diagonal": np.roll(np.eye(N), 1, 0) + np.roll(np.eye(N), -1, 0),
        "a wide spread": np.diag(10.0 ** -rng.uniform(0.0, 300.0, N)),
    }


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", _matrices())
def test_wide_matrices_have_their_extreme_eigenvalues_at_any_scale(name, scale):
    matrix = _matrices()[name]
    exact = np.linalg.eigvalsh(matrix)
    scaled = matrix * scale
    if scale < 1e-307:  # only what is left of it then counts
        exact = np.linalg.eigvalsh(scaled / scale)
    size = np.abs(exact).max()
    least, largest = least_eigenvalue(scaled) / scale, largest_eigenvalue(scaled) / scale
    assert exact[0] - 1.1 * NEAR * abs(exact[0]) - 1e-6 * size <= least <= exact[0] + 1e-12 * size
    assert abs(largest - exact[-1]) <= 0.05 * abs(exact[-1]) + 1e-9


def test_a_wide_matrix_of_zeros_has_the_eigenvalue_zero():
    assert least_eigenvalue(np.zeros((N, N))) == largest_eigenvalue(np.zeros((N, N))) == 0.0


@pytest.mark.parametrize("n", [4, N])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_an_error_and_no_endless_search(n, value):
    matrix = np.eye(n)
    matrix[1, 2] = matrix[2, 1] = value
    with pytest.raises(ValueError, match=r"finite|infs or NaNs"):
        least_eigenvalue(matrix)
