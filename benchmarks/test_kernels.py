"""Kernel timings by pytest-benchmark: `make micro`. Nothing here is asserted about time.

The plain 1-swap step forms the whole (rows, n, n) tensor of pairs; it is kept as the reference that
the tiled kernel is compared with, in one run on the same threads. `pairs` in the extra information
counts the feasible exchanges of a step; pairs divided by the time is the throughput.
"""

import os

import numpy as np
import pytest
import torch

from instances.families import parse_family
from instances.groups import BudgetGroups
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers.base import Deadline, Limits
from solvers.bounds.semidefinite import solve_sdp
from solvers.swap import CPU_TILE, Swap
from solvers.swap_step import Rows


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
    return Rows.of(*tensors, problem.groups.size, CPU_TILE), mask, problem


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
    rows, mask, problem = _rows(count, n, pattern)
    groups = problem.groups
    expected = plain_best_swaps(rows, mask, groups.size)
    benchmark.extra_info["pairs"] = count * groups.total_pruned * groups.kept
    if kernel == "tiled":
        found = benchmark(rows.best_swaps, CPU_TILE)
    else:
        found = benchmark(plain_best_swaps, rows, mask, groups.size)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-12)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])


@pytest.mark.parametrize("threads", sorted({1, len(os.sched_getaffinity(0))}))
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_swap_search(benchmark, pattern, threads):
    """A whole search from Wanda: 48 rows of 384 columns."""
    problem = _rows(48, 384, pattern)[2]
    benchmark.extra_info["torch_threads"] = threads
    answers = benchmark.pedantic(
        lambda: Swap().solve_rows(problem, Limits(Deadline(60), threads=threads), 0),
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info["swaps"] = sum(a.counters["swaps"] for a in answers)
    assert all(a.stop == "finished" for a in answers)


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
