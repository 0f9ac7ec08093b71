"""The loss of a mask whose kept weights are re-optimised: two closed forms and least squares."""

import numpy as np
import pytest

from maskgap.instances.arrays import Kept, kept_of
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK, objective_spec
from maskgap.instances.problem import Problem

REFIT = objective_spec("refit")


def layer_of(n=7, rows=3, tokens=None, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, tokens or 3 * n))
    return Layer.from_arrays(rng.normal(size=(rows, n)), inputs @ inputs.T)


def matrix_of(layer, ridge):
    return layer.gram + ridge * np.mean(np.diag(layer.gram)) * np.eye(layer.d_in)


def some_masks(n, seed=0, count=6):
    rng = np.random.default_rng(seed)
    found = [Kept(rng.random(n) < 0.5) for _ in range(count)]
    return [*found, Kept(np.ones(n, dtype=bool)), Kept(np.zeros(n, dtype=bool))]


def by_least_squares(weight, matrix, mask):
    """(loss, x) of brute least squares on a factor of H."""
    factor = np.linalg.cholesky(matrix).T
    x = np.zeros(len(weight))
    if mask.any():
        x[mask] = np.linalg.lstsq(factor[:, mask], factor @ weight, rcond=None)[0]
    return float(np.sum((factor @ (x - weight)) ** 2)), x


@pytest.mark.parametrize("ridge", [0.0, 0.01, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_that_of_both_closed_forms_and_of_least_squares(ridge, seed):
    layer = layer_of(seed=seed)
    matrix = matrix_of(layer, ridge)
    inverse = np.linalg.inv(matrix)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit", ridge))
    for part in problem:
        w = part.weight
        for mask in some_masks(part.n, seed):
            p, s = np.flatnonzero(np.invert(mask)), np.flatnonzero(mask)
            loss = part.loss(mask)
            inner = matrix[np.ix_(p, p)]
            if len(s):
                cross = matrix[np.ix_(p, s)]
                inner = inner - cross @ np.linalg.solve(matrix[np.ix_(s, s)], cross.T)
            assert loss == pytest.approx(w[p] @ inner @ w[p], rel=1e-10, abs=1e-12)
            if len(p):
                block = np.linalg.inv(inverse[np.ix_(p, p)])
                assert loss == pytest.approx(w[p] @ block @ w[p], rel=1e-9)
            brute, x = by_least_squares(w, matrix, mask)
            assert loss == pytest.approx(brute, rel=1e-9, abs=1e-12)
            assert part.refitted(mask) == pytest.approx(x, rel=1e-8, abs=1e-10)
            assert not part.refitted(mask)[p].any()
            assert part.rescale(part.scaled_loss(mask)) == pytest.approx(loss, rel=1e-13)


def test_no_weights_on_the_kept_columns_do_better():
    part = Problem.of(layer_of(), parse_pattern("50%"), objective=REFIT).part_of(0)
    matrix, rng = matrix_of(part.layer, 0.01), np.random.default_rng(3)
    for mask in some_masks(part.n):
        x = part.refitted(mask)
        for _ in range(5):
            other = x + np.where(mask, 1e-3 * rng.normal(size=part.n), 0.0)
            assert (other - part.weight) @ matrix @ (other - part.weight) >= part.loss(mask)


@pytest.mark.parametrize(("up", "down"), [(0, 40), (31, -20), (-200, 90)])
def test_scaling_by_powers_of_two_is_exact(up, down):
    layer = layer_of()
    scaled = Layer.from_arrays(np.ldexp(layer.weight, up), np.ldexp(layer.gram, down))
    masks = some_masks(layer.d_in)
    here = Problem.of(layer, parse_pattern("50%"), objective=REFIT)
    there = Problem.of(scaled, parse_pattern("50%"), objective=REFIT)
    for part, other in zip(here, there, strict=True):
        assert np.array_equal(part.hessian, other.hessian)
        assert np.array_equal(part.target, other.target)
        assert 0.5 <= np.abs(part.target).max() < 1.0
        for mask in masks:
            assert other.scaled_loss(mask) == part.scaled_loss(mask)
            assert other.loss(mask) == np.ldexp(part.loss(mask), 2 * up + down)
            assert np.array_equal(other.refitted(mask), np.ldexp(part.refitted(mask), up))


def test_coupled_rows_are_refitted_each_by_itself():
    layer = layer_of(rows=3)
    whole = Problem.of(layer, parse_pattern("layer:50%"), objective=REFIT)
    (part,) = whole
    rows = Problem.of(layer, parse_pattern("50%"), objective=REFIT)
    mask = Kept(np.random.default_rng(1).random((3, layer.d_in)) < 0.5)
    alone = [row.loss(Kept(mask[row.row])) for row in rows]
    flat = Kept(mask.reshape(-1))
    assert part.row_losses(flat) == pytest.approx(alone, rel=1e-13)
    assert part.loss(flat) == pytest.approx(sum(alone), rel=1e-13)
    assert part.rescale(part.scaled_loss(flat)) == pytest.approx(sum(alone), rel=1e-12)
    assert whole.losses(mask) == pytest.approx(alone, rel=1e-13)
    assert part.refitted(flat).reshape(3, -1) == pytest.approx(
        np.stack([row.refitted(Kept(mask[row.row])) for row in rows]), rel=1e-13
    )
    n = layer.d_in
    assert part.hessian.shape == (3 * n, 3 * n)
    assert not part.hessian[:n, n:].any()
    change = part.target - np.where(flat, np.ldexp(part.refitted(flat), -part._target_exponent), 0)
    assert change @ part.hessian @ change == pytest.approx(part.scaled_loss(flat), rel=1e-12)


def test_losses_on_another_gram_keep_the_weights_of_this_one():
    layer = layer_of()
    other = layer_of(seed=8).gram
    problem = Problem.of(layer, parse_pattern("50%"), objective=REFIT)
    masks = Kept(np.stack(some_masks(layer.d_in, count=1)))
    found = problem.losses(masks, other)
    for part, mask, value in zip(problem, masks, found, strict=True):
        change = part.weight - part.refitted(Kept(mask))
        assert value == pytest.approx(change @ other @ change, rel=1e-10, abs=1e-20)
        assert part.loss(Kept(mask), other) == pytest.approx(value, rel=1e-12)


def test_a_weight_of_zero_is_not_free_to_prune_and_a_dead_column_costs_its_ridge():
    gram = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    layer = Layer.from_arrays([[0.0, 1.0, 3.0]], gram)
    part = Problem.of(layer, parse_pattern("keep=1"), objective=REFIT).part_of(0)
    shift = 0.01 * 4 / 3
    both = kept_of(Kept(np.array([True, True, False])))  # columns 0 and 1 pruned
    second = kept_of(Kept(np.array([False, True, False])))
    assert part.loss(both) == pytest.approx(2 + shift)
    assert part.loss(second) == pytest.approx(2 + shift - 1 / (2 + shift))
    assert part.refitted(second) == pytest.approx([1 / (2 + shift), 0, 3])
    dead = kept_of(Kept(np.array([False, False, True])))
    assert part.loss(dead) == pytest.approx(9 * shift)


def test_a_singular_gram_is_refused_without_a_ridge():
    layer = layer_of(tokens=4)
    pattern = parse_pattern("50%")
    Problem.of(layer, pattern, objective=REFIT)
    with pytest.raises(InputError, match="not positive definite"):
        Problem.of(layer, pattern, objective=objective_spec("refit", 0.0))
    with pytest.raises(InputError, match="not positive definite"):
        Problem.of(layer, pattern).under(objective_spec("refit", 0.0))


def test_each_objective_has_its_own_digest_matrices_and_losses():
    layer = layer_of()
    mask_problem = Problem.of(layer, parse_pattern("50%"))
    other = mask_problem.under(REFIT)
    sharper = mask_problem.under(objective_spec("refit", 0.02))
    digests = {p.digest for p in (mask_problem, other, sharper)}
    digests |= {p.part_of(0).digest for p in (mask_problem, other, sharper)}
    assert len(digests) == 6
    assert other.under(MASK).digest == mask_problem.digest
    part = other.part_of(1)
    assert part.under(MASK).digest == mask_problem.part_of(1).digest
    assert part.under(MASK).quad.shape == (7, 7)
    with pytest.raises(Refused, match="loss of a mask"):
        _ = part.quad
    with pytest.raises(Refused, match="objective refit"):
        _ = part.under(MASK).hessian
    mask = some_masks(7)[0]
    with pytest.raises(Refused, match="objective refit"):
        part.under(MASK).refitted(mask)
    kept_as_they_are = np.where(mask, 0.0, part.weight)
    assert part.loss(mask) < kept_as_they_are @ matrix_of(layer, 0.01) @ kept_as_they_are
