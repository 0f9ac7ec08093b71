"""1-swaps on the refit loss: the tableau against direct refits, descents against brute force."""

from itertools import combinations, count

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.local_search.refit_swap import tableau, walker
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic
from maskgap.solvers.local_search.refit_swap.walker import Walker, descend_row


def row(n, seed, decay=1.0):
    """A positive definite H with correlated columns, and a target."""
    random = np.random.default_rng([31, n, seed])
    inputs = random.normal(size=(2 * n, n)) @ random.normal(size=(n, n)) * decay ** np.arange(n)
    gram = inputs.T @ inputs
    return gram + 0.01 * gram.diagonal().mean() * np.eye(n), random.normal(size=n)


def refit(hessian, target, kept):
    """The loss by least squares over the kept columns, with no formula of the search."""
    root = np.linalg.cholesky(hessian).T
    own = np.linalg.lstsq(root[:, kept], root @ target, rcond=None)[0]
    return float(((root[:, kept] @ own - root @ target) ** 2).sum())


def legal(groups, random, state=None):
    scores = random.random(groups.n)
    pruned = groups.minimise(scores, state)
    return None if pruned is None else Kept(np.invert(pruned))


def exchanges(kept, groups, state=None):
    """All pairs (j, i) of a kept and a pruned free column of one group."""
    free = np.ones(groups.n, bool) if state is None else state == FREE
    for j in np.flatnonzero(kept & free):
        for i in np.flatnonzero(~kept & free):
            if j // groups.size == i // groups.size:
                yield j, i


def swapped(kept, j, i):
    other = kept.copy()
    other[j], other[i] = False, True
    return other


def after(looks):
    """A limit of time that has passed after so many looks at it."""
    asked = count(1)
    return lambda: next(asked) > looks


GROUPS = [BudgetGroups(12, 12, 5), BudgetGroups(12, 4, 2), BudgetGroups(12, 6, 4)]


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_every_difference_is_that_of_two_refits(groups):
    hessian, target = row(12, 1)
    random = np.random.default_rng(2)
    quadratic = Quadratic.of(hessian, target, groups)
    for _ in range(5):
        kept = legal(groups, random)
        table, work = quadratic.tableau(kept), np.empty((5, 12))
        before = refit(hessian, target, kept)
        assert_allclose(table[-1, -1], before, rtol=1e-9)
        left = {
            pair: refit(hessian, target, swapped(kept, *pair)) - before
            for pair in exchanges(kept, groups)
        }
        for (j, i), change in left.items():
            changed, mask = table.copy(), kept.copy()
            tableau.exchange(changed, mask, j, i, np.empty(13), np.empty(13))
            assert_allclose(changed[-1, -1] - before, change, rtol=1e-9, atol=1e-9 * before)
            assert (mask == swapped(kept, j, i)).all()
        change, j, i = tableau.best_exchange(table, kept, quadratic.offsets, 1e3 * before, work)
        least = min(left.values())
        assert_allclose(change, least, rtol=1e-9, atol=1e-9 * before)
        assert_allclose(left[j, i], least, rtol=1e-9, atol=1e-9 * before)


def test_no_pair_lies_below_a_limit_that_none_reaches():
    hessian, target = row(12, 3)
    groups = GROUPS[0]
    kept = legal(groups, np.random.default_rng(4))
    quadratic = Quadratic.of(hessian, target, groups)
    table, work = quadratic.tableau(kept), np.empty((5, 12))
    before = refit(hessian, target, kept)
    least = min(refit(hessian, target, swapped(kept, *p)) - before for p in exchanges(kept, groups))
    for limit, found in ((least - 1e-6 * before, False), (least + 1e-6 * before, True)):
        _, j, _ = tableau.best_exchange(table, kept, quadratic.offsets, limit, work)
        assert (j >= 0) == found


def test_sweeps_and_exchanges_give_the_fresh_tableau():
    hessian, target = row(15, 5)
    quadratic = Quadratic.of(hessian, target, BudgetGroups(15, 15, 7))
    random = np.random.default_rng(6)
    kept = random.random(15) < 0.5
    table, u, v = quadratic.tableau(kept), np.empty(16), np.empty(16)
    for _ in range(60):
        if random.random() < 0.5:
            tableau.pivot(table, kept, random.integers(15), u)
        elif kept.any() and not kept.all():
            j, i = random.choice(np.flatnonzero(kept)), random.choice(np.flatnonzero(~kept))
            tableau.exchange(table, kept, j, i, u, v)
        fresh = quadratic.tableau(kept)
        assert_allclose(np.triu(table), np.triu(fresh), rtol=1e-8, atol=1e-9 * np.abs(fresh).max())


@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_a_descent_ends_where_no_exchange_improves(groups, seed):
    hessian, target = row(12, seed)
    kept = legal(groups, np.random.default_rng(seed))
    mask, loss = descend_row(hessian, target, kept, groups)
    assert groups.is_legal(mask)
    assert_allclose(loss, refit(hessian, target, mask), rtol=1e-9)
    assert loss <= refit(hessian, target, kept) * (1 + 1e-12)
    assert all(
        refit(hessian, target, swapped(mask, *pair)) >= loss * (1 - 1e-9)
        for pair in exchanges(mask, groups)
    )


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_fixed_columns_are_left_and_cost_what_they_cost(groups):
    hessian, target = row(12, 7)
    random = np.random.default_rng(8)
    for _ in range(20):
        state = random.choice([FREE, PRUNED, KEPT], size=12, p=[0.6, 0.2, 0.2]).astype(np.int8)
        kept = legal(groups, random, state)
        if kept is None:
            continue
        quadratic = Quadratic.of(hessian, target, groups, state)
        own = kept[quadratic.free]
        assert (quadratic.lift(own) == kept).all()
        assert_allclose(quadratic.loss(own), refit(hessian, target, kept), rtol=1e-9)
        mask, loss = descend_row(hessian, target, kept, groups, state)
        assert groups.is_legal(mask)
        assert not mask[state == PRUNED].any()
        assert mask[state == KEPT].all()
        assert_allclose(loss, refit(hessian, target, mask), rtol=1e-9)
        assert all(
            refit(hessian, target, swapped(mask, *pair)) >= loss * (1 - 1e-9)
            for pair in exchanges(mask, groups, state)
        )


@pytest.mark.parametrize("pruned", [0, 12])
def test_one_legal_mask_is_left_as_it_is(pruned):
    hessian, target = row(12, 9)
    groups = BudgetGroups(12, 12, pruned)
    kept = Kept(np.full(12, pruned == 0))
    mask, loss = descend_row(hessian, target, kept, groups)
    assert (mask == kept).all()
    assert_allclose(loss, 0.0 if pruned == 0 else target @ hessian @ target, rtol=1e-12)
    state = np.full(12, KEPT if pruned == 0 else PRUNED, np.int8)
    again, same = descend_row(hessian, target, kept, groups, state)
    assert (again == kept).all()
    assert_allclose(same, loss, rtol=1e-12)


def test_dead_and_equal_columns_and_a_target_of_zeros():
    hessian, target = row(12, 10)
    gram = hessian.copy()
    gram[:, 3] = gram[3] = 0.0  # a dead column
    gram[:, 5], gram[5] = gram[:, 4], gram[4]  # two equal ones
    gram[5, 5] = gram[4, 4]
    hessian = gram + 1e-3 * gram.diagonal().mean() * np.eye(12)
    kept = legal(GROUPS[0], np.random.default_rng(11))
    mask, loss = descend_row(hessian, target, kept, GROUPS[0])
    assert_allclose(loss, refit(hessian, target, mask), rtol=1e-8)
    mask, loss = descend_row(hessian, np.zeros(12), kept, GROUPS[0])
    assert (mask == kept).all()
    assert loss == 0.0


def test_powers_of_two_change_nothing_but_the_loss():
    hessian, target = row(12, 12)
    kept = legal(GROUPS[0], np.random.default_rng(13))
    mask, loss = descend_row(hessian, target, kept, GROUPS[0])
    other, scaled = descend_row(np.ldexp(hessian, 40), np.ldexp(target, -9), kept, GROUPS[0])
    assert (mask == other).all()
    assert scaled == np.ldexp(loss, 22)


def test_a_singular_hessian_is_refused_in_words():
    hessian = np.ones((4, 4))
    with pytest.raises(Refused, match="ridge"):
        descend_row(hessian, np.ones(4), Kept(np.array([1, 1, 0, 0], bool)), BudgetGroups(4, 4, 2))


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_greedy_constructions_take_the_cheapest_column_each_time(groups):
    hessian, target = row(12, 14)
    quadratic = Quadratic.of(hessian, target, groups)
    for start, left in ((True, groups.pruned), (False, groups.kept)):
        found, kept = Walker(quadratic), np.full(12, start)
        found.take(quadratic.tableau(kept), kept)
        budget = np.full(groups.count, left)
        assert found.shrink(budget, np.ones(12)) if start else found.grow(budget)
        budget = np.full(groups.count, left)
        for _ in range(left * groups.count):
            trials = [k for k in np.flatnonzero(kept == start) if budget[k // groups.size] > 0]
            losses = []
            for k in trials:
                trial = kept.copy()
                trial[k] = not start
                losses.append(refit(hessian, target, trial))
            best = trials[int(np.argmin(losses))]
            kept[best] = not start
            budget[best // groups.size] -= 1
        assert (found.kept == kept).all()
        assert_allclose(found.loss, refit(hessian, target, kept), rtol=1e-9)


def test_rounding_that_adds_up_is_corrected(monkeypatch):
    """On an ill-conditioned H and with a walk that is never made afresh by length, losses hold."""
    monkeypatch.setattr(walker, "LARGEST_WALK", 10**9)
    monkeypatch.setattr(walker, "FRESH_SHARE", 2.0)
    hessian, target = row(24, 15, decay=0.5)
    hessian += 1e-9 * hessian.diagonal().mean() * np.eye(24)
    groups = BudgetGroups(24, 24, 12)
    quadratic = Quadratic.of(hessian, target, groups)
    found, random = Walker(quadratic), np.random.default_rng(16)
    found.take(quadratic.tableau(np.ones(24, bool)), np.ones(24, bool))
    for _ in range(300):
        found.go(legal(groups, random))
        descent = found.descend()
        assert descent.local
        assert_allclose(descent.loss, refit(hessian, target, found.kept), rtol=1e-6)


def test_a_descent_makes_no_more_exchanges_than_it_may():
    hessian, target = row(40, 17)
    groups = BudgetGroups(40, 40, 20)
    kept = legal(groups, np.random.default_rng(18))
    found = Walker(Quadratic.of(hessian, target, groups))
    found.go(kept)
    whole = found.descend()
    assert whole.swaps > 3
    for most in range(whole.swaps + 2):
        found.go(kept)
        part = found.descend(most)
        assert part.swaps == min(most, whole.swaps)
        assert part.local == (most > whole.swaps) or most == whole.swaps
        assert groups.is_legal(found.kept)


def test_a_descent_ends_at_the_first_look_after_the_deadline(monkeypatch):
    monkeypatch.setattr(walker, "SLICE_WORK", 1)
    hessian, target = row(40, 17)
    groups = BudgetGroups(40, 40, 20)
    for looks in range(5):
        found = Walker(Quadratic.of(hessian, target, groups))
        found.go(legal(groups, np.random.default_rng(18)))
        part = found.descend(expired=after(looks))
        assert part.swaps == looks
        assert not part.local
        assert_allclose(part.loss, refit(hessian, target, found.kept), rtol=1e-9)


def test_all_masks_of_a_small_row_are_told_apart():
    """The least of all refits is one that no exchange improves, and descents find it."""
    hessian, target = row(10, 19)
    groups = BudgetGroups(10, 10, 5)
    losses = {}
    for columns in combinations(range(10), 5):
        mask = np.zeros(10, bool)
        mask[list(columns)] = True
        losses[columns] = refit(hessian, target, mask)
    best = min(losses.values())
    mask = np.zeros(10, bool)
    mask[list(min(losses, key=losses.__getitem__))] = True
    again, loss = descend_row(hessian, target, Kept(mask), groups)
    assert (again == mask).all()
    assert_allclose(loss, best, rtol=1e-9)
    random = np.random.default_rng(20)
    found = [descend_row(hessian, target, legal(groups, random), groups)[1] for _ in range(40)]
    assert_allclose(min(found), best, rtol=1e-9)
