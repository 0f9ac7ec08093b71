"""Search by the refit loss: the optima of brute force, and what limits and seeds do."""

from itertools import count

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.instances.arrays import Kept
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.local_search.memetic.improve import improve
from maskgap.solvers.local_search.refit_swap import walker
from maskgap.solvers.local_search.refit_swap.population import search_row
from maskgap.solvers.local_search.refit_swap.recombine import open_columns, recombine
from maskgap.solvers.local_search.refit_swap.walker import descend_row
from maskgap.solvers.local_search.terms import Terms


def row(n, seed):
    random = np.random.default_rng([37, n, seed])
    inputs = random.normal(size=(2 * n, n)) @ random.normal(size=(n, n))
    gram = inputs.T @ inputs
    return gram + 0.01 * gram.diagonal().mean() * np.eye(n), random.normal(size=n)


def refit(hessian, target, kept):
    """The loss by least squares over the kept columns, with no formula of the search."""
    root = np.linalg.cholesky(hessian).T
    own = np.linalg.lstsq(root[:, kept], root @ target, rcond=None)[0]
    return float(((root[:, kept] @ own - root @ target) ** 2).sum())


def optimum(hessian, target, groups):
    """The least refit loss of all masks, by batched solves."""
    least = np.inf
    for block in groups.enumerate_pruned():
        kept = np.stack([np.flatnonzero(~pruned) for pruned in block])
        matrices = hessian[kept[:, :, None], kept[:, None, :]]
        right = (hessian @ target)[kept]
        gain = (right * np.linalg.solve(matrices, right[..., None])[..., 0]).sum(axis=1)
        least = min(least, float(target @ hessian @ target - gain.max()))
    return least


SETS = [BudgetGroups(12, 12, 6), BudgetGroups(12, 12, 9), BudgetGroups(12, 4, 2),
        BudgetGroups(16, 8, 4), BudgetGroups(12, 4, 3)]  # fmt: skip


@pytest.mark.parametrize("groups", SETS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_optimum_of_brute_force(groups, seed):
    hessian, target = row(groups.n, seed)
    found = search_row(hessian, target, groups, Terms(None, [seed], 16))
    assert found.finished
    assert groups.is_legal(found.mask)
    assert_allclose(found.loss, refit(hessian, target, found.mask), rtol=1e-9)
    assert_allclose(found.loss, optimum(hessian, target, groups), rtol=1e-8)


@pytest.mark.parametrize("groups", [BudgetGroups(96, 96, 48), BudgetGroups(96, 4, 2)], ids=str)
def test_it_is_no_worse_than_the_mask_loss_search_with_refit_swaps(groups):
    hessian, target = row(96, 5)
    quad = np.outer(target, target) * hessian
    mask = improve(quad, groups, Terms(None, [0], 32)).mask
    _, after = descend_row(hessian, target, mask, groups)
    found = search_row(hessian, target, groups, Terms(None, [0], 16))
    assert found.loss <= after * (1 + 1e-12)
    assert_allclose(found.loss, refit(hessian, target, found.mask), rtol=1e-9)
    again, loss = descend_row(hessian, target, found.mask, groups)
    assert (again == found.mask).all()  # no exchange of all columns improves
    assert_allclose(loss, found.loss, rtol=1e-12)


def test_the_seed_alone_decides():
    hessian, target = row(64, 6)
    groups = BudgetGroups(64, 64, 40)
    losses = set()
    for seed in (1, 1, 2):
        reports = []
        terms = Terms(None, [seed], 16, report=lambda mask, loss, to=reports: to.append(loss))
        found = search_row(hessian, target, groups, terms)
        assert reports == sorted(reports, reverse=True)
        assert reports[-1] == found.loss
        losses.add((seed, found.loss, found.swaps, found.mask.tobytes()))
    assert len(losses) == 2


def test_powers_of_two_change_nothing_but_the_loss():
    hessian, target = row(24, 7)
    groups = BudgetGroups(24, 24, 12)
    one = search_row(hessian, target, groups, Terms(None, [3], 16))
    two = search_row(np.ldexp(hessian, 30), np.ldexp(target, -7), groups, Terms(None, [3], 16))
    assert (one.mask == two.mask).all()
    assert two.loss == np.ldexp(one.loss, 16)
    assert one.swaps == two.swaps


def test_a_population_of_one_is_a_descent():
    hessian, target = row(40, 8)
    groups = BudgetGroups(40, 40, 20)
    start = groups.prune_lowest(np.random.default_rng(9).random(40))
    found = search_row(hessian, target, groups, Terms(start, [0], 1))
    mask, loss = descend_row(hessian, target, start, groups)
    assert found.finished
    assert (found.mask == mask).all()
    assert found.loss == loss


@pytest.mark.parametrize("most", [0, 1, 3, 50, 100])
def test_no_more_exchanges_than_allowed(most):
    hessian, target = row(40, 10)
    groups = BudgetGroups(40, 40, 20)
    start = groups.prune_lowest(np.random.default_rng(11).random(40))
    found = search_row(hessian, target, groups, Terms(start, [0], 64, most))
    assert found.swaps <= most
    assert not found.finished
    assert groups.is_legal(found.mask)
    assert found.loss <= refit(hessian, target, start) * (1 + 1e-12)
    assert_allclose(found.loss, refit(hessian, target, found.mask), rtol=1e-9)


@pytest.mark.parametrize("looks", [0, 1, 2, 5, 30, 300])
def test_it_ends_soon_after_the_deadline(looks, monkeypatch):
    """Once the limit has passed it makes no exchange, and asks but a few times more."""
    monkeypatch.setattr(walker, "SLICE_WORK", 1)
    hessian, target = row(40, 12)
    groups = BudgetGroups(40, 40, 20)
    asked = count(1)
    last = []

    def expired():
        last.append(next(asked))
        return last[-1] > looks

    start = groups.prune_lowest(np.random.default_rng(13).random(40))
    found = search_row(hessian, target, groups, Terms(start, [0], 64, -1, expired))
    assert not found.finished
    assert found.swaps <= looks
    assert last[-1] <= looks + 6
    assert groups.is_legal(found.mask)
    assert_allclose(found.loss, refit(hessian, target, found.mask), rtol=1e-9)


def test_what_ends_at_once():
    hessian, target = row(12, 14)
    for pruned in (0, 12):
        groups = BudgetGroups(12, 12, pruned)
        found = search_row(hessian, target, groups, Terms(None, [0], 64))
        assert found.finished
        assert found.swaps == 0
        assert found.mask.all() == (pruned == 0)
    groups = BudgetGroups(12, 12, 6)
    found = search_row(hessian, np.zeros(12), groups, Terms(None, [0], 64))
    assert found.finished
    assert found.loss == 0.0


@pytest.mark.parametrize("groups", [BudgetGroups(40, 40, 15), BudgetGroups(40, 4, 2)], ids=str)
def test_a_child_keeps_what_both_keep_and_is_legal(groups):
    random, state = np.random.default_rng(15), np.array([7], dtype=np.uint64)
    offsets, child = np.arange(0, 41, groups.size), np.empty(40, dtype=bool)
    kinds = set()
    for _ in range(50):
        one, other = (groups.prune_lowest(random.random(40)) for _ in range(2))
        new = recombine(one, other, offsets, state, child)
        assert groups.is_legal(Kept(child))
        assert child[one & other].all()
        assert not child[~one & ~other].any()
        assert new == (not (child == one).all() and not (child == other).all())
        kinds.add(new)
    assert True in kinds
    assert not recombine(one, one, offsets, state, child)


@pytest.mark.parametrize("groups", [BudgetGroups(200, 200, 100), BudgetGroups(200, 4, 2)], ids=str)
def test_columns_on_which_members_differ_are_open(groups):
    random = np.random.default_rng(16)
    base = random.random(200)
    masks = np.stack([groups.prune_lowest(base + 0.02 * random.random(200)) for _ in range(5)])
    alone = np.where(masks[0], 1.0, -1.0) * random.random(200)
    state = open_columns(masks, alone, groups)
    assert (state[masks.any(axis=0) & ~masks.all(axis=0)] == FREE).all()
    assert masks.all(axis=0)[state == KEPT].all()
    assert not masks.any(axis=0)[state == PRUNED].any()
    assert (state != FREE).sum() > 50
    for mask in masks:
        assert groups.minimise(alone, state) is not None
        assert mask[state == KEPT].all()
