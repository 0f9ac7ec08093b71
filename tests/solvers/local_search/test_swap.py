"""1-swap search as a solver: its end by an independent pass, ties, limits, degenerate rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.one_swap import block, rule
from maskgap.solvers.local_search.one_swap.course import MARKS
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.protocol import Deadline, Limits, Stop, solve_batch
from tests.helpers.tiny import random_layer

PATTERNS = ["50%", "60%", "2:4", "1:8"]


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


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n", [40, 200, 512])
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
    for row, answer in zip(problem, answers, strict=True):
        assert answer.stop is Stop.FINISHED
        assert improving_pairs(row, answer.mask).min() > -1e-10
    total = sum(row.loss(a.mask) for row, a in zip(problem, answers, strict=True))
    assert total < entry[pattern]["wanda"]
    if "swap_from_wanda" in entry[pattern]:
        assert total <= entry[pattern]["swap_from_wanda"] * 1.001


@pytest.mark.parametrize("pattern", PATTERNS)
def test_any_batch_and_threads_give_the_same_bits(pattern, monkeypatch):
    layer = random_layer(8, 72, rows=7)
    _, whole = search(layer, pattern, Swap("random"))
    _, threaded = search(layer, pattern, Swap("random"), threads=3)
    monkeypatch.setattr(block, "BLOCK_ROWS", 2)
    _, pairs = search(layer, pattern, Swap("random"))
    monkeypatch.setattr(block, "CALL_PAIRS", 1)
    _, stepped = search(layer, pattern, Swap("random"))
    for row in range(7):
        _, (alone,) = search(layer, pattern, Swap("random"), rows=range(row, row + 1))
        for other in (threaded[row], pairs[row], stepped[row], alone):
            assert (other.mask == whole[row].mask).all()
            assert other.claimed_objective == whole[row].claimed_objective
            assert other.counters == whole[row].counters


@pytest.mark.parametrize("exponent", [-12, -8, -4, 4, 12, 18])
def test_the_scale_of_gram_and_weights_changes_no_mask(exponent):
    layer = random_layer(5, 32, rows=2)
    problem, plain = search(layer, "50%")
    for weights, grams in ((1.0, 10.0**exponent), (2.0**exponent, 4.0**exponent)):
        scaled = Layer.from_arrays(layer.weight * weights, layer.gram * grams)
        _, other = search(scaled, "50%")
        for row, a, b in zip(problem, plain, other, strict=True):
            assert (a.mask == b.mask).all()
            loss = row.loss(a.mask) * weights**2 * grams
            assert b.claimed_objective == pytest.approx(loss, rel=1e-9)


@given(st.integers(0, 10**6), st.sampled_from(["50%", "keep=3", "2:4"]))
def test_permuted_columns_give_the_permuted_end(seed, pattern):
    """Columns move among the groups and within them; continuous data have no ties."""
    layer = random_layer(seed % 1000, 16)
    rng = np.random.default_rng(seed)
    size = 4 if ":" in pattern else 16
    blocks = [size * g + rng.permutation(size) for g in rng.permutation(16 // size)]
    order = np.concatenate(blocks)
    _, (plain,) = search(layer, pattern)
    moved = Layer.from_arrays(layer.weight[:, order], layer.gram[np.ix_(order, order)])
    _, (other,) = search(moved, pattern)
    assert other.claimed_objective == pytest.approx(plain.claimed_objective, rel=1e-9)
    assert (other.mask == plain.mask[order]).all()


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
        assert losses[-1] == b.claimed_objective
        at = [p.swaps for p in b.trace]
        assert at == [mark for mark in MARKS if mark < at[-1]] + [b.counters["swaps"]]


class Countdown(Deadline):
    """Ends after a number of looks, by time or by an interrupt."""

    def __init__(self, looks, interrupt):
        super().__init__(3600.0)
        self.looks, self.ends_by_interrupt = looks, interrupt

    def expired(self):
        self.looks -= 1
        if self.looks < 0 and self.ends_by_interrupt:
            self.interrupt()
        return self.looks < 0


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize(("interrupt", "stop"), [(False, Stop.TIME), (True, Stop.INTERRUPTED)])
@pytest.mark.parametrize("looks", [0, 1, 6])
def test_a_run_cut_short_keeps_what_it_has(looks, interrupt, stop, pattern, monkeypatch):
    monkeypatch.setattr(block, "CALL_PAIRS", 1)
    problem = Problem.of(random_layer(7, 64), parse_pattern(pattern))
    begun = Swap("random", max_swaps=0).solve_rows(problem, Limits(Deadline(60)), 0)
    answers = Swap("random").solve_rows(problem, Limits(Countdown(looks, interrupt)), 0)
    for row, before, answer in zip(problem, begun, answers, strict=True):
        assert answer.stop is stop
        assert problem.groups.is_legal(answer.mask)
        assert answer.counters["swaps"] == max(0, looks - 1)
        if looks == 0:  # its turn had not come
            assert answer.claimed_objective is None
            assert (answer.mask == before.mask).all()
        else:
            assert answer.claimed_objective == pytest.approx(row.loss(answer.mask), rel=1e-12)
        if looks > 1:
            assert row.loss(answer.mask) < row.loss(before.mask)


def test_rows_whose_turn_has_not_come_keep_their_start(monkeypatch):
    monkeypatch.setattr(block, "BLOCK_ROWS", 1)
    monkeypatch.setattr(block, "CALL_PAIRS", 1)
    problem = Problem.of(random_layer(7, 64, rows=3), parse_pattern("50%"))
    first, *rest = Swap("random").solve_rows(problem, Limits(Countdown(4, False)), 0)
    assert first.counters["swaps"] == 3
    assert [a.counters["swaps"] for a in rest] == [0, 0]
    assert all(problem.groups.is_legal(a.mask) and a.stop is Stop.TIME for a in rest)


def _degenerate():
    x = np.random.default_rng(0).normal(size=(1, 8))
    equal = np.vstack([x, 3 * x, x + np.random.default_rng(1).normal(size=(1, 8))])
    tokens = np.random.default_rng(2).normal(size=(16, 2))
    return {
        "zero weights": (np.zeros((1, 6)), np.eye(6), "50%"),
        "zero gram": (np.ones((1, 6)), np.zeros((6, 6)), "50%"),
        "one column": (np.ones((1, 1)), np.eye(1), "keep=0"),
        "none pruned": (np.ones((1, 4)), np.eye(4), "0%"),
        "all pruned": (np.ones((1, 4)), np.eye(4), "100%"),
        "ties": (np.ones((1, 16)), np.eye(16), "50%"),
        "rank one": (np.ones((1, 16)), np.ones((16, 16)), "2:4"),
        "dead columns": (np.ones((1, 4)), np.diag([0.0, 0, 1, 2]), "50%"),
        "two tokens": (np.arange(1.0, 17)[None], tokens @ tokens.T, "50%"),
        "zero weights among others": (np.array([[0.0, -0.0, 3, 4]]), np.eye(4), "keep=2"),
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
    assert answer.claimed_objective == pytest.approx(
        problem.part_of(0).loss(answer.mask), abs=1e-12
    )


@pytest.mark.parametrize("n", [8, 16, 17, 64, 1000])
def test_ties_go_to_the_lowest_columns(n):
    """Equal columns: the start prunes the lowest, and no exchange is one that improves."""
    lowest = np.arange(n) >= 3
    for gram in (np.eye(n), np.zeros((n, n)), np.ones((n, n))):
        _, answers = search(Layer.from_arrays(np.ones((2, n)), gram), f"keep={n - 3}")
        for answer in answers:
            assert (answer.mask == lowest).all()
            assert answer.counters["swaps"] == 0


def test_among_equal_exchanges_the_lowest_columns_go_first():
    """From the four dearest of eight in two equal quadruples: 0 and 4, then 1 and 5, ..."""
    layer = Layer.from_arrays(np.array([[2.0] * 4 + [1.0] * 4]), np.eye(8))
    start = np.array([[False] * 4 + [True] * 4])
    for swaps in range(5):
        _, (answer,) = search(layer, "50%", Swap(max_swaps=swaps), start=start)
        kept = set(range(swaps)) | set(range(4 + swaps, 8))
        assert set(np.flatnonzero(answer.mask)) == kept


def test_a_dead_column_is_pruned_whatever_its_weight():
    layer = Layer.from_arrays(np.array([[100.0, 1, 1]]), np.diag([0.0, 4, 9]))
    _, (answer,) = search(layer, "keep=2", Swap("magnitude"))
    assert (answer.mask == [False, True, True]).all()
    assert answer.claimed_objective == 0.0


def test_zero_weights_fill_the_budget():
    layer = Layer.from_arrays(np.array([[3.0, 0.0, 4.0, -0.0]]), np.eye(4))
    for keep, loss in ((2, 0.0), (3, 0.0), (1, 9.0)):
        _, (answer,) = search(layer, f"keep={keep}", Swap("random"))
        assert answer.mask.sum() == keep
        assert answer.claimed_objective == loss


def test_a_search_that_gets_no_better_ends(monkeypatch):
    """Were every exchange taken for an improvement, the freshly summed loss would end the run."""
    monkeypatch.setattr(rule, "IMPROVEMENT", -1e3)
    problem, (answer,) = search(random_layer(3, 24), "50%", seconds=20.0)
    assert answer.stop is Stop.FINISHED
    assert 0 < answer.counters["swaps"] <= 4 * rule.REFRESH_SWAPS
    assert problem.groups.is_legal(answer.mask)


def outlier_pruned():
    """A row whose start prunes one weight 1e8 times the others; the first swap keeps it."""
    layer = random_layer(2, 48)
    weight = layer.weight.copy()
    weight[:, 5] = 1e8
    layer = Layer.from_arrays(weight, layer.gram)
    start = Problem.of(layer, parse_pattern("50%")).groups.prune_lowest(-np.abs(weight))
    assert not start[0, 5]
    return layer, start


def test_a_start_with_an_outlier_pruned_still_ends_1_swap_optimal():
    """What counts as better is measured anew on the mask that was reached."""
    layer, start = outlier_pruned()
    problem, (answer,) = search(layer, "50%", start=start)
    assert answer.counters["swaps"] < rule.REFRESH_SWAPS
    assert improving_pairs(problem.part_of(0), answer.mask).min() > -1e-10


def test_a_loss_claimed_after_a_limit_carries_no_drift():
    layer, start = outlier_pruned()
    for swaps in (1, 2, 5):
        problem, (answer,) = search(layer, "50%", Swap(max_swaps=swaps), start=start)
        loss = problem.part_of(0).loss(answer.mask)
        assert answer.claimed_objective == pytest.approx(loss, rel=1e-12)


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


def test_runs_leave_nothing_behind():
    layer = random_layer(9, 24, rows=2)
    weight, gram = layer.weight.copy(), layer.gram.copy()
    _, first = search(layer, "50%", Swap("random"), seed=3)
    search(layer, "25%", Swap("random"), seed=3)
    _, again = search(layer, "50%", Swap("random"), seed=3)
    assert all((a.mask == b.mask).all() for a, b in zip(first, again, strict=True))
    assert (layer.weight == weight).all()
    assert (layer.gram == gram).all()


def test_a_device_that_is_not_there_is_refused():
    problem = Problem.of(random_layer(1, 8), parse_pattern("50%"))
    for device in ("cuda:7", "abacus"):
        with pytest.raises(Refused, match=device):
            Swap().solve_rows(problem, Limits(Deadline(1), device=device), 0)
    with pytest.raises(InputError, match="warm_start=nothing: expected one of magnitude"):
        Swap("nothing")
