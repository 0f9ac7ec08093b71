"""Triangle inequalities that a child takes over from its parent, and its relaxation with them."""

import numpy as np
import pytest

from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.inherited import Inherited, Until, solve_inheriting
from maskgap.solvers.bounds.semidefinite import Effort, solve_sdp
from maskgap.solvers.bounds.triangles import Cuts
from maskgap.solvers.protocol import Deadline
from tests.helpers.tiny import random_layer


def all_triangles(n, rng, count=60):
    """Different triangle inequalities on the indices 0..n, with weights."""
    found = {}
    while len(found) < count:
        index = np.sort(rng.choice(n + 1, 3, replace=False))
        found[(*index.tolist(), int(rng.integers(-1, 3)))] = float(rng.random())
    keys = np.array(list(found))
    return Inherited(Cuts(keys[:, :3], keys[:, 3]), np.array(list(found.values())))


def lifted(s):
    one = np.concatenate([[1.0], s])
    return np.outer(one, one)


def some_state(n, rng):
    state = np.full(n, FREE, np.int8)
    fixed = rng.choice(n, n // 3, replace=False)
    state[fixed] = rng.choice([PRUNED, KEPT], len(fixed))
    return state


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_says_the_same_of_every_point_of_the_child(seed):
    rng, n = np.random.default_rng(seed), 9
    known, state = all_triangles(n, rng), some_state(n, np.random.default_rng(seed + 50))
    own, free = known.on_free(state), state == FREE
    assert 0 < len(own.cuts) < len(known.cuts)
    assert (np.diff(own.cuts.index, axis=1) > 0).all()
    assert len(np.unique(own.cuts.keys())) == len(own.cuts)
    back = own.spread(np.flatnonzero(free))
    for _ in range(20):
        s = rng.uniform(-1.0, 1.0, n)
        s[~free] = np.where(state[~free] == PRUNED, 1.0, -1.0)
        whole, part = lifted(s), lifted(s[free])
        fixed = np.concatenate([[False], ~free])[known.cuts.index]
        fixed |= known.cuts.index == 0
        here = fixed.sum(axis=1) <= 1
        expected = np.unique(np.round(known.cuts.forms(whole)[here], 9))
        assert np.unique(np.round(own.cuts.forms(part), 9)) == pytest.approx(expected)
        assert own.weight.sum() == pytest.approx(known.weight[here].sum())
        assert back.cuts.forms(whole) == pytest.approx(own.cuts.forms(part))


def test_the_heaviest_are_kept_in_their_order():
    known = all_triangles(8, np.random.default_rng(3), 20)
    few = known.heaviest(7)
    assert len(few.weight) == 7
    assert few.weight.min() >= np.sort(known.weight)[-7]
    places = [int(np.flatnonzero(known.weight == w)[0]) for w in few.weight]
    assert places == sorted(places)
    assert known.heaviest(20) is known


@pytest.mark.parametrize("seed", range(3))
def test_a_relaxation_that_inherits_goes_as_far_as_one_that_finds_all(seed):
    part = Problem.of(random_layer(seed, 40), parse_pattern("50%")).part_of(0)
    groups, quad = BudgetGroups(40, 40, 20), part.quad
    plain = solve_sdp(quad, groups, Deadline(60.0)).bound
    until = Until(Deadline(60.0), Effort(rounds=12, tolerance=1e-4, share=1.0), np.inf)
    best, _ = solve_inheriting(quad, groups, Inherited.none(), until)
    assert best.value > plain * (1.0 + 1e-4), "triangles bring something on this row"
    few = Until(Deadline(60.0), Effort(rounds=0, tolerance=1e-4, share=1.0), np.inf)
    again, _ = solve_inheriting(quad, groups, Inherited(best.cuts, best.weight), few)
    assert again.value == pytest.approx(best.value, rel=1e-3)
    none, _ = solve_inheriting(quad, groups, Inherited.none(), few)
    assert none.value == pytest.approx(plain, rel=1e-3)


def test_it_ends_at_the_value_that_is_enough_and_at_the_deadline():
    part = Problem.of(random_layer(4, 40), parse_pattern("50%")).part_of(0)
    groups, effort = BudgetGroups(40, 40, 20), Effort(share=1.0)
    full, steps = solve_inheriting(
        part.quad, groups, Inherited.none(), Until(Deadline(60.0), effort, np.inf)
    )
    aim = 0.9 * full.value
    early, fewer = solve_inheriting(
        part.quad, groups, Inherited.none(), Until(Deadline(60.0), effort, aim)
    )
    assert early.value >= aim
    assert fewer < steps
    late = Deadline(60.0)
    late.interrupt()
    _, none = solve_inheriting(part.quad, groups, Inherited.none(), Until(late, effort, np.inf))
    assert none == 0
