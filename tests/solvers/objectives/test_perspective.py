"""The perspective function: g on masks, convex, its gradient and minorants; the loss's proofs."""

import numpy as np
import pytest

from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal, scaled_diagonal
from maskgap.solvers.objectives.perspective import Perspective
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_part
from tests.helpers.tiny import random_layer

DIAGONALS = {"inverse": inverse_diagonal, "scaled": scaled_diagonal}


def made(kind, seed=0, n=9):
    part = refit_part(random_layer(seed, n), "keep=4")
    return part, Perspective(part.hessian, part.target, DIAGONALS[kind](part.hessian))


@pytest.mark.parametrize("kind", DIAGONALS)
def test_it_is_the_loss_on_masks(kind):
    part, function = made(kind)
    for pruned in legal_pruned(part.layer, "keep=4", part.rows)[::7]:
        value, _ = function.at(pruned.astype(float))
        assert value == pytest.approx(part.scaled_loss(~pruned), rel=1e-9)


@pytest.mark.parametrize("kind", DIAGONALS)
def test_its_gradient_is_that_of_differences(kind):
    part, function = made(kind)
    rng = np.random.default_rng(1)
    for x in (rng.uniform(0.1, 0.9, part.n), np.full(part.n, 0.5)):
        _, gradient = function.at(x)
        for j in range(part.n):
            step = np.zeros(part.n)
            step[j] = 1e-5
            rise = (function.at(x + step)[0] - function.at(x - step)[0]) / 2e-5
            assert gradient[j] == pytest.approx(rise, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", DIAGONALS)
def test_minorants_of_any_point_lie_below_every_mask(kind):
    part, function = made(kind, 2)
    rng = np.random.default_rng(3)
    masks = legal_pruned(part.layer, "keep=4", part.rows)
    losses = np.array([part.scaled_loss(~mask) for mask in masks])
    for x in (np.zeros(part.n), np.ones(part.n), *rng.uniform(0, 1, (5, part.n))):
        found = function.minorant(x)
        assert np.all(found.constant + masks @ found.linear <= losses)
        assert found.value <= function.at(x)[0]
        np.testing.assert_array_equal(found.witness[part.n :], function.diagonal)


def test_at_a_mask_the_minorant_comes_to_its_loss():
    part, function = made("inverse", 4)
    pruned = legal_pruned(part.layer, "keep=4", part.rows)[11]
    found = function.minorant(pruned.astype(float))
    loss = part.scaled_loss(~pruned)
    assert loss * (1 - 1e-9) <= found.constant + float(found.linear @ pruned) <= loss
