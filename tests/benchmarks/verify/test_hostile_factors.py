"""Functions and Grams that are not convex, made so that a factorisation of them ends well."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.definite import cholesky, defect, least_eigenvalue
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.layer import Layer
from maskgap.instances.layer_checks import INDEFINITE_TOLERANCE
from tests.helpers.exact import semidefinite, whole
from tests.helpers.hostile import holds_or_is_refused, overflowing, rooted, row_of, with_matrix
from tests.helpers.tiny import random_layer


@pytest.mark.parametrize("reverse", [False, True])
def test_a_factor_that_overflows_shows_nothing(reverse):
    matrix = overflowing(64) + np.diag([0.0] * 45 + [1.0] * 19)
    _, info = scipy.linalg.lapack.dpotrf(matrix, lower=1)
    assert info == 0  # the premise: LAPACK is content
    assert np.linalg.eigvalsh(matrix)[0] < -0.4
    given = np.ascontiguousarray(matrix[::-1, ::-1]) if reverse else matrix
    assert cholesky(given) is None or defect(given) > 0.4
    assert not defect(given) < 0.4
    assert least_eigenvalue(given).semidefinite is False


@pytest.mark.parametrize("seed", range(60))
def test_defects_hold_in_exact_arithmetic(seed):
    rng = np.random.default_rng([31, seed])
    n = int(rng.integers(1, 8))
    factor = rng.normal(size=(n, int(rng.integers(1, n + 1)))) * 2.0 ** rng.integers(-70, 1, (n, 1))
    matrix = factor @ factor.T
    noise = rng.normal(size=(n, n)) * 2.0 ** rng.integers(-80, -20)
    matrix = 0.5 * (matrix + matrix.T) + noise + noise.T + 2.0 ** rng.integers(-80, 0) * np.eye(n)
    matrix /= max(1.0, np.abs(matrix).max())
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    found = defect(matrix)
    assert found >= 0
    if found < np.inf:
        assert exactly_above(matrix, -Fraction(found))
    interval = least_eigenvalue(matrix)
    assert exactly_above(matrix, Fraction(interval.low))
    assert not exactly_above(
        matrix, Fraction(np.nextafter(interval.high, np.inf)) + Fraction(1e-300)
    )


def exactly_above(matrix, value):
    """Whether all eigenvalues are at least a value, exactly."""
    numbers, over = whole(matrix)
    top, below = value.numerator, value.denominator
    moved = numbers * below
    at = np.arange(len(matrix))
    moved[at, at] -= top * over
    return semidefinite(moved)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "power"), [(44, 18), (44, 25), (58, 20), (58, 25)])
def test_the_door_refuses_grams_that_only_an_overflow_passes(length, power, reverse):
    target = overflowing(64, length, power)
    target[np.diag_indices(64)] += target.diagonal() == 0.0
    target[-1, -2] = target[-2, -1] = 5.0
    gram = target.copy()
    for _ in range(60):  # what the door adds to the diagonal brings it to the target again
        shifted = gram.diagonal() + INDEFINITE_TOLERANCE * gram.trace()
        gram[np.diag_indices(64)] -= shifted - target.diagonal()
    assert np.linalg.eigvalsh(gram)[0] < -3.5
    given = gram[::-1, ::-1] if reverse else gram
    with pytest.raises(InputError, match="indefinite"):
        Layer.from_arrays(np.ones((1, 64)), given)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [2.0**-2, 1.0, 64.0, 2.0**60, 2.0**92, 2.0**200])
@pytest.mark.parametrize("roundings", [0, 1, 2, 4])
def test_functions_that_only_an_overflow_passes_bound_nothing(size, roundings, reverse):
    """G = I, w = 1, 8 of 64 kept: every mask has the loss 56. McCormick terms make any P."""
    layer = Layer.from_arrays(np.ones((1, 64)), np.eye(64))
    part = row_of(layer, "keep=8")
    target = size * overflowing(64)
    target = target[::-1, ::-1] if reverse else target
    slack = roundings * 64 * 64 * 2.0**-53 * size  # a guess of what the checker takes off
    proof = rooted(part, with_matrix(part, target, 8 * size, slack))
    with contextlib.suppress(ProofError):
        assert check_part(part, proof).bound <= 56.0


@pytest.mark.parametrize("off", [0.0, 1e-300, 1e-20, 1e-14, 1e-10, 1e-7, 1e-6])
@pytest.mark.parametrize("below", [0.0, 5e-324, 1e-308, 1e-160, 1e-20])
def test_shifts_of_columns_without_a_diagonal_hold(off, below):
    """Scaling to a unit diagonal overflows where there is next to none."""
    gram = np.eye(8)
    gram[0, 0] = gram[2, 2] = 0.0
    gram[0, 2] = gram[2, 0] = off
    part = row_of(Layer.from_arrays(np.ones((1, 8)), gram), "keep=4")
    shift = np.full(8, 4.0)
    shift[[0, 2]], shift[1] = -below, 0.0
    shared = SharedShift(shift, np.zeros(8, np.float32))
    proof = PartProof(0, part.digest, 0.0, None, shared)
    holds_or_is_refused(part, proof)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e40, 5e-324, 1.0])
@pytest.mark.parametrize("column", [0, 5])
def test_shifts_of_any_numbers_hold(value, column):
    layer = random_layer(1, 6)
    gram = layer.gram.copy()
    gram[5], gram[:, 5] = 0.0, 0.0
    part = row_of(Layer.from_arrays(layer.weight, gram), "keep=3")
    shift = np.zeros(6)
    shift[column] = value
    shared = SharedShift(shift, np.full(6, 0.5, np.float32))
    holds_or_is_refused(part, PartProof(0, part.digest, 0.0, None, shared))


def test_a_shift_that_is_written_to_is_verified_again():
    part = row_of(Layer.from_arrays(np.ones((1, 4)), np.eye(4)), "keep=2")
    shared = SharedShift(np.full(4, 0.5), np.zeros(4, np.float32))
    proof = PartProof(0, part.digest, 0.0, None, shared)
    assert holds_or_is_refused(part, proof)
    shared.shift[:] = 4.0
    assert not holds_or_is_refused(part, proof)
