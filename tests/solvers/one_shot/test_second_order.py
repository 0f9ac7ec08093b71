"""SparseGPT and ExactOBS against slow loops over columns, written apart."""

from fractions import Fraction

import numpy as np
import pytest

from maskgap.instances.errors import Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.baselines import Looks, damped, solve
from tests.helpers.tiny import layer_of_inputs, random_layer

SECOND_ORDER = ["sparsegpt", "obs-greedy"]


# SparseGPT


def slow_sparsegpt(layer, row, groups, block):
    """Column after column; the inverse of what is left of H is found afresh each time."""
    hessian, n = damped(layer), layer.d_in
    w = layer.weight[row].copy()
    pruned = set()

    def cost(j):
        return w[j] ** 2 / np.linalg.inv(hessian[j:, j:])[0, 0]

    def rounded(j):
        return int(Fraction(groups.pruned * j, n) + Fraction(1, 2))

    for j in range(n):
        if groups.count == 1 and j % block == 0:
            last = min(j + block, n)
            number = rounded(last) - rounded(j)
            pruned.update(sorted(range(j, last), key=cost)[:number])
        if groups.count > 1 and j % groups.size == 0:
            pruned.update(sorted(range(j, j + groups.size), key=cost)[: groups.pruned])
        if j in pruned:
            inverse = np.linalg.inv(hessian[j:, j:])
            w[j:] -= w[j] / inverse[0, 0] * inverse[0]
    return [j not in pruned for j in range(n)]


@pytest.mark.parametrize("block", [1, 3, 5, 12, 128])
@pytest.mark.parametrize("pattern", ["50%", "keep=5", "29%", "2:4", "1:3", "4:6"])
def test_sparsegpt_is_a_loop_over_columns(pattern, block):
    layer = random_layer(3, 12, rows=4)
    groups = parse_pattern(pattern).row_groups(12)
    masks, _ = solve("sparsegpt", layer, pattern, block=block)
    for row, mask in enumerate(masks):
        assert list(mask) == slow_sparsegpt(layer, row, groups, block)


def test_sparsegpt_of_two_columns_by_hand():
    # H = [[2, 1], [1, 2]]: pruning the first costs 9 / (2/3) = 13.5, the last 16 / (1/2) = 32
    layer = Layer.from_arrays([[3.0, 4.0]], [[2.0, 1], [1, 2]])
    assert list(solve("sparsegpt", layer, "50%", damping=0)[0][0]) == [False, True]
    # in blocks of one column each decides alone: of 1 in 2, the first half rounds up to 1
    assert list(solve("sparsegpt", layer, "50%", damping=0, block=1)[0][0]) == [False, True]
    layer = Layer.from_arrays([[9.0, 4.0]], [[2.0, 1], [1, 2]])
    assert list(solve("sparsegpt", layer, "50%", damping=0)[0][0]) == [True, False]
    assert list(solve("sparsegpt", layer, "50%", damping=0, block=1)[0][0]) == [False, True]


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_sparsegpt_finishes_by_the_costs_when_time_is_over(pattern):
    layer = random_layer(4, 12, rows=3)

    whole, _ = solve("sparsegpt", layer, pattern, block=4)
    masks, answers = solve("sparsegpt", layer, pattern, block=4, limits=Limits(Looks(1)))
    assert {answer.stop for answer in answers} == {Stop.TIME}
    np.testing.assert_array_equal(masks[:, :4], whole[:, :4])


# ExactOBS


def slow_obs_greedy(layer, row, groups):
    """One weight at a time; the others are the least-squares answer to what has gone so far."""
    hessian, n = damped(layer), layer.d_in
    kept, left = list(range(n)), [groups.pruned] * groups.count
    for _ in range(groups.total_pruned):
        inverse = np.linalg.inv(hessian[np.ix_(kept, kept)])
        w = inverse @ hessian[kept] @ layer.weight[row]
        costs = [
            (w[i] ** 2 / inverse[i, i], j) for i, j in enumerate(kept) if left[j // groups.size]
        ]
        _, gone = min(costs)
        kept.remove(gone)
        left[gone // groups.size] -= 1
    return [j in kept for j in range(n)]


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "25%", "2:4", "1:3", "4:6"])
def test_obs_greedy_inverts_what_is_left_of_the_hessian(pattern):
    layer = random_layer(5, 12, rows=5)
    groups = parse_pattern(pattern).row_groups(12)
    masks, _ = solve("obs-greedy", layer, pattern)
    for row, mask in enumerate(masks):
        assert list(mask) == slow_obs_greedy(layer, row, groups)


def test_obs_greedy_looks_at_the_deadline_between_removals_and_on_threads(monkeypatch):
    layer = random_layer(6, 12, rows=5)
    whole, _ = solve("obs-greedy", layer, "50%")
    monkeypatch.setattr("maskgap.solvers.one_shot.obs_greedy.STEP_WORK", 1)
    by_one, _ = solve("obs-greedy", layer, "50%", limits=Limits(Deadline(60.0), threads=3))
    np.testing.assert_array_equal(whole, by_one)

    masks, answers = solve("obs-greedy", layer, "50%", limits=Limits(Looks(8)))
    assert [answer.stop for answer in answers] == [Stop.FINISHED, *[Stop.TIME] * 4]
    np.testing.assert_array_equal(masks[0], whole[0])
    np.testing.assert_array_equal(masks[2], solve("obs", layer, "50%")[0][2])


def test_what_obs_greedy_has_removed_stays_removed(monkeypatch):
    monkeypatch.setattr("maskgap.solvers.one_shot.obs_greedy.STEP_WORK", 1)
    # 0 goes at a cost of 0.28 to 0.316; then 1 and 2 become -0.25 each, at a cost of 0.0625
    layer = Layer.from_arrays([[1, -0.85, -0.85]], [[1, 0.6, 0.6], [0.6, 1, 0], [0.6, 0, 1]])
    limits = Limits(Looks(1))
    masks, answers = solve("obs-greedy", layer, "keep=1", limits=limits, damping=0)
    assert answers[0].stop is Stop.TIME
    assert list(masks[0]) == [False, False, True]


# Both


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_a_singular_gram_says_what_damping_it_used(name):
    token = np.array([[1.0], [2], [3], [4]])
    layer = layer_of_inputs(np.ones((1, 4)), token)
    assert solve(name, layer, "50%")[1][0].notes == {"damping": 0.01}
    assert solve(name, layer, "50%", damping=1e-14)[1][0].notes["damping"] > 1e-14
    with pytest.raises(Refused, match="set a larger damping"):
        solve(name, layer, "50%", damping=0)
