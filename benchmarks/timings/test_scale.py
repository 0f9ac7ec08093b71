"""1-swap and cheap bounds at the size of language models' layers: `make scale`.

Nothing is asserted about time. Synthetic layers with outlier features (`instances.sources.llm`).
1-swap starts from Wanda: `search_s` in the extra information is the search alone, from the first
loss noted to the last, without Wanda's masks and without putting the Gram onto the device; `swaps`
and `error_reduction` are of all rows. `peak_gib` is the memory that torch took on the device.
"""

import os
from functools import cache
from statistics import fmean

import pytest
import torch

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.sources.llm import parse_llm
from maskgap.solvers.bounds.shift_bound import ShiftBound
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.protocol import Deadline, Limits, solve_batch

CHECKED_ROWS = 4

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
)


@cache
def _layer(text):
    return parse_llm(text).layer()


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("layer", "pattern", "swaps"),
    [
        ("llm:rows=4096,n=4096,seed=1", "60%", 50),
        ("llm:rows=4096,n=4096,seed=1", "60%", 100),
        ("llm:rows=4096,n=4096,seed=1", "2:4", 100),
        ("llm:rows=512,n=14336,tokens=16384,seed=3", "60%", 20),
    ],
)
def test_swap(benchmark, layer, pattern, swaps, device):
    problem = Problem.of(_layer(layer), parse_pattern(pattern))
    threads = len(os.sched_getaffinity(0))
    warm = Problem.of(_layer(layer), parse_pattern(pattern), range(1))
    Swap(max_swaps=1).solve_rows(warm, Limits(Deadline(60), device=device), 0)  # compiles
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        benchmark.extra_info["card"] = torch.cuda.get_device_name()
    benchmark.extra_info["threads"] = threads

    def run():
        limits = Limits(Deadline(3600), threads=threads, device=device)
        return solve_batch(Swap(max_swaps=swaps), problem, limits, 0)

    answers = benchmark.pedantic(run, rounds=1)
    assert all(answer.claimed_objective is not None for answer in answers)
    first = min(answer.trace[0].seconds for answer in answers)
    last = max(answer.trace[-1].seconds for answer in answers)
    benchmark.extra_info["search_s"] = last - first
    benchmark.extra_info["swaps"] = fmean(answer.counters["swaps"] for answer in answers)
    before = sum(answer.trace[0].objective or 0.0 for answer in answers)
    after = sum(answer.claimed_objective or 0.0 for answer in answers)
    benchmark.extra_info["error_reduction"] = 1.0 - after / before
    if device == "cuda":
        benchmark.extra_info["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    print({"case": f"{layer} {pattern} T={swaps} {device}", **benchmark.extra_info})


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("n", [384, 1024, 2048, 4096])
def test_shift_bound(benchmark, n, device):
    """Bounds of all rows of n x n layers. share: of the error of `swap` after 10 swaps a row."""
    problem = Problem.of(_layer(f"llm:rows={n},n={n},seed=1"), parse_pattern("50%"))
    threads = len(os.sched_getaffinity(0))
    limits = Limits(Deadline(3600), threads=threads, device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        benchmark.extra_info["card"] = torch.cuda.get_device_name()
    benchmark.extra_info["threads"] = threads
    answers = benchmark.pedantic(lambda: solve_batch(ShiftBound(), problem, limits, 0), rounds=1)
    for row in range(CHECKED_ROWS):
        checked = check_part(problem.part_of(row), answers[row].proof)
        assert checked.bound >= answers[row].claimed_bound * (1 - 1e-9)
    masks = solve_batch(Swap(max_swaps=10), problem, limits, 0)
    error = sum(answer.claimed_objective or 0.0 for answer in masks)
    benchmark.extra_info["share"] = sum(answer.claimed_bound or 0.0 for answer in answers) / error
    if device == "cuda":
        benchmark.extra_info["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    print({"case": f"shift-bound {n} {device}", **benchmark.extra_info})
