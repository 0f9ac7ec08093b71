"""Columns that every better mask keeps: by brute force, and in proofs."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.arrays import Kept
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.kept_columns import FARTHEST, OutlyingColumns
from maskgap.solvers.bounds.lowrank_bound import LowRankBound
from maskgap.solvers.protocol import Deadline, Limits
from tests.helpers.tiny import brute_force

N, OUTLYING = 12, (2, 5, 9)


def outlying_layer(seed, tiny=1e-6):
    """Inputs with three outlying features of one large mean; one weight in three is nearly 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, N))
    x[:, OUTLYING] = 40.0 * (x[:, OUTLYING] + 2.0)
    weight = rng.normal(size=(1, N))
    weight[0, list(OUTLYING)] = (1.0, -1.2, 0.8)
    weight[0, [0, 4, 7]] = tiny * rng.normal(size=3)
    return Layer.from_arrays(weight, x.T @ x)


def with_best_start(layer, pattern="50%"):
    problem = Problem.of(layer, parse_pattern(pattern))
    groups = problem.groups
    _, best = brute_force(problem.part_of(0).weight, layer.gram, groups.size, groups.pruned)
    start = np.ones((1, N), dtype=bool)
    start[0, list(best)] = False
    return replace(problem, start=Kept(start))


@pytest.mark.parametrize("tiny", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("seed", range(4))
def test_outlying_columns_are_found_and_their_bounds_hold(seed, tiny):
    problem = with_best_start(outlying_layer(seed, tiny))
    part = problem.part_of(0)
    found = OutlyingColumns(problem).of(part)
    assert set(OUTLYING) <= set(found.columns.tolist())
    assert np.abs(found.points).max() <= FARTHEST
    masks = np.concatenate(list(part.legal.equal_groups.enumerate_pruned()))
    for place, column in enumerate(found.columns):
        before = found.columns[:place]
        losses = [
            float(part.quad[np.ix_(z, z)].sum()) for z in masks if z[column] and not z[before].any()
        ]
        assert found.bounds[place] <= min(losses) * (1.0 + 1e-9)
        assert not found.points[place, before].any()


@pytest.mark.parametrize("seed", range(3))
def test_proofs_with_columns_taken_out_hold(seed):
    problem = with_best_start(outlying_layer(seed))
    answer = LowRankBound().solve_rows(problem, Limits(Deadline(60)), 0)[0]
    assert answer.counters["kept"] >= len(OUTLYING)
    part = problem.part_of(0)
    best = part.rescale(part.scaled_loss(part.start))
    checked = check_part(part, answer.proof)
    assert 0.5 * best < checked.bound <= best * (1.0 + 1e-9)
