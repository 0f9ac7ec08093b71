"""Search of many rows in step in torch, on the processor and on CUDA where there is a card."""

import numpy as np
import pytest
import torch

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.memetic import batch
from maskgap.solvers.local_search.memetic.device import search_rows
from maskgap.solvers.local_search.search import Search
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.one_shot.scores import starting_masks
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.tiny import brute_force, random_layer

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


def searched(problem, device, seed=0, population=4, swaps=-1, seconds=600.0):
    start = starting_masks(problem, "wanda", seed)
    limits = Limits(Deadline(seconds), device=device)
    return search_rows(problem, start, Terms(None, [seed], population, swaps), limits, 0.0), start


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pattern", ["50%", "2:4", "3:12"])
def test_rows_end_at_legal_masks_no_worse_than_swaps_and_repeat_themselves(pattern, device):
    problem = Problem.of(random_layer(3, 48, rows=5), parse_pattern(pattern))
    answers, start = searched(problem, device)
    again, _ = searched(problem, device)
    swaps = Swap().solve_rows(problem, Limits(Deadline(600)), 0)
    best = Search().solve_rows(problem, Limits(Deadline(600)), 0)
    for part, answer, other, plain, known, begun in zip(
        problem, answers, again, swaps, best, start, strict=True
    ):
        assert answer.stop is Stop.FINISHED
        assert part.groups.is_legal(answer.mask)
        assert (answer.mask == other.mask).all()
        loss = part.loss(answer.mask)
        assert answer.claimed_objective == pytest.approx(loss, rel=1e-9)
        assert loss <= part.loss(begun)
        assert loss <= part.loss(plain.mask) * (1 + 1e-9)
        assert loss <= part.loss(known.mask) * 1.02


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("pattern", "size", "pruned"), [("50%", 10, 5), ("1:2", 2, 1)])
def test_small_rows_reach_their_optimum(pattern, size, pruned, device):
    layer = random_layer(1, 10, rows=4)
    problem = Problem.of(layer, parse_pattern(pattern))
    answers, _ = searched(problem, device)
    for row, (part, answer) in enumerate(zip(problem, answers, strict=True)):
        best, _ = brute_force(layer.weight[row], layer.gram, size, pruned)
        assert part.loss(answer.mask) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("swaps", [0, 1, 7, 120])
def test_the_limit_of_swaps_is_kept(swaps):
    problem = Problem.of(random_layer(5, 64, rows=3), parse_pattern("50%"))
    answers, start = searched(problem, "cpu", swaps=swaps)
    for part, answer, begun in zip(problem, answers, start, strict=True):
        assert answer.stop is Stop.ITERATIONS
        assert answer.counters["swaps"] == swaps
        assert part.loss(answer.mask) <= part.loss(begun)


def test_the_clock_ends_walks_with_the_best_so_far():
    problem = Problem.of(random_layer(5, 128, rows=3), parse_pattern("50%"))
    answers, start = searched(problem, "cpu", population=10**6, seconds=1.0)
    for part, answer, begun in zip(problem, answers, start, strict=True):
        assert answer.stop is Stop.TIME
        assert part.loss(answer.mask) < part.loss(begun)


def test_no_swaps_and_single_masks_keep_their_start():
    for pattern in ("keep=0", "keep=24"):
        problem = Problem.of(random_layer(5, 24, rows=2), parse_pattern(pattern))
        answers, start = searched(problem, "cpu")
        for answer, begun in zip(answers, start, strict=True):
            assert (answer.mask == begun).all()


@pytest.mark.parametrize(("groups", "size"), [(1, 24), (6, 4)])
def test_walks_keep_their_sums_and_kicks_are_legal(groups, size):
    rng, rows = np.random.default_rng(2), 3
    inputs = rng.normal(size=(24, 60))
    gram = torch.as_tensor(inputs @ inputs.T, dtype=torch.float32)
    weight = torch.as_tensor(rng.normal(size=(rows, 24)), dtype=torch.float32)
    pruned = (torch.arange(24) % 2 == 0).repeat(rows, 1)
    random = torch.Generator("cpu").manual_seed(0)
    walks = batch.Walks(
        gram, weight, weight.square() * gram.diagonal(), groups, random, pruned.clone()
    )
    least = walks.least.clone()
    for _ in range(40):
        before = walks.pruned.clone()
        walks.walk(1)
        changed = walks.pruned != before
        assert (changed.sum(dim=1) == 2).all()
        assert (walks.pruned.view(rows, groups, size).sum(dim=2) == size // 2).all()
        image = weight * walks.pruned
        assert torch.allclose(walks.field, image @ gram, rtol=1e-4, atol=1e-3)
        loss = ((image @ gram) * image).sum(dim=1)
        assert torch.allclose(walks.loss, loss, rtol=1e-3)
        least = torch.minimum(least, loss)
    image = weight * walks.best
    assert torch.allclose(((image @ gram) * image).sum(dim=1), least, rtol=1e-3)
    best = walks.best.clone()
    for _ in range(10):
        walks.kick()
        assert (walks.pruned.view(rows, groups, size).sum(dim=2) == size // 2).all()
        assert (walks.best == best).all()
        assert ((walks.pruned != best).sum(dim=1) <= 2 * batch.KICK).all()
        assert (walks.pruned != best).any()
