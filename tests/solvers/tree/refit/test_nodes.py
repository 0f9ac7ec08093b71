"""Nodes of the refit search: the reduced problem, and bounds that hold for all masks of a node."""

import numpy as np
import pytest

from maskgap.instances.arrays import Kept
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.tree.refit.reduced import Whole, counted, factor_of_kept, reduced, settle
from maskgap.solvers.tree.refit.visit import FORCED, NO_MASK, Aim, Warm, look, sides
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_part
from tests.helpers.tiny import random_layer


def node(part, kept=(), pruned=()):
    state = np.full(part.n, FREE, np.int8)
    state[list(kept)], state[list(pruned)] = KEPT, PRUNED
    return state


def masks_of(part, state):
    masks = np.array(legal_pruned(part.layer, part.pattern, part.rows))
    fits = (masks | (state != PRUNED)) & (~masks | (state != KEPT))
    return masks[fits.all(axis=1)]


@pytest.mark.parametrize(
    ("kept", "pruned"), [((), ()), ((1, 5), ()), ((), (0, 3)), ((2, 6), (0, 7, 4))]
)
def test_the_reduced_problem_has_the_losses_of_the_node(kept, pruned):
    part = refit_part(random_layer(1, 9), "keep=4")
    state = node(part, kept, pruned)
    lower, good = factor_of_kept(part.hessian, np.flatnonzero(state == KEPT))
    assert good
    free, inner, moved, base, made = reduced(part.hessian, part.target, state, lower)
    assert made
    np.testing.assert_array_equal(free, np.flatnonzero(state == FREE))
    for mask in masks_of(part, state)[::5]:
        own = mask[free]
        back = np.linalg.inv(inner)[np.ix_(own, own)]
        rest = float(moved[own] @ np.linalg.solve(back, moved[own])) if own.any() else 0.0
        assert base + rest == pytest.approx(part.scaled_loss(Kept(~mask)), rel=1e-9)


def seen(part, state, cut=np.inf, enough=0.0):
    groups, spare = part.groups, inverse_diagonal(part.hessian)
    of_column = np.arange(part.n) // groups.size
    whole = Whole(part.hessian, part.target, spare, of_column)
    share = np.full(part.n, groups.pruned / groups.size)
    aim = Aim(cut, enough, np.full(1, 60))
    return look(whole, groups, state, Warm(0.5 * spare, share, 0.0), aim)


@pytest.mark.parametrize("pattern", ["keep=4", "2:4", "1:4"])
@pytest.mark.parametrize("seed", range(4))
def test_a_bound_holds_for_all_masks_and_so_do_those_of_sides(pattern, seed):
    part = refit_part(random_layer(seed, 8), pattern)
    state = node(part, (1,), (4,))
    found = seen(part, state)
    status, bound, slope = found.status, found.bound, found.slope
    masks = masks_of(part, state)
    losses = np.array([part.scaled_loss(Kept(~mask)) for mask in masks])
    assert bound <= losses.min()
    assert status == FORCED or bound > 0.2 * losses.min()
    if status == FORCED:
        return
    assert any((found.pruned == mask).all() for mask in masks)
    assert found.loss == pytest.approx(part.scaled_loss(Kept(~found.pruned)), rel=1e-9)
    assert (found.saliency[state == FREE] > 0.0).all()
    assert (found.diagonal[state == PRUNED] == 0.0).all()
    np.testing.assert_array_equal(found.delta[state == PRUNED], part.target[state == PRUNED])
    groups = np.arange(part.n) // part.groups.size
    left, _ = counted(state, groups, part.groups.count, part.groups.pruned)
    bounds, side = sides(slope, state, groups, left, bound)
    for j in np.flatnonzero(state == FREE):
        there = losses[masks[:, j] == (side[j] == PRUNED)]
        assert len(there) == 0 or bounds[j] <= there.min()


def test_a_node_of_one_mask_has_its_loss():
    part = refit_part(random_layer(2, 8), "keep=4")
    state = node(part, (0, 2, 5, 7), (1,))
    found = seen(part, state)
    assert found.status == FORCED
    mask = masks_of(part, state)[0]
    wanted = part.scaled_loss(Kept(~mask))
    assert wanted * (1 - 1e-9) <= found.bound <= wanted
    assert found.loss == pytest.approx(wanted, rel=1e-9)


def test_a_node_without_masks_is_told():
    part = refit_part(random_layer(2, 8), "keep=4")
    assert seen(part, node(part, (0, 1, 2, 3, 4), ())).status == NO_MASK


def test_groups_with_one_choice_are_settled():
    state = np.array([FREE, PRUNED, FREE, FREE, KEPT, KEPT, FREE, FREE], np.int8)
    groups = np.arange(8) // 4
    left, size = counted(state, groups, 2, 1)
    np.testing.assert_array_equal(left, [0, 1])
    np.testing.assert_array_equal(size, [3, 2])
    assert settle(state, groups, left, size)
    np.testing.assert_array_equal(state[:4], [KEPT, PRUNED, KEPT, KEPT])
    np.testing.assert_array_equal(state[4:], [KEPT, KEPT, FREE, FREE])
