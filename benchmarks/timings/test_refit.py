"""Weights re-optimised for the masks of whole layers, and swaps by their loss: `make scale`.

Nothing is asserted about time. Synthetic layers with outlier features (`instances.sources.llm`),
Wanda's masks, ridge 0.01. `row_ms` in the extra information is time a row; factorisations row by
row are timed on FACTOR_ROWS of the rows. `excess` is by how much the losses exceed those of
factorisations, at most, on these rows. `threads` are those that torch and BLAS may use.
"""

import os
import time
from functools import cache

import numpy as np
import pytest
import torch

from maskgap.instances.arrays import Kept
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.instances.refit import Solves
from maskgap.instances.sources.llm import parse_llm
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.one_shot.scores import starting_masks
from maskgap.solvers.protocol import Deadline, Limits, solve_batch, warm_up

FACTOR_ROWS = 8

LAYERS = ["llm:rows=1024,n=1024,seed=1", "llm:rows=4096,n=4096,seed=1"]

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
)


@cache
def _problem(layer, pattern, rows=None):
    chosen = None if rows is None else range(rows)
    return Problem.of(
        parse_llm(layer).layer(), parse_pattern(pattern), chosen, objective=objective_spec("refit")
    )


@cache
def _masks(layer, pattern):
    return starting_masks(_problem(layer, pattern), "wanda", 0)


def _note(benchmark, device):
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.extra_info["load"] = os.getloadavg()[0]
    if device == "cuda":
        benchmark.extra_info["card"] = torch.cuda.get_device_name()


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("way", ["cholesky", "gradients", "gradients, float32"])
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize("layer", LAYERS)
def test_refit(benchmark, layer, pattern, way, device):
    method, _, single = way.partition(", ")
    solves = Solves(method, single=bool(single), device=device)
    few = method == "cholesky" and device == "cpu"
    problem = _problem(layer, pattern, FACTOR_ROWS if few else None)
    masks = Kept(_masks(layer, pattern)[: len(problem)])
    first = _problem(layer, pattern, FACTOR_ROWS)
    _note(benchmark, device)
    found = benchmark.pedantic(lambda: problem.refitted(masks, solves), rounds=1)
    benchmark.extra_info["row_ms"] = 1e3 * benchmark.stats["mean"] / len(problem)
    own, wanted = found[:FACTOR_ROWS], first.refitted(Kept(masks[:FACTOR_ROWS]), Solves("cholesky"))
    matrix = first.part_of(0).hessian

    def losses(weights):
        change = first.weight - weights
        return np.einsum("ij,ij->i", change @ matrix, change)

    benchmark.extra_info["excess"] = float((losses(own) / losses(wanted)).max() - 1.0)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize(
    ("layer", "rows"), [("llm:rows=1024,n=1024,seed=1", 64), ("llm:rows=4096,n=4096,seed=1", 2)]
)
def test_swap(benchmark, layer, rows, pattern, precision, device):
    """On the processor the compiled walkers, which know float64 alone."""
    if device == "cpu" and precision != "float64":
        pytest.skip("compiled in float64")
    problem, solver = _problem(layer, pattern, rows), Swap(precision=precision)
    warm_up(solver)
    threads = len(os.sched_getaffinity(0))
    _note(benchmark, device)

    def run():
        limits = Limits(Deadline(3600), threads=threads, device=device)
        return solve_batch(solver, problem, limits, 0)

    begun = time.perf_counter()
    answers = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["row_s"] = (time.perf_counter() - begun) / rows
    benchmark.extra_info["swaps"] = sum(answer.counters["swaps"] for answer in answers)
    before = problem.losses(Kept(_masks(layer, pattern)[:rows])).sum()
    after = sum(answer.claimed_objective for answer in answers)
    benchmark.extra_info["reduction"] = 1.0 - after / before
