"""What is shown of least eigenvalues holds exactly, whatever LAPACK says of a factor."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg

from maskgap.instances.definite import cholesky, defect, least_eigenvalue
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer


def exactly_semidefinite(matrix):
    """By rational LDL^T with zero pivots that have nothing beside them."""
    rows = [[Fraction(float(v)) for v in row] for row in matrix]
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot < 0 or (pivot == 0 and any(rows[k][j] for j in range(k + 1, len(rows)))):
            return False
        for i in range(k + 1, len(rows)):
            if pivot and rows[i][k]:
                share = rows[i][k] / pivot
                for j in range(k + 1, len(rows)):
                    rows[i][j] -= share * rows[k][j]
    return True


def moved(matrix, by):
    """The matrix plus a multiple of the unit matrix, exactly."""
    return [
        [Fraction(float(v)) + (Fraction(by) if i == j else 0) for j, v in enumerate(row)]
        for i, row in enumerate(matrix)
    ]


def matrices():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5, 8, 12):
        tokens = rng.normal(size=(n, 2 * n))
        yield tokens @ tokens.T / n
        yield np.outer(tokens[:, 0], tokens[:, 0])
        wild = rng.normal(size=(n, n))
        yield 0.5 * (wild + wild.T)
        spread = 10.0 ** rng.uniform(-6, 0, n)
        yield spread[:, None] * (tokens @ tokens.T) * spread / n
    yield np.zeros((4, 4))
    yield np.diag([1.0, 1e-300, 0.0])
    yield np.ones((6, 6))
    yield np.diag([1.0, -1e-17])


@pytest.mark.parametrize("matrix", list(matrices()))
def test_intervals_and_defects_hold_exactly(matrix):
    found = least_eigenvalue(matrix)
    assert found.low <= found.high
    assert exactly_semidefinite(moved(matrix, -found.low))
    above = np.nextafter(found.high, np.inf) + 1e-300
    assert not exactly_semidefinite(moved(matrix, -above))
    missed = defect(matrix)
    assert missed == np.inf or exactly_semidefinite(moved(matrix, missed))
    if found.semidefinite is not None:
        assert exactly_semidefinite(moved(matrix, 0)) is found.semidefinite
    width = found.high - found.low
    assert width <= 1e-11 * max(1e-300, float(np.abs(matrix).max())) * len(matrix)


def test_a_definite_matrix_has_a_factor_and_a_small_defect():
    rng = np.random.default_rng(1)
    tokens = rng.normal(size=(60, 200))
    matrix = tokens @ tokens.T / 200
    upper = np.triu(cholesky(matrix))
    np.testing.assert_allclose(upper @ upper.T, matrix, atol=1e-13)
    assert 0.0 < defect(matrix) < 1e-11


def overflowing(n=64, chain=44, delta=2.0**-25):
    """A matrix whose factor overflows to infinity and NaN while `dpotrf` reports success."""
    step = 1 + 2.0**-10
    matrix = np.eye(n)
    matrix[0, 0] = step * step
    matrix[0, 1] = matrix[1, 0] = step
    for k in range(1, chain):
        matrix[k, k] = 1 + delta * delta
    for k in range(1, chain - 1):
        matrix[k, k + 1] = matrix[k + 1, k] = delta
    matrix[chain, chain] = step
    matrix[0, chain] = matrix[chain, 0] = step
    matrix[n - 2, n - 1] = matrix[n - 1, n - 2] = 5.0
    return matrix


@pytest.mark.parametrize("chain", [44, 50, 58])
@pytest.mark.parametrize("power", [18, 20, 25])
def test_a_factor_that_overflowed_shows_nothing(chain, power):
    matrix = overflowing(chain=chain, delta=2.0**-power)
    assert np.linalg.eigvalsh(matrix)[0] < -1.0
    assert cholesky(matrix) is None or not np.isfinite(defect(matrix))
    assert defect(matrix[::-1, ::-1]) == np.inf
    with pytest.raises(InputError, match="indefinite"):
        Layer.from_arrays(np.ones((1, 64)), matrix)
    with pytest.raises(InputError, match="indefinite"):
        Layer.from_arrays(np.ones((1, 64)), matrix[::-1, ::-1])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e200])
def test_numbers_that_are_none_show_nothing(odd):
    for place in ((0, 0), (3, 3), (1, 2), (3, 0)):
        matrix = np.eye(4)
        matrix[place] = matrix[place[::-1]] = odd
        with np.errstate(all="ignore"):
            assert not defect(matrix) < 1e100


@pytest.mark.parametrize("lie", ["wrong", "nan", "negative"])
def test_a_factor_is_not_believed(monkeypatch, lie):
    true = scipy.linalg.lapack.dpotrf

    def lying(matrix, **options):
        factor, _ = true(np.eye(len(matrix)), **options)
        if lie == "nan":
            factor[2, 1] = np.nan
        if lie == "negative":
            factor[3, 3] = -1.0
        return factor, 0

    monkeypatch.setattr(scipy.linalg.lapack, "dpotrf", lying)
    indefinite = np.eye(5)
    indefinite[0, 1] = indefinite[1, 0] = 3.0
    assert defect(indefinite) >= 2.0  # its least eigenvalue is -2
