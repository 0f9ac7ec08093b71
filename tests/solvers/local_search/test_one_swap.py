"""The best 1-swap: every implementation makes, bit for bit, the choice that all pairs give."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.one_swap import batch, compiled, rule
from maskgap.solvers.local_search.one_swap.batch import Device
from maskgap.solvers.local_search.one_swap.block import Processor, Tables
from maskgap.solvers.local_search.one_swap.course import Course, next_mark
from maskgap.solvers.local_search.one_swap.tensors import Plain, Rows, Shared
from maskgap.solvers.protocol import Deadline, Stop
from tests.helpers.tiny import random_layer

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TORCH_DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


def delta_of_all_pairs(weight, gram, mask, size, c):
    """(n, n) float64 by the formula of the rule; infinite on pairs that may not be exchanged."""
    square = weight * weight * gram.diagonal()
    cross = 2.0 * weight * c
    pairs = gram * weight * (-2.0 * weight)[:, None] + (square + cross)
    delta = (square - cross)[:, None] + pairs
    group = np.arange(len(weight)) // size
    legal = ~mask[:, None] & mask & (group[:, None] == group)
    return np.where(legal, delta, np.inf)


def summed(weight, gram, mask):
    c = np.zeros(len(weight))
    for p in np.flatnonzero(~mask):
        c = c + weight[p] * gram[p]
    return c


def plain_search(weight, gram, mask, size, most=10**9):
    """(mask, swaps) of one row by looking at all pairs: the reference."""
    mask, swaps, least = mask.copy(), 0, np.inf
    square = weight * weight * gram.diagonal()
    if mask.all() or not mask.any():
        return mask, 0
    fresh, c = True, summed(weight, gram, mask)
    threshold = -rule.IMPROVEMENT * square[~mask].sum()
    while True:
        if swaps % rule.REFRESH_SWAPS == 0:
            fresh, c = True, summed(weight, gram, mask)
            threshold = -rule.IMPROVEMENT * square[~mask].sum()
            loss = float((weight * c)[~mask].sum())
            if loss >= least:
                return mask, swaps
            least = loss
        if swaps == most:
            return mask, swaps
        delta = delta_of_all_pairs(weight, gram, mask, size, c)
        p, u = divmod(int(delta.argmin()), len(weight))
        if delta[p, u] >= threshold:
            if fresh:
                return mask, swaps
            fresh, c = True, summed(weight, gram, mask)
            threshold = -rule.IMPROVEMENT * square[~mask].sum()
            continue
        c = (c + weight[u] * gram[u]) - weight[p] * gram[p]
        mask[p], mask[u], fresh = True, False, False
        swaps += 1


def run(engine, weight, gram, groups, mask, max_swaps=-1):
    """Answers of an engine, in batches of its choice."""
    height = engine.load(gram, groups, len(weight))
    answers = []
    for top in range(0, len(weight), height):
        part = slice(top, top + height)
        course = Course(np.zeros(len(weight[part]), dtype=np.int64), 0.0)
        start = mask[part].copy()
        answers += engine.descend(weight[part], start, course, max_swaps, Deadline(600.0))
    return answers


def awkward_layer(seed, n, rows):
    """Columns that are equal, dead, nearly equal, or a thousand times the others; low rank."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, max(2, n // 2)))
    inputs[rng.integers(n, size=3)] = 0.0
    inputs[rng.integers(n)] *= 1000.0
    inputs[rng.integers(n)] = inputs[0]
    inputs[rng.integers(n)] = 3.0 * inputs[1]
    inputs[rng.integers(n)] = inputs[2] + 1e-9 * rng.normal(size=inputs.shape[1])
    weight = rng.normal(size=(rows, n))
    weight[:, rng.integers(n, size=2)] = 0.0
    weight[:, 1] = weight[:, 0]
    return weight, inputs @ inputs.T


@given(st.integers(0, 10**6), st.sampled_from([(40, 20), (48, 47), (64, 1), (36, 30)]))
def test_no_pair_that_could_win_is_passed_over(seed, shape):
    """Masks and numbers of swaps equal those of the search over all pairs."""
    n, pruned = shape
    weight, gram = awkward_layer(seed, n, 2)
    groups = BudgetGroups(n, n, pruned)
    mask = groups.prune_lowest(np.random.default_rng(seed).random((2, n)))
    for answer, w, start in zip(run(PROCESSOR, weight, gram, groups, mask), weight, mask,
                                strict=True):  # fmt: skip
        end, swaps = plain_search(w, gram, start, n)
        assert (answer.mask == end).all()
        assert answer.counters["swaps"] == swaps


PROCESSOR = Processor(1)


@pytest.mark.parametrize("pattern", ["50%", "keep=1", "keep=95", "2:4", "1:8", "24:48", "3:4"])
@pytest.mark.parametrize("outliers", [1.0, 300.0])
@pytest.mark.parametrize("device", TORCH_DEVICES)
def test_every_engine_makes_the_choice_of_all_pairs(pattern, outliers, device):
    layer = random_layer(4, 96, rows=5)
    scale = np.where(np.arange(96) % 17 == 3, outliers, 1.0)
    gram = layer.gram * np.outer(scale, scale)
    problem = Problem.of(Layer.from_arrays(layer.weight, gram), parse_pattern(pattern))
    groups = problem.groups
    mask = groups.prune_lowest(np.random.default_rng(1).random(layer.weight.shape))
    ours = run(PROCESSOR, layer.weight, gram, groups, mask)
    other = run(Device(device), layer.weight, gram, groups, mask)
    assert sum(answer.counters["swaps"] for answer in ours) > 0
    for row in range(5):
        end, swaps = plain_search(layer.weight[row], gram, mask[row], groups.size)
        for answer in (ours[row], other[row]):
            assert answer.stop is Stop.FINISHED
            assert answer.counters["swaps"] == swaps
            assert (answer.mask == end).all()
        assert [p.swaps for p in ours[row].trace] == [p.swaps for p in other[row].trace]


@pytest.mark.parametrize("device", TORCH_DEVICES)
def test_awkward_rows_end_alike_on_every_engine(device):
    for seed in range(6):
        weight, gram = awkward_layer(seed, 48, 3)
        for size, pruned in ((48, 24), (4, 2), (48, 0), (48, 48)):
            groups = BudgetGroups(48, size, pruned)
            mask = groups.prune_lowest(np.random.default_rng(seed).random((3, 48)))
            ours = run(PROCESSOR, weight, gram, groups, mask)
            other = run(Device(device), weight, gram, groups, mask)
            for a, b in zip(ours, other, strict=True):
                assert (a.mask == b.mask).all()
                assert groups.is_legal(a.mask)
                assert a.counters == b.counters


def test_the_bounds_pass_over_most_pairs_of_a_correlated_layer():
    """What makes it fast: on a layer of the known kind few columns need be looked at."""
    layer = random_layer(3, 256)
    weight, gram = layer.weight[0], layer.gram
    tables = Tables.of(gram, BudgetGroups(256, 256, 128))
    mask = BudgetGroups(256, 256, 128).prune_lowest(np.abs(weight))
    c = summed(weight, gram, mask)
    delta = delta_of_all_pairs(weight, gram, mask, 256, c)
    square = weight * weight * gram.diagonal()
    a, b = square - 2 * weight * c, square + 2 * weight * c
    r = np.abs(weight) * tables.norms
    lines = b[mask] - 2.0 * np.abs(weight)[:, None] * tables.reach[:, None] * r[mask]
    bound = (a + lines.min(axis=1))[~mask]
    assert (bound <= delta[~mask].min(axis=1) + 1e-9).all()
    assert (bound <= delta.min()).mean() < 0.5


@pytest.mark.parametrize("rows", [1, 16, 37])
def test_the_sum_of_a_row_does_not_depend_on_the_rows_beside_it(rows):
    layer = random_layer(2, 300, rows=rows)
    mask = np.random.default_rng(0).random((rows, 300)) < 0.5
    c = np.empty((rows, 300))
    compiled.sum_afresh(layer.weight, layer.gram, mask, c)
    for w, m, ours in zip(layer.weight, mask, c, strict=True):
        assert (ours == summed(w, layer.gram, m)).all()
    pruned_weight = torch.from_numpy(np.where(mask, 0.0, layer.weight))
    assert (Plain().sum_afresh(pruned_weight, torch.from_numpy(layer.gram)).numpy() == c).all()


def test_norms_and_reach_bound_every_entry_also_of_an_indefinite_gram():
    rng = np.random.default_rng(0)
    gram = rng.normal(size=(12, 12))
    gram = gram + gram.T
    np.fill_diagonal(gram, np.abs(gram.diagonal()))
    gram[3, 3] = gram[4, 4] = 0.0
    gram[5] = gram[:, 5] = 0.0
    d, rho = compiled.norms_and_reach(gram)
    away = gram - np.diag(gram.diagonal())
    assert (np.abs(away) <= np.outer(rho, d) * (1 + 1e-12)).all()
    assert rho[5] == d[5] == 0.0


def test_the_batch_of_a_device_shrinks_to_its_memory(monkeypatch):
    layer = random_layer(8, 72, rows=7)
    groups = BudgetGroups(72, 72, 36)
    mask = groups.prune_lowest(np.abs(layer.weight))
    whole = run(Device("cpu"), layer.weight, layer.gram, groups, mask)
    monkeypatch.setattr(batch, "ASSUMED_MEMORY", 8 * 4 * 72 * batch.ROW_VECTORS * 2)
    engine = Device("cpu")
    assert engine.load(layer.gram, groups, 7) == 2
    parts = run(engine, layer.weight, layer.gram, groups, mask)
    for a, b in zip(whole, parts, strict=True):
        assert (a.mask == b.mask).all()
        assert a.claimed_objective == b.claimed_objective


def test_rows_of_a_device_can_be_cut_by_the_clock_and_by_number():
    layer = random_layer(8, 72, rows=3)
    groups = BudgetGroups(72, 72, 36)
    mask = groups.prune_lowest(np.random.default_rng(0).random((3, 72)))
    device = Device("cpu")
    for answer in run(device, layer.weight, layer.gram, groups, mask, 3):
        assert (answer.stop, answer.counters["swaps"]) == (Stop.ITERATIONS, 3)
        assert groups.is_legal(answer.mask)
    course = Course(np.zeros(3, dtype=np.int64), 0.0)
    for answer, start in zip(
        device.descend(layer.weight, mask.copy(), course, -1, Deadline(0.0)), mask, strict=True
    ):
        assert answer.stop is Stop.TIME
        assert (answer.mask == start).all()


def test_marks_go_on_beyond_the_last():
    seen, swaps = [], -1
    while swaps < 30000:
        swaps = next_mark(swaps)
        seen.append(swaps)
    assert seen[:6] == [0, 1, 2, 5, 10, 25]
    assert seen[-3:] == [10000, 20000, 40000]


@CUDA
def test_fused_kernels_give_the_bits_of_the_plain_ones():
    pytest.importorskip("triton")
    from maskgap.solvers.local_search.one_swap.fused import Fused

    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, device="cuda", generator=generator)

    fused, plain = Fused(), Plain()
    for rows, n, size in ((5, 70, 70), (17, 192, 96), (3, 1200, 1200), (4, 64, 4)):
        gram, weight, b = normal(n, n), normal(rows, n), normal(rows, n)
        b[b < -0.5] = torch.inf
        assert torch.equal(fused.sum_afresh(weight, gram), plain.sum_afresh(weight, gram))
        lines = (normal(rows, n // size, size), normal(rows, n // size, 128), normal(rows, 128))
        assert torch.equal(fused.bounds(*lines), plain.bounds(*lines))
        row = torch.arange(40, device="cuda") % rows
        p = torch.arange(40, device="cuda") * 7 % n
        items = (row, p, weight, b, normal(n, size))
        assert torch.equal(fused.least(*items, tile=1 << 20), plain.least(*items, tile=100))


def test_the_torch_step_gives_the_change_that_recomputing_gives():
    problem = Problem.of(random_layer(3, 40, rows=3), parse_pattern("50%"))
    mask = problem.groups.prune_lowest(np.abs(problem.weight))
    tables = Tables.of(problem.layer.gram, problem.groups)
    shared = Shared.of(tables, torch.device("cpu"))
    rows = Rows.of(shared, Plain(), torch.from_numpy(problem.weight), torch.from_numpy(mask))
    change, p, u = rows.best_swaps(1000)
    for r, row in enumerate(problem):
        other = mask[r].copy()
        other[[p[r], u[r]]] = True, False
        assert float(change[r]) == pytest.approx(row.loss(other) - row.loss(mask[r]), rel=1e-9)
