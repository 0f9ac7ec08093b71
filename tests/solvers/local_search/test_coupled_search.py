"""swap and search where masks are not those of equal groups of a row: ends, limits, repetition."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.instances.errors import Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.neighbours.cycles import Cycles
from maskgap.solvers.local_search.neighbours.exchanges import Exchanges
from maskgap.solvers.local_search.neighbours.local import Local
from maskgap.solvers.local_search.neighbours.reduced import Reduced
from maskgap.solvers.local_search.search import Search
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.protocol import Deadline, Limits, Stop, solve_batch
from tests.helpers.coupled import coupled_layer, with_extras
from tests.helpers.tiny import random_layer

ROWS_24 = [
    "50%;cap=3/4", "50%;cap=5/8+4", "50%;cost=45%", "50%;cost=44%;cap=4/6", "50%;cap=3/4;forced",
    "50%;block=2;cost=47%", "50%;block=3;cap=7/12", "keep=10;cap=2/4+2",
]  # fmt: skip
BUDGETS = ["50%;block=2", "50%;block=3;forced", "50%;forced", "keep=8;block=4"]
COUPLED = ["layer:50%", "2:4^T", "4:8^T", "1:2^T"]


def layer_for(text, seed=1, n=24, tokens=None):
    height = 8 if text in COUPLED else 2
    plain = random_layer(seed, n, height, tokens)
    return plain if text in COUPLED else with_extras(plain, seed if "block=3;f" not in text else 0)


def search(layer, text, solver=None, seed=0, start=None, seconds=60.0, threads=1, device="cpu"):
    pattern = parse_pattern(text)
    rows = None
    if "block=3;forced" in text:  # forced columns that do not break blocks both ways
        forced = np.zeros(layer.weight.shape, dtype=np.int8)
        forced[0, 4], forced[1, 20] = 1, -1
        layer = Layer.from_arrays(
            layer.weight, layer.gram, column_cost=layer.column_cost, forced=forced
        )
    problem = Problem.of(layer, pattern, rows, start)
    limits = Limits(Deadline(seconds), threads=threads, device=device)
    return problem, solve_batch(solver or Swap(), problem, limits, seed)


def loss_of(part, pruned):
    rest = np.where(pruned.reshape(part.height, -1), part.weight.reshape(part.height, -1), 0.0)
    return float(np.einsum("ij,jk,ik->", rest, part.layer.gram, rest))


def exchanged(part, mask, block=1):
    """Every legal mask one exchange of a pruned and a kept block away."""
    for p in np.flatnonzero(~mask[::block]):
        for u in np.flatnonzero(mask[::block]):
            other = mask.copy()
            other[p * block : (p + 1) * block] = True
            other[u * block : (u + 1) * block] = False
            if part.legal.is_legal(other):
                yield other


@pytest.mark.parametrize("text", [*ROWS_24, *BUDGETS])
def test_no_legal_exchange_improves_the_end(text):
    block = int(text.partition("block=")[2][:1] or 1)
    problem, answers = search(layer_for(text), text, Swap("random"))
    assert sum(answer.counters["swaps"] for answer in answers) > 0
    for part, answer in zip(problem, answers, strict=True):
        assert answer.stop is Stop.FINISHED
        assert part.legal.is_legal(answer.mask)
        loss = loss_of(part, ~answer.mask)
        assert answer.claimed_objective == pytest.approx(loss, rel=1e-9)
        for other in exchanged(part, answer.mask, block):
            assert loss_of(part, ~other) >= loss * (1 - 1e-9)


def cycles(mask, size):
    """Every mask one cycle of 4 or 6 entries of a tile away, by plain loops; mask: (M, d)."""
    pruned = ~mask
    for first in range(0, mask.shape[1], size):
        for count in (2, 3):
            for rows in combinations(range(size), count):
                for columns in permutations(range(first, first + size), count):
                    for turn in ((0,), (0, 1))[count - 2]:
                        order = rows if not turn else rows[::-1]
                        # row order[t] brings columns[t] back and prunes columns[t + 1]
                        pairs = [
                            (row, columns[t], columns[(t + 1) % count])
                            for t, row in enumerate(order)
                        ]
                        if all(pruned[r, p] and not pruned[r, u] for r, p, u in pairs):
                            other = mask.copy()
                            for r, p, u in pairs:
                                other[r, p], other[r, u] = True, False
                            yield other


@pytest.mark.parametrize("text", ["2:4^T", "1:2^T", "2:3^T", "1:4^T", "3:6^T"])
def test_no_cycle_of_4_or_6_improves_the_end(text):
    size = int(text[2])
    layer = random_layer(3, 2 * size * (6 // size + 1), size)
    problem, (answer,) = search(layer, text, Swap("random"))
    (part,) = problem
    assert answer.stop is Stop.FINISHED
    assert answer.counters["swaps"] > 0
    loss = loss_of(part, ~answer.mask)
    assert answer.claimed_objective == pytest.approx(loss, rel=1e-9)
    seen = 0
    for other in cycles(answer.mask.reshape(size, -1), size):
        assert part.legal.is_legal(other.reshape(-1))
        assert loss_of(part, ~other.reshape(-1)) >= loss * (1 - 1e-9)
        seen += 1
    assert seen > 0


def test_a_layer_s_end_has_no_better_exchange_of_any_two_rows():
    layer = layer_for("layer:50%")
    problem, (answer,) = search(layer, "layer:50%", Swap("random"))
    (part,) = problem
    loss = loss_of(part, ~answer.mask)
    assert answer.counters["swaps"] > 10
    z = (~answer.mask).astype(float)
    c = part.quad @ z
    diagonal = part.quad.diagonal()
    delta = (diagonal - 2 * c)[:, None] + (diagonal + 2 * c)[None, :] - 2 * part.quad
    assert delta[np.ix_(~answer.mask, answer.mask)].min() > -1e-10 * part.scaled_loss(answer.mask)
    kept = answer.mask.reshape(8, -1).sum(axis=1)
    assert len(set(kept)) > 1  # rows differ in how much they keep
    assert answer.claimed_objective == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("text", ["50%;cost=45%", "50%;cap=3/4", "keep=10;cap=2/4+2"])
def test_pairs_of_exchanges_help_where_rows_are_tight(text):
    """A thorough descent from the end of a plain one gets further on some of many rows."""
    better = 0
    for seed in range(1, 13):
        layer = layer_for(text, seed)
        part = next(iter(Problem.of(layer, parse_pattern(text))))
        local = Exchanges(Reduced.of(part.quad, part.legal), part.legal)
        start = ~part.legal.prune_lowest(np.random.default_rng(seed).random(part.n))
        plain = local.descend(start, False, -1, lambda: False)
        assert plain.local
        more = local.descend(plain.pruned, True, -1, lambda: False)
        assert part.legal.is_legal(~more.pruned)
        assert more.loss <= plain.loss
        assert more.loss == pytest.approx(part.scaled_loss(~more.pruned), rel=1e-9)
        better += more.loss < plain.loss * (1 - 1e-9)
    assert better > 0


def _locals() -> dict[str, tuple[Local, Problem]]:
    strip = Problem.of(random_layer(4, 12, 4), parse_pattern("2:4^T"))
    row = Problem.of(layer_for("50%;cap=3/4;forced"), parse_pattern("50%;cap=3/4;forced"))
    blocks = Problem.of(layer_for("x;b", 2), parse_pattern("50%;block=2;cost=47%"))
    part, own, other = strip.part_of(0), row.part_of(0), blocks.part_of(0)
    return {
        "cycles": (Cycles(part.layer.gram, part.weight.reshape(4, -1), part.legal), strip),
        "exchanges": (Exchanges(Reduced.of(own.quad, own.legal), own.legal), row),
        "blocks": (Exchanges(Reduced.of(other.quad, other.legal), other.legal), blocks),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["cycles", "exchanges", "blocks"])
@given(data=st.data())
def test_each_move_lowers_the_loss_and_keeps_the_mask_legal(name, data):
    local, problem = _locals()[name]
    part = problem.part_of(0)
    seed = data.draw(st.integers(0, 2**32 - 1))
    pruned = ~part.legal.prune_lowest(np.random.default_rng(seed).random(part.n))
    thorough = data.draw(st.booleans())
    loss = local.loss(pruned)
    scale = loss_of(part, pruned) / loss
    for _ in range(60):
        reached = local.descend(pruned, thorough, 1, lambda: False)
        assert part.legal.is_legal(~reached.pruned)
        assert reached.loss * scale == pytest.approx(loss_of(part, reached.pruned), rel=1e-9)
        if reached.moves == 0:
            assert reached.local
            assert (reached.pruned == pruned).all()
            return
        assert reached.loss < loss
        pruned, loss = reached.pruned, reached.loss
    raise AssertionError("a descent of so few columns does not take 60 moves")


@pytest.mark.parametrize(
    "text", ["50%;block=2", "50%;block=3;forced", "50%;forced", "50%;cap=3/4;forced"]
)
def test_the_smaller_problem_has_the_same_losses(text):
    problem, _ = search(layer_for(text), text)
    for part in problem:
        small = Reduced.of(part.quad, part.legal)
        rng = np.random.default_rng(5)
        for _ in range(20):
            pruned = ~part.legal.prune_lowest(rng.random(part.n))
            y = small.shrink(pruned)
            assert (small.lift(y) == pruned).all()
            assert y.sum() == small.pruned
            loss = small.offset + float(small.quad[np.ix_(y, y)].sum())
            assert loss == pytest.approx(part.scaled_loss(~pruned), rel=1e-9)
            sums = small.rows @ y
            assert ((small.lower <= sums) & (sums <= small.upper)).all()


ALL = [*ROWS_24, *BUDGETS, *COUPLED]


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("solver", [Swap(), Search(population=4)], ids=["swap", "search"])
def test_answers_repeat_themselves_and_follow_the_seed_not_the_scale(solver, text):
    layer = layer_for(text)
    problem, first = search(layer, text, solver, seed=3)
    _, again = search(layer, text, solver, seed=3, threads=2)
    scaled = Layer.from_arrays(
        layer.weight * 2.0**-30, layer.gram * 2.0**50,
        column_cost=layer.column_cost, forced=layer.forced,
    )  # fmt: skip
    _, other = search(scaled, text, solver, seed=3)
    start = search(layer, text, Swap(max_swaps=0))[1]
    for part, a, b, c, s in zip(problem, first, again, other, start, strict=True):
        assert (a.mask == b.mask).all()
        assert (a.mask == c.mask).all()
        assert c.claimed_objective == pytest.approx(a.claimed_objective * 2.0**-10, rel=1e-12)
        assert a.trace[-1].objective == a.claimed_objective
        assert (s.stop, s.counters["swaps"]) == (Stop.ITERATIONS, 0)
        assert part.loss(a.mask) <= part.loss(s.mask) * (1 + 1e-12)


@pytest.mark.parametrize("text", ALL)
def test_search_is_at_least_as_good_as_swap(text):
    problem, swapped = search(layer_for(text), text)
    _, searched = search(layer_for(text), text, Search(population=8))
    for part, a, b in zip(problem, swapped, searched, strict=True):
        assert part.loss(b.mask) <= part.loss(a.mask) * (1 + 1e-9)


@pytest.mark.parametrize("text", [text for text in ALL if text != "layer:50%"])
def test_the_number_of_moves_is_kept(text):
    problem, whole = search(layer_for(text), text, Swap("random"))
    _, some = search(layer_for(text), text, Swap("random", max_swaps=2))
    for part, a, b in zip(problem, whole, some, strict=True):
        assert part.legal.is_legal(b.mask)
        assert b.counters["swaps"] <= 2
        assert b.stop is (Stop.FINISHED if b.counters["swaps"] < 2 else Stop.ITERATIONS) or (
            a.counters["swaps"] == b.counters["swaps"]
        )
        assert part.loss(a.mask) <= part.loss(b.mask) * (1 + 1e-9)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("solver", [Swap(), Search()], ids=["swap", "search"])
def test_past_the_deadline_the_start_is_the_answer(solver, text):
    problem, answers = search(layer_for(text), text, solver, seconds=0.0)
    for part, answer in zip(problem, answers, strict=True):
        assert answer.stop is Stop.TIME
        assert part.legal.is_legal(answer.mask)
        assert answer.counters["swaps"] == 0


@pytest.mark.parametrize("text", ALL)
def test_a_given_start_is_never_made_worse(text):
    layer = layer_for(text)
    problem, _ = search(layer, text, seconds=0.0)
    start = np.concatenate([part.legal.prune_lowest(np.abs(part.weight)) for part in problem])
    start = start.reshape(layer.weight.shape)
    for solver in (Swap(), Search(population=4)):
        own, answers = search(problem.layer, text, solver, start=start)
        for part, answer in zip(own, answers, strict=True):
            assert part.loss(answer.mask) <= part.loss(part.start) * (1 + 1e-12)


DEGENERATE = {
    "zero gram": (np.ones((8, 24)), np.zeros((24, 24))),
    "zero weights": (np.zeros((8, 24)), np.eye(24)),
    "ties": (np.ones((8, 24)), np.eye(24)),
    "rank one": (np.ones((8, 24)), np.ones((24, 24))),
    "duplicates": (np.ones((8, 24)), np.kron(np.eye(12), np.ones((2, 2)))),
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize(
    "text", ["50%;cap=3/4", "50%;cost=48%", "50%;block=2", "50%;forced", *COUPLED]
)
def test_degenerate_parts_end_with_legal_masks(text, case):
    weight, gram = DEGENERATE[case]
    extras = coupled_layer(2, 24)
    forced = np.zeros((8, 24), dtype=np.int8)
    forced[:, 3], forced[:, 9] = 1, -1
    layer = Layer.from_arrays(weight, gram, column_cost=extras.column_cost, forced=forced)
    for solver in (Swap("random"), Search("random", population=8)):
        problem, answers = search(layer, text, solver)
        for part, answer in zip(problem, answers, strict=True):
            assert answer.stop is Stop.FINISHED
            assert part.legal.is_legal(answer.mask)
            assert answer.claimed_objective == pytest.approx(part.loss(answer.mask), abs=1e-9)


def test_devices_are_for_rows():
    with pytest.raises(Refused, match="on the processor only, not on cuda"):
        search(layer_for("2:4^T"), "2:4^T", device="cuda")


def test_a_strip_needs_no_matrix_of_all_its_pairs():
    """A strip of 4 x 2304 entries has 8.5e7 pairs; its Gram has 5.3e6 entries."""
    rng = np.random.default_rng(6)
    layer = Layer(rng.normal(size=(4, 2304)), np.diag(rng.uniform(1, 2, 2304)))
    problem, (answer,) = search(layer, "2:4^T", Swap("magnitude"))
    (part,) = problem
    with pytest.raises(Refused, match="choose fewer --rows"):
        part.quad  # noqa: B018
    assert answer.stop is Stop.FINISHED
    assert part.legal.is_legal(answer.mask)
    assert part.loss(answer.mask) < part.loss(part.legal.prune_lowest(np.abs(part.weight)))
