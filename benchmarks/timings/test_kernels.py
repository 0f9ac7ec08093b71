"""Kernel timings by pytest-benchmark: `make micro`. Nothing here is asserted about time.

The plain 1-swap search (`benchmarks.timings.plain_swap`) forms the whole (rows, n, n) tensor of
pairs; `swap` is compared with it in one run on the same threads. `pairs` in the extra information
counts the feasible exchanges of all steps; pairs divided by the time is the throughput.
"""

import os

import numpy as np
import pytest
import torch

from maskgap.benchmarks.timings.plain_swap import plain_steps
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.sources.families import parse_family
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.protocol import Deadline, Limits

STEPS = 10


@pytest.fixture(autouse=True)
def _threads(benchmark):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    benchmark.extra_info["torch_threads"] = torch.get_num_threads()
    benchmark.extra_info["numpy"] = np.__version__
    benchmark.extra_info["torch"] = torch.__version__


@pytest.mark.parametrize("kernel", ["swap", "plain"])
@pytest.mark.parametrize(("rows", "n", "pattern"), [(48, 384, "50%"), (48, 384, "2:4"),
                                                    (48, 1024, "50%")])  # fmt: skip
def test_swaps(benchmark, kernel, rows, n, pattern):
    """STEPS best swaps a row from random masks; `pairs` is what all pairs of these steps are."""
    layer = parse_family(f"synthetic:n={n},rows={rows},correlation=0.3,seed=1").layer()
    problem = Problem.of(layer, parse_pattern(pattern))
    groups, threads = problem.groups, len(os.sched_getaffinity(0))
    benchmark.extra_info["pairs"] = STEPS * rows * groups.total_pruned * groups.kept
    mask = groups.prune_lowest(np.random.default_rng(0).random((rows, n)))
    limits = Limits(Deadline(600), threads=threads)
    begun = Problem.of(layer, parse_pattern(pattern), start=mask)
    if kernel == "swap":
        answers = benchmark(Swap(max_swaps=STEPS).solve_rows, begun, limits, 0)
        assert all(answer.counters["swaps"] == STEPS for answer in answers)
        return
    # float32, as it is usually written; float64 takes two to three times as long
    weight = torch.from_numpy(layer.weight / np.abs(layer.weight).max())
    gram = torch.from_numpy(layer.gram_unit[0])
    start = torch.from_numpy(mask)
    arguments = (weight.float(), gram.float(), start, groups.size, STEPS)
    benchmark.pedantic(plain_steps, args=arguments, rounds=3, warmup_rounds=1)
    reached = plain_steps(weight, gram, start, groups.size, STEPS).numpy()
    answers = Swap(max_swaps=STEPS).solve_rows(begun, limits, 0)
    assert (np.stack([answer.mask for answer in answers]) == reached).all()


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_swap_from_wanda_to_the_end(benchmark, pattern):
    """A whole search: 48 rows of 384 columns."""
    layer = parse_family("synthetic:n=384,rows=48,correlation=0.3,seed=1").layer()
    problem = Problem.of(layer, parse_pattern(pattern))
    limits = Limits(Deadline(60), threads=len(os.sched_getaffinity(0)))
    answers = benchmark(Swap().solve_rows, problem, limits, 0)
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
    row = Problem.of(layer, parse_pattern("50%")).part_of(0)
    mask = row.groups.prune_lowest(np.abs(row.weight))
    assert benchmark(row.loss, mask) > 0


@pytest.mark.parametrize("n", [64, 128, 192])
def test_semidefinite_relaxation(benchmark, n):
    layer = parse_family(f"synthetic:n={n},correlation=0.3,seed=1").layer()
    row = Problem.of(layer, parse_pattern("50%")).part_of(0)
    solution = benchmark.pedantic(
        solve_sdp, args=(row.quad, row.groups, Deadline(60)), rounds=3, warmup_rounds=1
    )
    assert solution.converged
