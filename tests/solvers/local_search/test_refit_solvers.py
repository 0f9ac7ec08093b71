"""swap and search under refit: local optima, devices, threads, settings, limits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.refit_swap import batch
from maskgap.solvers.local_search.search import Search
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop, solve_batch
from tests.helpers.tiny import random_layer

REFIT = objective_spec("refit", 0.01)
PATTERNS = ["50%", "2:4", "keep=5", "4:8"]


def problem_of(text, seed=1, n=24, rows=3, scale=1.0):
    layer = random_layer(seed, n, rows)
    layer = Layer.from_arrays(layer.weight, layer.gram * scale)
    return Problem.of(layer, parse_pattern(text), objective=REFIT)


def solve(solver, problem, **given):
    limits = Limits(Deadline(given.pop("seconds", 60.0)), **given)
    return solve_batch(solver, problem, limits, 0)


def refit(layer, row, kept):
    """The loss by least squares over the kept columns."""
    hessian = layer.gram + 0.01 * layer.gram.diagonal().mean() * np.eye(layer.d_in)
    root, weight = np.linalg.cholesky(hessian).T, layer.weight[row]
    own = np.linalg.lstsq(root[:, kept], root @ weight, rcond=None)[0]
    return float(((root[:, kept] @ own - root @ weight) ** 2).sum())


def check_local_optimum(problem, row, answer):
    groups, mask = problem.groups, answer.mask
    loss = refit(problem.layer, row, mask)
    assert groups.is_legal(mask)
    assert_allclose(answer.claimed_objective, loss, rtol=1e-9)
    for j in np.flatnonzero(mask):
        for i in np.flatnonzero(~mask):
            if i // groups.size == j // groups.size:
                other = mask.copy()
                other[j], other[i] = False, True
                assert refit(problem.layer, row, other) >= loss * (1 - 1e-9)


@pytest.mark.parametrize("text", PATTERNS)
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # compiled, and torch on the processor
def test_swap_ends_where_no_exchange_improves(text, device):
    problem = problem_of(text)
    answers = solve(Swap("random"), problem, device=device)
    assert sum(answer.counters["swaps"] for answer in answers) > 3
    for row, answer in enumerate(answers):
        assert answer.stop is Stop.FINISHED
        check_local_optimum(problem, row, answer)
        losses = [point.objective for point in answer.trace]
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] == answer.claimed_objective


@pytest.mark.parametrize("text", PATTERNS)
def test_rows_of_a_batch_end_as_they_do_alone(text, monkeypatch):
    """Threads, a device, float32 first, few rows at a time: the same course, to the same end."""
    problem = problem_of(text, seed=2, rows=5)
    plain = solve(Swap(), problem)
    monkeypatch.setattr(batch, "REFRESH_STEPS", 3)
    several = solve(Swap(), problem, threads=2)
    torch = solve(Swap(), problem, device="cpu:0")
    room = 2 * batch.TABLES * 25**2 * 8 / (2 * batch.MEMORY_SHARE) + 1000
    monkeypatch.setattr(batch, "ASSUMED_MEMORY", int(room))
    assert batch.Device("cpu:0").load(np.eye(24), problem.groups, 5) == 2
    pairs = solve(Swap(), problem, device="cpu:0")
    for others in (several, torch, pairs):
        for one, other in zip(plain, others, strict=True):
            assert (one.mask == other.mask).all()
            assert one.counters == other.counters
            assert_allclose(one.claimed_objective, other.claimed_objective, rtol=1e-9)
    coarse = solve(Swap(precision="float32"), problem, device="cpu:0")
    for row, answer in enumerate(coarse):
        check_local_optimum(problem, row, answer)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_limits_of_swaps_and_of_time(device):
    problem = problem_of("50%", seed=3)
    whole = solve(Swap("random"), problem, device=device)
    assert max(answer.counters["swaps"] for answer in whole) > 2
    for most in (0, 2):
        for row, answer in enumerate(solve(Swap("random", max_swaps=most), problem, device=device)):
            assert answer.counters["swaps"] == min(most, whole[row].counters["swaps"])
            assert_allclose(
                answer.claimed_objective, refit(problem.layer, row, answer.mask), rtol=1e-9
            )
            if answer.counters["swaps"] < whole[row].counters["swaps"]:
                assert answer.stop is Stop.ITERATIONS
    for answer in solve(Swap("random"), problem, device=device, seconds=0.0):
        assert answer.stop is Stop.TIME
        assert answer.claimed_objective is None
        assert problem.groups.is_legal(answer.mask)


@pytest.mark.parametrize("text", ["50%", "2:4"])
def test_scale_and_column_order_change_masks_and_losses_alike(text):
    problem, other = (problem_of(text, seed=4, scale=scale) for scale in (1.0, 2.0**-30))
    for solver in (Swap(), Search(population=64)):
        for one, two in zip(solve(solver, problem), solve(solver, other), strict=True):
            assert (one.mask == two.mask).all()
            assert two.claimed_objective == np.ldexp(one.claimed_objective, -30)


def test_search_is_no_worse_than_swap_and_reports_what_it_finds():
    problem = problem_of("50%", seed=5, n=40, rows=1)
    (swap,) = solve(Swap(), problem)
    seen = []
    journal = Journal(lambda mask, loss: seen.append((mask.copy(), loss)))
    (search,) = solve(Search(), problem, journal=journal)
    check_local_optimum(problem, 0, search)
    assert search.stop is Stop.FINISHED
    assert search.claimed_objective <= swap.claimed_objective * (1 + 1e-12)
    assert seen[-1][1] == search.claimed_objective
    for mask, loss in seen:
        assert_allclose(refit(problem.layer, 0, mask), loss, rtol=1e-9)


@pytest.mark.parametrize("solver", [Swap(loss="mask"), Search(loss="mask", population=16)])
@pytest.mark.parametrize("text", ["50%", "layer:50%"])
def test_masks_of_the_mask_loss_claim_nothing(solver, text):
    problem = problem_of(text, seed=6)
    plain = Problem.of(problem.layer, problem.pattern)
    for one, two in zip(solve(solver, problem), solve(solver, plain), strict=True):
        assert (one.mask == two.mask).all()
        assert one.claimed_objective is None
        assert two.claimed_objective is not None
        assert one.trace == ()


@pytest.mark.parametrize("share", ["0%", "100%"])
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_one_legal_mask(share, device):
    problem = problem_of(share, seed=7)
    for answer in solve(Swap(), problem, device=device):
        assert answer.stop is Stop.FINISHED
        assert answer.mask.all() == (share == "0%")


def test_float32_that_cannot_factorise_is_refused_in_words():
    random = np.random.default_rng(8)
    inputs = random.normal(size=(24, 5))
    layer = Layer.from_arrays(random.normal(size=(2, 24)), inputs @ inputs.T)
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit", 1e-9))
    with pytest.raises(Refused, match="float32 shows"):
        solve(Swap(precision="float32"), problem, device="cpu:0")
    assert all(answer.mask is not None for answer in solve(Swap(), problem, device="cpu:0"))


@pytest.mark.parametrize("seed", range(24))
def test_degenerate_rows_end_at_their_optimum(seed):
    """Zero weights, dead and equal columns, few tokens, tiny ridges: no circles, no poor end."""
    random = np.random.default_rng([53, seed])
    n = int(random.choice([1, 4, 8]))
    inputs = random.normal(size=(int(random.integers(1, 2 * n + 2)), n))
    if seed % 2 and n > 1:
        inputs[:, 1] = inputs[:, 0]
    if seed % 3 == 0:
        inputs[:, random.integers(n)] = 0.0
    weight = random.normal(size=(3, n))
    weight[0] = 0.0
    weight[1] = np.round(weight[1])
    if not inputs.any():
        inputs[0] = 1.0
    ridge = objective_spec("refit", float(random.choice([1e-8, 1e-4, 0.01, 1.0])))
    layer = Layer.from_arrays(weight, inputs.T @ inputs * 10.0 ** random.integers(-12, 20))
    texts = ["50%", "layer:50%", "keep=1"] + (["2:4", "1:4", "50%;block=2"] if n > 1 else [])
    for text in texts:
        problem = Problem.of(layer, parse_pattern(text), objective=ridge)
        for solver in (Swap("random"), Search(population=64), Search("none", population=64)):
            for part, answer in zip(problem, solve(solver, problem), strict=True):
                assert answer.stop is Stop.FINISHED
                assert answer.counters["swaps"] < 10_000
                assert part.legal.is_legal(answer.mask)
                loss, nothing = part.loss(answer.mask), part.loss(Kept(answer.mask & False))
                assert_allclose(answer.claimed_objective, loss, rtol=1e-6, atol=1e-12 * nothing)
                if isinstance(solver, Search) and part.legal.masks < 3000:
                    masks = (p for block in part.legal.enumerate_pruned() for p in block)
                    best = min(part.loss(Kept(~pruned)) for pruned in masks)
                    assert loss <= best * (1 + 1e-6) + 1e-10 * nothing
