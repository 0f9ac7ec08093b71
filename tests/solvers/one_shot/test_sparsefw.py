"""SparseFW against a slow loop over rows, and its relaxation against the theory."""

import numpy as np
import pytest

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.scores import starting_masks, wanda
from maskgap.solvers.one_shot.sparsefw import fixed_weights, relax
from tests.helpers.baselines import solve
from tests.helpers.tiny import I1_GRAM, I1_WEIGHT, random_layer, with_mean


def hull_and_loss(layer, groups, z, row):
    assert z.min() >= -1e-12
    assert z.max() <= 1 + 1e-12
    np.testing.assert_allclose(z.reshape(-1, groups.size).sum(axis=1), groups.pruned, rtol=1e-9)
    part = layer.weight[row] * z
    return part @ layer.gram @ part


@pytest.mark.parametrize("pattern", ["50%", "keep=9", "2:4", "1:3"])
def test_the_relaxation_falls_to_its_minimum_inside_the_hull(pattern):
    layer = random_layer(7, 12, rows=2)
    problem = Problem.of(layer, parse_pattern(pattern))
    groups, steps = problem.groups, 400
    start = starting_masks(problem, "wanda", 0)
    none = np.zeros_like(start)
    iterates = relax(layer.weight, layer.gram, groups, none, (~start).astype(float))
    losses, bounds = [], []
    for _, z in zip(range(steps), iterates, strict=False):
        losses.append([hull_and_loss(layer, groups, z[row], row) for row in range(2)])
        gradient = 2 * layer.weight * ((layer.weight * z) @ layer.gram)
        vertex = ~groups.prune_lowest(gradient)
        bounds.append(losses[-1] - ((z - vertex) * gradient).sum(axis=1))
    for row in range(2):
        curvature = 2 * np.linalg.eigvalsh(problem.part_of(row).quad).max()
        curvature = problem.part_of(row).rescale(curvature)
        diameter = 2 * groups.count * min(groups.pruned, groups.kept)
        assert losses[-1][row] < problem.part_of(row).loss(start[row])
        least = max(bound[row] for bound in bounds)
        # Jaggi, ICML 2013: 2 C / (T + 2) with C at most curvature times squared diameter
        assert losses[-1][row] - least <= 2 * curvature * diameter / (steps + 2)


def slow_sparsefw(layer, row, groups, start, held, steps):
    w, z = layer.weight[row], 1.0 - start
    free = [j for j in range(layer.d_in) if not held[j]]

    def lowest(values):
        chosen = np.zeros(layer.d_in)
        for group in range(groups.count):
            mine = [j for j in free if j // groups.size == group]
            for j in sorted(mine, key=lambda j: values[j])[: groups.pruned]:
                chosen[j] = 1.0
        return chosen

    for t in range(steps):
        gradient = [2 * w[j] * sum(layer.gram[j] * w * z) for j in range(layer.d_in)]
        z = z + 2 / (t + 2) * (lowest(gradient) - z)
    return lowest(-z) == 0


@pytest.mark.parametrize("fixed", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("pattern", ["50%", "keep=5", "2:4"])
def test_sparsefw_is_a_loop_over_rows(pattern, fixed):
    layer = random_layer(8, 12, rows=3)
    problem = Problem.of(layer, parse_pattern(pattern))
    start = starting_masks(problem, "wanda", 0)
    masks, answers = solve("sparsefw", layer, pattern, fixed=fixed, iterations=31)
    held = np.zeros_like(start)
    for row in range(3):
        order = sorted(np.flatnonzero(start[row]), key=lambda j: -wanda(layer)[row, j])
        held[row, order[: int(fixed * len(order))]] = True
        slow = slow_sparsefw(layer, row, problem.groups, start[row], held[row], 31)
        np.testing.assert_array_equal(masks[row], slow)
        assert answers[row].counters == {"oracle_calls": 31}
    assert masks[held].all()


def test_the_fixed_share_is_rounded_down_in_decimals():
    start = np.array([[True] * 100 + [False] * 4])
    saliency = np.arange(104.0)[None, :]
    for share, number in ((0.29, 29), (0.57, 57), (0.999, 99), (0.0, 0), (1.0, 100)):
        held = fixed_weights(start, saliency, share)
        assert list(np.flatnonzero(held)) == list(range(100 - number, 100))


@pytest.mark.parametrize("pattern", ["50%", "2:4", "1:4"])
@pytest.mark.parametrize("warm_start", ["wanda", "ria", "magnitude"])
def test_a_fixed_share_of_1_gives_the_warm_start(pattern, warm_start):
    layer = random_layer(9, 16, rows=3)
    masks, _ = solve("sparsefw", layer, pattern, fixed=1, warm_start=warm_start)
    np.testing.assert_array_equal(masks, solve(warm_start, layer, pattern)[0])
    masks, _ = solve("sparsefw", layer, pattern, iterations=0, warm_start=warm_start)
    np.testing.assert_array_equal(masks, solve(warm_start, layer, pattern)[0])


def test_one_step_by_hand():
    # Wanda prunes 0 and 1. z = (1, 1, 0, 0): gradient / 2 = w * G(w z) = (6, 14, 6, 8 * -1)
    masks, _ = solve("sparsefw", with_mean(I1_WEIGHT, I1_GRAM), "50%", fixed=0, iterations=1)
    gradient = I1_WEIGHT[0] * (I1_GRAM @ [1.0, 2, 0, 0])
    assert list(gradient) == [6, 14, 6, -8]
    assert list(masks[0]) == [False, True, True, False]
