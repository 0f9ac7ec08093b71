"""The refit objective as an interval, held against exact rational elimination."""

from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part, summed
from maskgap.benchmarks.verify.objective import (
    WIDTH,
    exact_loss,
    loss_of,
    loss_of_weights,
    losses_of,
    score_of,
    scores_of,
)
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from tests.helpers.tiny import random_layer


def rational(layer, ridge):
    """H as Fractions, of the float64 numbers it holds."""
    hessian = Hessian.of(layer, ridge)
    found = [[Fraction(v) for v in row] for row in layer.gram.tolist()]
    for j, value in enumerate(hessian.diagonal.tolist()):
        found[j][j] = Fraction(value)
    return found


def exact_value(weight, matrix, kept):
    """G by exact elimination of the kept columns from H, then the quadratic of what is left."""
    rest = [list(row) for row in matrix]
    for k in np.flatnonzero(kept):
        pivot = rest[k][k]
        factors = [rest[i][k] / pivot for i in range(len(rest))]
        for i in range(len(rest)):
            if i != k and factors[i]:
                rest[i] = [a - factors[i] * b for a, b in zip(rest[i], rest[k], strict=True)]
    w = [Fraction(float(v)) for v in weight]
    gone = np.flatnonzero(np.invert(kept))
    return sum((w[i] * rest[i][j] * w[j] for i in gone for j in gone), Fraction(0))


def quadratic_value(change, matrix):
    n = range(len(change))
    return sum((change[i] * matrix[i][j] * change[j] for i in n for j in n), Fraction(0))


def nearly_parallel(seed, spread):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(10, 20))
    inputs[1::2] = -inputs[::2] + spread * rng.normal(size=(5, 20))
    return rng.choice([1.0, 2.0], size=(2, 10)), inputs @ inputs.T


def plain(seed, up=0, down=0):
    layer = random_layer(seed, 9, rows=2)
    return np.ldexp(layer.weight, up), np.ldexp(layer.gram, down)


def dead(seed):
    weight, gram = (np.array(a) for a in plain(seed))
    weight[0, 1], gram[2], gram[:, 2] = 0.0, 0.0, 0.0
    return weight, gram


FAMILIES = {
    "plain": (plain, 0.01),
    "no ridge": (plain, 0.0),
    "large ridge": (plain, 3.0),
    "few tokens": (lambda seed: (plain(seed)[0], random_layer(seed, 9, tokens=3).gram), 1e-6),
    "parallel": (lambda seed: nearly_parallel(seed, 1e-3), 0.0),
    "very parallel": (lambda seed: nearly_parallel(seed, 1e-6), 1e-13),
    "dead": (dead, 0.01),
    "small": (lambda seed: plain(seed, -300, -200), 0.01),
    "large": (lambda seed: plain(seed, 150, 90), 0.01),
    "weights apart": (
        lambda seed: (plain(seed)[0] * 10.0 ** np.linspace(-40, 40, 9), plain(seed)[1]),
        0.01,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_the_interval_holds_the_exact_loss(family, seed):
    make, ridge = FAMILIES[family]
    layer = Layer.from_arrays(*make(seed))
    matrix = rational(layer, ridge)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit", ridge))
    masks = Kept(np.random.default_rng(seed).random(layer.weight.shape) < 0.5)
    for row, together in zip(problem, losses_of(problem, masks), strict=True):
        mask = Kept(masks[row.row])
        exact = exact_value(row.weight, matrix, mask)
        for loss in (together, loss_of(row, mask), exact_loss(row, mask)):
            assert Fraction(loss.low) <= exact <= Fraction(loss.high)
            assert loss.low <= loss.value <= loss.high
            if family not in ("parallel", "very parallel"):
                assert loss.high - loss.low <= 2 * WIDTH * loss.high


def test_the_interval_is_tight_where_the_matrix_is_well_conditioned():
    layer = random_layer(5, 48, rows=4)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit"))
    masks = Kept(np.random.default_rng(5).random(layer.weight.shape) < 0.5)
    for loss in losses_of(problem, masks):
        assert 0.0 < loss.low <= loss.high <= loss.low * (1 + 1e-9)


def test_all_kept_is_zero_and_all_pruned_is_the_norm():
    problem = Problem.of(
        random_layer(1, 6, rows=1), parse_pattern("50%"), objective=objective_spec("refit", 0.1)
    )
    (part,) = problem
    none = loss_of(part, Kept(np.ones(6, dtype=bool)))
    assert (none.low, none.value, none.high, none.unresolved) == (0.0, 0.0, 0.0, False)
    every = exact_loss(part, Kept(np.zeros(6, dtype=bool)))
    w = [Fraction(v) for v in part.weight.tolist()]
    exact = quadratic_value(w, rational(part.layer, 0.1))
    assert every.value == float(exact)
    assert Fraction(every.low) <= exact <= Fraction(every.high)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_judged_as_they_are(family):
    make, ridge = FAMILIES[family]
    layer = Layer.from_arrays(*make(7))
    matrix = rational(layer, ridge)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit", ridge))
    rng = np.random.default_rng(7)
    masks = Kept(rng.random(layer.weight.shape) < 0.5)
    masks[0, 0] = True
    weights = np.where(masks, layer.weight * (1 + 0.01 * rng.normal(size=masks.shape)), 0.0)
    weights[0, 0] = layer.weight[0, 0]
    together = scores_of(problem, masks, weights=weights)
    for row, score in zip(problem, together, strict=True):
        x = weights[row.row]
        change = [Fraction(a) - Fraction(b) for a, b in zip(row.weight, x, strict=True)]
        exact = quadratic_value(change, matrix)
        mask = Kept(masks[row.row])
        for loss in (score.loss, loss_of_weights(row, mask, x),
                     loss_of_weights(row, mask, x, width=-1.0)):  # fmt: skip
            assert Fraction(loss.low) <= exact <= Fraction(loss.high)
        assert loss.value == pytest.approx(float(exact), rel=1e-15)
        assert score.loss.high >= loss_of(row, mask).low


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, kept: x.astype(np.float32), "float64"),
        (lambda x, kept: x[:-1], "shape"),
        (lambda x, kept: np.where(kept, np.nan, x), "finite"),
        (lambda x, kept: np.where(kept, x, 1e-300), "not 0 everywhere"),
        (lambda x, kept: x.tolist(), "float64"),
    ],
)
def test_what_are_no_weights_of_a_mask_are_wrong(change, said):
    (part,) = Problem.of(
        random_layer(2, 6), parse_pattern("50%"), objective=objective_spec("refit")
    )
    mask = Kept(np.array([True, True, False, False, True, False]))
    weights = change(part.refitted(mask), mask)
    with pytest.raises(InputError, match=said):
        loss_of_weights(part, mask, weights)
    found = certify_part(part, mask, weights=weights)
    assert found.verdict is Verdict.WRONG
    assert said in found.reason


def test_a_certificate_has_the_errors_beside_the_objective():
    layer = random_layer(3, 8, rows=2)
    held_out = random_layer(4, 8).gram
    layer = Layer.from_arrays(layer.weight, layer.gram, held_out)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit"))
    masks = problem.groups.prune_lowest(np.abs(layer.weight))
    found = []
    for part, score in zip(problem, scores_of(problem, masks), strict=True):
        mask = Kept(masks[part.row])
        x = part.refitted(mask)
        change = x - part.weight
        own = np.where(mask, part.weight, 0.0)
        certificate = certify_part(part, mask, claimed_bound=score.loss.low, weights=own)
        assert certificate.objective == pytest.approx(part.loss(mask), rel=1e-12)
        assert certificate.objective_eval == pytest.approx(change @ held_out @ change, rel=1e-9)
        assert certificate.error_without_ridge == pytest.approx(
            change @ layer.gram @ change, rel=1e-9
        )
        assert certificate.error_without_ridge < certificate.objective
        rest = own - part.weight
        hessian = np.ldexp(*Hessian.of(layer, 0.01).unit)
        assert certificate.error_own_weights == pytest.approx(rest @ hessian @ rest, rel=1e-9)
        assert certificate.error_own_weights > certificate.objective
        assert (certificate.verdict, certificate.bound_kind) == (Verdict.CLOSED, BoundKind.CLAIMED)
        assert certify_part(part, mask, claimed_bound=1.1 * score.loss.high).verdict == "wrong"
        found.append(certificate)
    sums = summed(found)
    assert sums.error_without_ridge == pytest.approx(sum(c.error_without_ridge for c in found))
    assert sums.error_own_weights == pytest.approx(sum(c.error_own_weights for c in found))
    as_it_was = certify_part(part.under(objective_spec("mask")), mask)
    assert as_it_was.error_without_ridge is as_it_was.error_own_weights is None
    assert as_it_was.objective == pytest.approx(rest @ layer.gram @ rest, rel=1e-9)


def test_coupled_rows_add_up():
    layer = random_layer(6, 6, rows=3)
    (whole,) = Problem.of(layer, parse_pattern("layer:50%"), objective=objective_spec("refit"))
    mask = Kept(np.random.default_rng(2).random((3, 6)) < 0.5)
    matrix = rational(layer, 0.01)
    exact = sum(exact_value(layer.weight[i], matrix, mask[i]) for i in range(3))
    score = score_of(whole, Kept(mask.reshape(-1)))
    assert Fraction(score.loss.low) <= exact <= Fraction(score.loss.high)


def test_a_coarsely_stored_gram_has_a_resolution():
    """Terms that cancel to less than the rounding of float16 leave nothing to be told apart."""
    inputs = np.array([[64.0, 1.0], [64.0, 1.125]])
    layer = Layer.from_arrays([[1.0, -1.0]], inputs @ inputs.T, gram_roundoff=2.0**-11)
    spec = objective_spec("refit", 1e-6)
    (part,) = Problem.of(layer, parse_pattern("keep=0"), objective=spec)
    loss = loss_of(part, Kept(np.zeros(2, dtype=bool)))
    exact = exact_value(part.weight, rational(layer, 1e-6), [False, False])
    assert loss.unresolved
    assert loss.low == 0.0 < exact <= Fraction(loss.high)
