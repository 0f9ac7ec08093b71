"""Affine functions below the refit loss, held against the same formulas in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify.perspective import Metric
from maskgap.instances.errors import ProofError
from maskgap.instances.layer import correlation_of
from tests.helpers.exact import semidefinite, whole
from tests.helpers.refit_proofs import delta_of, diagonal_of, refit_part
from tests.helpers.tiny import random_layer

N = 6


def metric_of(matrix, target):
    roots = np.sqrt(matrix.diagonal())
    return Metric(matrix, target, roots, correlation_of(matrix), "row 0")


def plain(rng):
    inputs = rng.normal(size=(N, 3 * N))
    gram = inputs @ inputs.T
    return 0.9 * gram / gram.diagonal().max(), rng.normal(size=N)


def near_singular(rng):
    inputs = rng.normal(size=(N, N - 2))
    gram = inputs @ inputs.T + 1e-12 * np.eye(N)
    return 0.9 * gram / gram.diagonal().max(), rng.normal(size=N)


def apart(rng):
    """Columns whose sizes lie many orders apart."""
    matrix, target = plain(rng)
    size = 2.0 ** -rng.integers(0, 60, N)
    return matrix * size[:, None] * size, target / size * size.min()


def subnormal(rng):
    """Entries off the diagonal and weights that float64 has few bits of, or none."""
    matrix, target = plain(rng)
    far = 2.0 ** -rng.integers(1000, 1074, (N, N))
    matrix = np.diag(matrix.diagonal()) + np.triu(far, 1) + np.triu(far, 1).T
    return matrix, target * 2.0 ** -rng.integers(0, 1074, N)


def opposed(rng):
    """Two columns that nearly cancel, with weights that do."""
    matrix, target = near_singular(rng)
    matrix[0, 1] = matrix[1, 0] = -np.sqrt(matrix[0, 0] * matrix[1, 1]) * (1 - 1e-9)
    matrix[2:, :2] = matrix[:2, 2:] = 0.0
    matrix[0, 0] += 1e-9
    return matrix, target


FAMILIES = (plain, near_singular, apart, subnormal, opposed)


def exact(values):
    numbers, divisor = whole(np.asarray(values, dtype=np.float64))
    return numbers * Fraction(1, divisor)


def parts_of(metric, diagonal, delta, pruned):
    """(const, c) of one leaf in exact arithmetic, from float64 numbers taken as they are."""
    matrix, target, d = exact(metric.matrix), exact(metric.target), exact(diagonal)
    change = np.where(pruned, target, exact(delta))
    h = matrix.dot(change)
    free = ~pruned
    const = change.dot(h) - sum((h**2 / d)[free])
    return const, np.where(free, (h + d * (target - change)) ** 2 / d, Fraction(0))


def deltas(metric, diagonal, rng):
    live = np.where(diagonal > 0.0, diagonal, 0.0)
    good = delta_of(metric.matrix, metric.target, live, np.full(N, 0.5))
    yield good
    yield good.astype(np.float32).astype(np.float64)
    yield metric.target
    yield np.zeros(N)
    yield np.full(N, 1e-200)
    yield metric.target - 1e-200
    yield rng.normal(size=N) * 10.0 ** rng.integers(-30, 30)
    yield rng.choice([0.0, 1e30, -1e30, 5e-324, 1e-45, 1.0], N)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_number_lies_above_the_exact_one(family, seed):
    rng = np.random.default_rng(seed)
    metric = metric_of(*family(rng))
    dropped = rng.random(N) < 0.2
    try:
        stated = diagonal_of(metric.matrix, ~dropped, rng if seed % 2 else None)
        diagonal = metric.lowered(stated, dropped, 0)
    except ProofError:
        assert family in (near_singular, apart, opposed)  # no diagonal of a sensible size
        return
    kept = np.flatnonzero(~dropped)
    assert (diagonal[kept] <= stated[kept]).all()
    rest = exact(metric.matrix - 0.0)[np.ix_(kept, kept)]
    rest[np.diag_indices(len(kept))] -= exact(diagonal[kept])
    assert semidefinite(whole_of(rest))
    for delta in deltas(metric, diagonal, rng):
        pruned = dropped | (rng.random(N) < 0.2)
        found = metric.minorants(diagonal[None], delta[None], pruned[None])
        const, slope = parts_of(metric, diagonal, delta, pruned)
        assert Fraction(float(found.base[0])) <= const
        assert (exact(found.slope[0]) <= slope).all()
        assert (found.slope[0][pruned] == 0.0).all()
        taken = rng.random(N) < 0.5
        total = found.slope[0] @ taken * (1.0 + (2 * N + 8) * 2.0**-53)  # rounded upwards
        value = found.with_sum(np.array([total]))
        stored = Fraction(float(found.base[0])) + sum(exact(found.slope[0])[taken])
        rounded = Fraction(2) ** -53 * abs(stored)  # what base has room for
        assert Fraction(float(value[0])) - rounded <= stored <= const + sum(slope[taken])
        assert Fraction(float(value[0])) <= const + sum(slope[taken])


def whole_of(fractions):
    """Fractions times their common denominator, as integers."""
    divisor = 1
    for value in fractions.ravel():
        divisor = max(divisor, value.denominator)  # powers of two
    return np.array([[int(v * divisor) for v in row] for row in fractions], dtype=object)


def test_what_is_taken_off_is_little():
    for seed in range(5):
        part = refit_part(random_layer(seed, 64), "50%")
        metric = Metric.of(part)
        none, rng = np.zeros(64, dtype=bool), np.random.default_rng(seed)
        stated = 0.999 * diagonal_of(part.hessian, ~none, rng)
        diagonal = metric.lowered(stated, none, 0)
        np.testing.assert_allclose(diagonal, stated, rtol=1e-9)
        delta = delta_of(part.hessian, part.target, stated, np.full(64, 0.5))
        found = metric.minorants(diagonal[None], delta[None], none[None])
        h = part.hessian @ delta
        const = delta @ h - (h**2 / stated).sum()
        slope = (h + stated * (part.target - delta)) ** 2 / stated
        np.testing.assert_allclose(found.slope[0], slope, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found.base[0], const, rtol=1e-8)


def test_a_diagonal_at_the_edge_is_lowered_by_little_and_one_beyond_is_refused():
    rng = np.random.default_rng(3)
    metric, none = metric_of(*plain(rng)), np.zeros(N, dtype=bool)
    edge = diagonal_of(metric.matrix, ~none)
    for factor in (1.0, 1.0 + 1e-14, 1.0 - 1e-14):
        np.testing.assert_allclose(metric.lowered(factor * edge, none, 0), edge, rtol=1e-10)
    for power in range(-16, -6):
        try:
            found = metric.lowered((1.0 + 10.0**power) * edge, none, 0)
        except ProofError:
            assert power > -14
            continue
        rest = exact(metric.matrix)
        rest[np.diag_indices(N)] -= exact(found)
        assert semidefinite(whole_of(rest))
    for factor in (1.0 + 1e-9, 1.0 + 1e-6, 1.1):
        with pytest.raises(ProofError, match=r"not positive semidefinite|expected above 0"):
            metric.lowered(factor * edge, none, 0)


def test_all_of_a_diagonal_hessian_may_be_its_diagonal():
    metric, none = metric_of(np.diag([0.5, 0.25, 0.75]), np.ones(3)), np.zeros(3, dtype=bool)
    stated = metric.matrix.diagonal().copy()
    np.testing.assert_allclose(metric.lowered(stated, none, 0), stated, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, -0.1, -0.0, 5e-324, 1e-300, 2.0, 1e30])
def test_an_entry_that_is_no_part_of_the_diagonal_is_refused(value):
    metric, none = metric_of(*plain(np.random.default_rng(1))), np.zeros(N, dtype=bool)
    stated = 0.5 * diagonal_of(metric.matrix, ~none)
    stated[2] = value
    with pytest.raises(ProofError, match=r"diagonal 7 is .* at column 2"):
        metric.lowered(stated, none, 7)
    dropped = np.arange(N) == 2
    assert metric.lowered(stated, dropped, 7)[2] == 1.0
