"""Weights re-optimised for many rows at once: against least squares, whatever the way."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.instances import refit as ways
from maskgap.instances import refit_batch
from maskgap.instances.arrays import Kept
from maskgap.instances.change import change_errors
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.instances.refit import Solves, changes, gradients_pay, refit

WAYS = {
    "cholesky": Solves("cholesky"),
    "gradients": Solves("gradients"),
    "single": Solves("gradients", single=True),
    "factors": Solves("cholesky", device="cpu:0"),  # torch on the processor
}


def case(n=96, rows=14, ridge=0.01, seed=0):
    """H with a few large eigenvalues, as of a language model's inputs, and rows of any support."""
    random = np.random.default_rng([41, n, seed])
    inputs = random.normal(size=(3 * n, n)) * np.exp(0.7 * random.normal(size=n))
    inputs += 3.0 * random.normal(size=(3 * n, 3)) @ random.normal(size=(3, n))
    gram = inputs.T @ inputs
    gram += ridge * gram.diagonal().mean() * np.eye(n)
    target = random.normal(size=(rows, n))
    kept = random.random((rows, n)) < random.random((rows, 1))
    kept[0], kept[1] = True, False
    kept[2], kept[3] = np.arange(n) == 5, np.arange(n) != 5
    target[4] = 0.0
    target[5] = np.where(kept[5], target[5], 0.0)
    return gram, target, Kept(kept)


def least_squares(hessian, target, kept):
    root = np.linalg.cholesky(hessian).T
    found = np.zeros_like(target)
    for row, mask in enumerate(kept):
        found[row, mask] = np.linalg.lstsq(root[:, mask], root @ target[row], rcond=None)[0]
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n", [5, 96])
def test_every_way_finds_the_least_squares(way, n):
    hessian, target, kept = case(n)
    wanted = least_squares(hessian, target, kept)
    found = refit(hessian, target, kept, WAYS[way])
    assert (found[~kept] == 0.0).all()
    assert_allclose(found, wanted, atol=1e-6, rtol=1e-6)
    least, own = (change_errors(hessian, target - x) for x in (wanted, found))
    assert_allclose(own, least, rtol=1e-11, atol=1e-12 * least.max())
    delta = changes(hessian, target, kept, WAYS[way])
    assert (delta[~kept] == target[~kept]).all()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-10])
def test_residuals_meet_the_tolerance_that_is_stated(single, tolerance, monkeypatch):
    hessian, target, kept = case()
    monkeypatch.setattr(refit_batch, "ROW_NUMBERS", 5 * 96)  # several batches
    delta, done = refit_batch.by_gradients(
        hessian, target, kept, tolerance=tolerance, device="cpu", single=single
    )
    assert done.all()
    scale = 1.0 / np.sqrt(hessian.diagonal())
    right = np.where(kept, np.where(kept, 0.0, target) @ hessian, 0.0) * scale
    residual = np.where(kept, delta @ hessian, 0.0) * scale
    size, left = (np.linalg.norm(a, axis=1) for a in (right, residual))
    assert (left <= 1.01 * tolerance * size + 1e-13 * size.max()).all()
    scaled = hessian * scale * scale[:, None]
    condition = np.linalg.cond(scaled)
    loss = change_errors(hessian, delta)
    least = change_errors(hessian, target - least_squares(hessian, target, kept))
    gain = change_errors(hessian, np.where(kept, 0.0, target)) - least
    assert (loss - least <= tolerance**2 * condition * gain * 1.1 + 1e-12 * gain).all()


def test_large_eigenvalues_are_taken_out(monkeypatch):
    """With the preconditioner fewer iterations do than with the diagonal alone."""
    hessian, target, kept = case(160, 20)

    def needed(rank):
        monkeypatch.setattr(refit_batch, "RANK", rank)
        for most in range(200):
            monkeypatch.setattr(refit_batch, "LARGEST", most)
            _, done = refit_batch.by_gradients(
                hessian, target, kept, tolerance=1e-8, device="cpu", single=False
            )
            if done.all():
                return most
        return None

    assert needed(64) <= 0.8 * needed(0)


@pytest.mark.parametrize("single", [False, True])
def test_rows_that_do_not_converge_have_a_factor(single, monkeypatch):
    hessian, target, kept = case()
    monkeypatch.setattr(refit_batch, "LARGEST", 2)
    monkeypatch.setattr(refit_batch, "REFINEMENTS", 1)
    _, done = refit_batch.by_gradients(
        hessian, target, kept, tolerance=1e-8, device="cpu", single=single
    )
    assert 0 < done.sum() < len(done)  # those without anything to solve
    found = refit(hessian, target, kept, Solves("gradients", single=single))
    assert_allclose(found, least_squares(hessian, target, kept), atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("way", WAYS)
def test_a_hessian_that_is_nearly_singular(way):
    """By whatever way, the loss is near the least one; a factor that fails is not used."""
    random = np.random.default_rng(43)
    inputs = random.normal(size=(40, 96))
    gram = inputs.T @ inputs
    hessian = gram + 1e-9 * gram.diagonal().mean() * np.eye(96)
    target, kept = random.normal(size=(6, 96)), Kept(random.random((6, 96)) < 0.5)
    least = change_errors(hessian, target - least_squares(hessian, target, kept))
    found = refit(hessian, target, kept, WAYS[way])
    assert np.isfinite(found).all()
    loss = change_errors(hessian, target - found)
    assert (loss <= least * (1 + 1e-5) + 1e-9 * (target @ hessian * target).sum(axis=1)).all()


def test_gradients_are_for_many_wide_rows():
    def half(rows, n):
        return Kept(np.broadcast_to(np.arange(n) % 2 == 0, (rows, n)))

    assert not gradients_pay(half(384, 384))
    assert not gradients_pay(half(1, 4096))
    assert gradients_pay(half(64, 4096))
    assert gradients_pay(half(1024, 1024))
    assert not gradients_pay(Kept(np.zeros((4096, 4096), dtype=bool)))


def test_a_problem_takes_the_way_that_is_asked_for(monkeypatch):
    random = np.random.default_rng(47)
    layer = Layer.from_arrays(random.normal(size=(9, 24)), np.diag(np.arange(1.0, 25.0)) + 1.0)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit"))
    masks = problem.groups.prune_lowest(random.random((9, 24)))
    plain = problem.refitted(masks)
    for way in WAYS.values():
        assert_allclose(problem.refitted(masks, way), plain, rtol=1e-6, atol=1e-8)
    called = []
    real = refit_batch.by_gradients
    monkeypatch.setattr(
        refit_batch, "by_gradients", lambda *a, **k: called.append(a) or real(*a, **k)
    )
    problem.losses(masks)
    assert not called
    monkeypatch.setattr(ways, "WORTH", 1.0)
    monkeypatch.setattr(ways, "ITERATIONS", 1)
    assert_allclose(problem.losses(masks).sum(), problem.losses(masks).sum(), rtol=1e-12)
    assert len(called) == 2
