"""Kernel timings by pytest-benchmark: `make micro`. Nothing here is asserted about time.

The plain 1-swap step forms the whole (rows, n, n) tensor of pairs; it is kept as the reference that
the tiled kernel is compared with, in one run on the same threads.
"""

import os

import numpy as np
import pytest
import torch

from instances.families import parse_family
from instances.groups import BudgetGroups
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers.base import Deadline
from solvers.bounds.semidefinite import solve_sdp
from solvers.swap_step import Rows

TILE = 1 << 22


@pytest.fixture(autouse=True)
def _threads(benchmark):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    benchmark.extra_info["torch_threads"] = torch.get_num_threads()
    benchmark.extra_info["numpy"] = np.__version__
    benchmark.extra_info["torch"] = torch.__version__


def _rows(count, n, pattern):
    layer = parse_family(f"synthetic:n={n},rows={count},correlation=0.3,seed=1").layer()
    problem = Problem.of(layer, parse_pattern(pattern))
    mask = problem.groups.prune_lowest(np.abs(layer.weight))
    tensors = (torch.from_numpy(a) for a in (layer.weight, layer.gram_unit[0], mask))
    return Rows.of(*tensors, problem.groups.size), mask


def plain_best_swaps(rows, mask, size):
    """delta, p, u of the best pair of each row, from the full tensor of pairs."""
    z = torch.from_numpy(~mask)
    square = rows.weight**2 * rows.gram.diagonal()
    cross = 2 * rows.weight * rows.correlation
    outer = rows.weight[:, :, None] * rows.weight[:, None, :] * rows.gram
    delta = (square - cross)[:, :, None] + (square + cross)[:, None, :] - 2 * outer
    group = torch.arange(mask.shape[1]) // size
    legal = z[:, :, None] & ~z[:, None, :] & (group[:, None] == group[None, :])
    flat = delta.masked_fill_(~legal, torch.inf).flatten(1)
    place = flat.argmin(dim=1)
    n = mask.shape[1]
    return flat.gather(1, place[:, None])[:, 0], place // n, place % n


@pytest.mark.parametrize(("count", "n", "pattern"), [(48, 384, "50%"), (48, 384, "2:4"),
                                                     (8, 1024, "50%")])  # fmt: skip
@pytest.mark.parametrize("kernel", ["tiled", "plain"])
def test_best_swaps(benchmark, kernel, count, n, pattern):
    rows, mask = _rows(count, n, pattern)
    size = rows.pruned.shape[2] + rows.kept.shape[2]
    expected, _, _ = plain_best_swaps(rows, mask, size)
    pairs = rows.pruned[0].numel() * rows.kept.shape[2] * count
    benchmark.extra_info["pairs"] = pairs
    if kernel == "tiled":
        found = benchmark(rows.best_swaps, TILE)
    else:
        found = benchmark(plain_best_swaps, rows, mask, size)
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "size"), [(384, 384), (384, 4), (4096, 4096), (4096, 4)])
def test_oracle(benchmark, n, size):
    groups = BudgetGroups(n, size, size // 2)
    gradient = np.random.default_rng(0).normal(size=n)
    vertex = benchmark(groups.oracle, gradient)
    assert groups.is_legal(~vertex)


@pytest.mark.parametrize("n", [16, 20])
def test_enumeration(benchmark, n):
    groups = BudgetGroups(n, n, n // 2)
    listed = benchmark(lambda: sum(len(block) for block in groups.enumerate_pruned()))
    assert listed == groups.masks


@pytest.mark.parametrize("n", [64, 384, 1024])
def test_loss_of_a_mask(benchmark, n):
    layer = parse_family(f"synthetic:n={n},seed=1").layer()
    row = Problem.of(layer, parse_pattern("50%")).row(0)
    mask = row.groups.prune_lowest(np.abs(row.weight))
    assert benchmark(row.loss, mask) > 0


@pytest.mark.parametrize("n", [64, 128, 192])
def test_semidefinite_relaxation(benchmark, n):
    layer = parse_family(f"synthetic:n={n},correlation=0.3,seed=1").layer()
    row = Problem.of(layer, parse_pattern("50%")).row(0)
    solution = benchmark.pedantic(
        solve_sdp, args=(row.quad, row.groups, Deadline(60)), rounds=3, warmup_rounds=1
    )
    assert solution.converged
