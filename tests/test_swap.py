"""1-swap search: its formula by brute force, its end by an independent pass, ties, limits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from instances.errors import InputError, Refused
from instances.files import read_layer
from instances.layer import Layer
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers.base import Deadline, Limits, Stop, solve_batch
from solvers.swap import Swap
from solvers.swap_step import Rows
from tests.tiny import random_layer


def search(layer, pattern, solver=None, seed=0, start=None, rows=None, seconds=60.0, threads=1):
    problem = Problem.of(layer, parse_pattern(pattern), rows, start)
    limits = Limits(Deadline(seconds), threads=threads)
    return problem, solve_batch(solver or Swap(), problem, limits, seed)


def improving_pairs(row, mask):
    """Loss change of every exchange within a group, from scratch, as a share of its scale."""
    weight, gram, size = row.weight, row.layer.gram, row.groups.size
    z = (~mask).astype(float)
    c = gram @ (weight * z)
    a = -2 * weight * c + weight**2 * gram.diagonal()
    b = 2 * weight * c + weight**2 * gram.diagonal()
    delta = a[:, None] + b[None, :] - 2 * np.outer(weight, weight) * gram
    group = np.arange(row.n) // size
    legal = (~mask)[:, None] & mask[None, :] & (group[:, None] == group[None, :])
    scale = float((weight**2 * gram.diagonal() * z).sum())
    return delta[legal] / scale if scale else np.zeros(0)


def test_the_change_of_a_swap_is_what_recomputing_says():
    layer = random_layer(3, 12, rows=2)
    problem = Problem.of(layer, parse_pattern("2:4"))
    mask = problem.groups.prune_lowest(np.abs(layer.weight))
    rows = Rows.of(
        torch.from_numpy(layer.weight), torch.from_numpy(layer.gram), torch.from_numpy(mask), 4
    )
    for tile in (1 << 20, 1):
        delta, at_p, at_u = rows.best_swaps(tile)
        for r in range(2):
            row = problem.row(r)
            found = []
            for p in np.flatnonzero(~mask[r]):
                for u in np.flatnonzero(mask[r]):
                    if p // 4 == u // 4:
                        other = mask[r].copy()
                        other[[p, u]] = True, False
                        found.append((row.loss(other) - row.loss(mask[r]), p, u))
            best = min(found)
            assert float(delta[r]) == pytest.approx(best[0], rel=1e-10)
            assert int(rows.pruned[r].flatten()[at_p[r]]) == best[1]
            assert int(rows.kept[r].flatten()[at_u[r]]) == best[2]


@pytest.mark.parametrize("pattern", ["50%", "60%", "2:4"])
@pytest.mark.parametrize("n", [24, 200, 512])
def test_the_end_is_1_swap_optimal(n, pattern):
    problem, answers = search(random_layer(n, n, rows=3), pattern, Swap("random"))
    assert sum(answer.counters["swaps"] for answer in answers) > 0
    for row, answer in zip(problem, answers, strict=True):
        assert answer.stop is Stop.FINISHED
        assert improving_pairs(row, answer.mask).min() > -1e-10
        assert answer.claimed_objective == pytest.approx(row.loss(answer.mask), rel=1e-9)


@pytest.mark.parametrize("pattern", ["50%", "60%", "2:4"])
@pytest.mark.parametrize("number", [0, 1])
def test_known_totals_from_wanda(known: Path, number, pattern):
    """Total losses of a reference implementation: at most 0.1 % above them."""
    entry = json.loads((known / "known_layers.json").read_text())[number]
    layer = read_layer(known / entry["file"])
    problem, answers = search(layer, pattern, threads=2)
    total = sum(row.loss(a.mask) for row, a in zip(problem, answers, strict=True))
    assert total < entry[pattern]["wanda"]
    if "swap_from_wanda" in entry[pattern]:
        assert total <= entry[pattern]["swap_from_wanda"] * 1.001


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_any_batch_and_any_threads_give_the_same_masks(pattern):
    layer = random_layer(8, 64, rows=7)
    _, whole = search(layer, pattern)
    _, threaded = search(layer, pattern, threads=2)
    for row in range(7):
        _, (alone,) = search(layer, pattern, rows=range(row, row + 1))
        assert (alone.mask == whole[row].mask).all()
        assert (threaded[row].mask == whole[row].mask).all()
        assert alone.claimed_objective == whole[row].claimed_objective


@pytest.mark.parametrize("exponent", [-12, -8, 8, 18])
def test_the_scale_of_gram_and_weights_changes_no_mask(exponent):
    layer = random_layer(5, 32, rows=2)
    _, plain = search(layer, "50%")
    scaled = Layer.from_arrays(layer.weight * 2.0**exponent, layer.gram * 4.0**exponent)
    _, other = search(scaled, "50%")
    for a, b in zip(plain, other, strict=True):
        assert (a.mask == b.mask).all()


@pytest.mark.parametrize("warm_start", ["magnitude", "wanda", "ria", "obs", "random"])
def test_every_warm_start_is_improved(warm_start):
    layer = random_layer(6, 40, rows=2)
    problem, answers = search(layer, "50%", Swap(warm_start))
    _, begun = search(layer, "50%", Swap(warm_start, max_swaps=0))
    for row, a, b in zip(problem, answers, begun, strict=True):
        assert b.stop is Stop.ITERATIONS
        assert b.counters["swaps"] == 0
        assert row.loss(a.mask) <= row.loss(b.mask)


def test_max_swaps_is_kept_and_the_trace_falls():
    layer = random_layer(7, 64, rows=2)
    _, short = search(layer, "50%", Swap("random", max_swaps=3))
    _, full = search(layer, "50%", Swap("random"))
    for a, b in zip(short, full, strict=True):
        assert (a.counters["swaps"], a.stop) == (3, Stop.ITERATIONS)
        losses = [p.objective for p in b.trace]
        assert losses == sorted(losses, reverse=True)
        assert len(losses) <= 12
        assert losses[-1] == b.claimed_objective


def test_an_expired_deadline_keeps_the_start():
    layer = random_layer(7, 32, rows=2)
    problem, answers = search(layer, "50%", seconds=0.0)
    for answer in answers:
        assert answer.stop is Stop.TIME
        assert problem.groups.is_legal(answer.mask)


def _degenerate():
    x = np.random.default_rng(0).normal(size=(1, 8))
    equal = np.vstack([x, 3 * x, x + np.random.default_rng(1).normal(size=(1, 8))])
    return {
        "zero weights": (np.zeros((1, 6)), np.eye(6), "50%"),
        "zero gram": (np.ones((1, 6)), np.zeros((6, 6)), "50%"),
        "one column": (np.ones((1, 1)), np.eye(1), "keep=0"),
        "none pruned": (np.ones((1, 4)), np.eye(4), "0%"),
        "all pruned": (np.ones((1, 4)), np.eye(4), "100%"),
        "ties": (np.ones((1, 16)), np.eye(16), "50%"),
        "rank one": (np.ones((1, 16)), np.ones((16, 16)), "2:4"),
        "dead columns": (np.ones((1, 4)), np.diag([0.0, 0, 1, 2]), "50%"),
        "equal contributions": (np.array([[0.3, 0.1, 0.7]]), equal @ equal.T, "keep=2"),
        "equal contributions, two pruned": (np.array([[0.3, 0.1, 0.7]]), equal @ equal.T, "keep=1"),
    }


@pytest.mark.parametrize("case", _degenerate())
def test_degenerate_rows_end_at_once(case):
    weight, gram, pattern = _degenerate()[case]
    problem, (answer,) = search(Layer.from_arrays(weight, gram), pattern)
    assert answer.stop is Stop.FINISHED
    assert answer.counters["swaps"] < 10
    assert problem.groups.is_legal(answer.mask)


def test_equal_columns_never_cycle():
    """Two inputs that contribute the same: rounding must not make both directions improve."""
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(2, 8))
        inputs = np.vstack([x[0], 3 * x[0], x[1]])
        layer = Layer.from_arrays(np.array([[0.3, 0.1, 0.7]]), inputs @ inputs.T)
        for pattern in ("keep=1", "keep=2"):
            _, (answer,) = search(layer, pattern)
            assert answer.counters["swaps"] < 10


def test_long_searches_do_not_drift():
    """64 columns, one 300 times as large, thousands of swaps by restarting from random masks."""
    layer = random_layer(2, 64)
    weight = np.repeat(layer.weight, 200, axis=0)
    weight[:, 5] *= 300
    problem, answers = search(Layer.from_arrays(weight, layer.gram), "50%", Swap("random"))
    assert sum(a.counters["swaps"] for a in answers) > 1000
    for row, answer in zip(problem, answers, strict=True):
        assert answer.claimed_objective == pytest.approx(row.loss(answer.mask), rel=1e-9)


def test_a_given_start_is_used_and_left_alone():
    layer = random_layer(9, 16)
    problem = Problem.of(layer, parse_pattern("50%"))
    start = problem.groups.prune_lowest(-np.abs(layer.weight))
    before = start.copy()
    _, (answer,) = search(layer, "50%", Swap(max_swaps=0), start=start)
    assert (answer.mask == before[0]).all()
    search(layer, "50%", start=start)
    assert (start == before).all()


def test_a_device_that_is_not_there_is_refused():
    problem = Problem.of(random_layer(1, 8), parse_pattern("50%"))
    for device in ("cuda:7", "abacus"):
        with pytest.raises(Refused, match=device):
            Swap().solve_rows(problem, Limits(Deadline(1), device=device), 0)
    with pytest.raises(InputError, match="warm start"):
        Swap("nothing").solve_rows(problem, Limits(Deadline(1)), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: swap on CUDA not tested")
def test_cuda_gives_the_masks_of_the_cpu():
    layer = random_layer(4, 96, rows=8)
    problem = Problem.of(layer, parse_pattern("50%"))
    cpu, cuda = (
        Swap().solve_rows(problem, Limits(Deadline(60), device=d), 0) for d in ("cpu", "cuda")
    )
    for row, a, b in zip(problem, cpu, cuda, strict=True):
        assert row.loss(a.mask) == pytest.approx(row.loss(b.mask), rel=1e-6)
