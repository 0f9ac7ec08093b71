"""Every pattern's set of masks against plain enumeration written apart from it."""

import sys
from fractions import Fraction
from itertools import combinations, product
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.commands import cli
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_layer, write_tensors
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import FORMS, parse_pattern
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.instances.masks.tiles import FlowRule, TileRule, transposable
from maskgap.instances.problem import Problem
from tests.helpers.coupled import COST, FORCED, ROWS, SETS, coupled_layer
from tests.helpers.tiny import random_layer


@pytest.mark.parametrize("name", SETS)
def test_the_set_lists_exactly_the_masks_that_the_pattern_means(name):
    legal, masks = SETS[name]
    blocks = list(legal.enumerate_pruned(chunk=7))
    listed = {tuple(~z) for block in blocks for z in block}
    assert listed == {tuple(mask) for mask in masks}
    assert sum(map(len, blocks)) == len(masks) == legal.masks
    assert legal.single == (len(masks) == 1)
    if len(masks):
        assert legal.is_legal(masks)
        assert {int(k) for k in (~masks).sum(axis=1)} == {legal.total_pruned}


@pytest.mark.parametrize("name", SETS)
def test_legality_is_exactly_membership(name):
    legal, masks = SETS[name]
    members = {tuple(mask) for mask in masks}
    rng = np.random.default_rng(1)
    tried = rng.random((300, legal.n)) < 0.5
    near = masks[rng.integers(len(masks), size=200)].copy() if len(masks) else tried[:0]
    if len(near):
        near[np.arange(200), rng.integers(legal.n, size=200)] ^= True
        near[np.arange(200), rng.integers(legal.n, size=200)] ^= True
    for mask in [*tried, *near]:
        assert legal.is_legal(mask) == (tuple(mask) in members)
    assert not legal.is_legal(np.ones(legal.n + 1, dtype=bool))
    assert not legal.is_legal(np.ones(legal.n, dtype=np.int8))


@pytest.mark.parametrize("name", SETS)
def test_rows_describe_the_set(name):
    """A vector of 0 and 1 is a mask exactly when it meets the rows and the forced columns."""
    legal, masks = SETS[name]
    rows = legal.linear_rows()
    rng = np.random.default_rng(2)
    tried = np.concatenate([~masks, rng.random((200, legal.n)) < 0.5])
    members = {tuple(~mask) for mask in masks}
    equal, at = rows.equalities()
    for z in tried:
        sums = rows.matrix @ z
        meets = (rows.lower <= sums).all() and (sums <= rows.upper).all()
        meets &= not (z & (rows.state == KEPT)).any() and not (~z & (rows.state == PRUNED)).any()
        one_by_one = all(
            (row.lower is None or row.lower <= row.values @ z[row.columns])
            and (row.upper is None or row.values @ z[row.columns] <= row.upper)
            for row in rows.as_rows()
        )
        forced = (z[rows.state == PRUNED]).all() and not z[rows.state == KEPT].any()
        assert meets == (one_by_one and forced) == (tuple(z) in members)
        if tuple(z) in members:
            assert (equal @ z == at).all()


def _draw(rng, n):
    kind = rng.integers(4)
    if kind == 0:
        return rng.normal(size=n)
    if kind == 1:
        return rng.integers(-1, 2, size=n).astype(float)  # ties
    if kind == 2:
        return rng.normal(size=n) * 10.0 ** rng.uniform(-3, 3)
    return 1e3 + rng.normal(size=n)


@pytest.mark.parametrize("name", SETS)
def test_the_oracle_is_the_minimum_with_random_forced_entries(name):
    legal, masks = SETS[name]
    rng = np.random.default_rng(3)
    empty = 0
    rounds = 40 if legal.error == 0.0 else 15
    for _ in range(rounds):
        gradient = _draw(rng, legal.n)
        share = rng.choice([0.0, 0.1, 0.4])
        kind = rng.choice([0, 1, 2], size=legal.n, p=[1 - share, share / 2, share / 2])
        ones, zeros = kind == 1, kind == 2
        left = ~masks[(~masks[:, ones]).all(axis=1) & masks[:, zeros].all(axis=1)]
        pruned = legal.oracle(gradient, ones, zeros)
        again = legal.oracle(gradient, ones, zeros)
        if len(left) == 0:
            assert pruned is None
            empty += 1
            continue
        assert tuple(~pruned) in {tuple(mask) for mask in masks}
        assert pruned[ones].all() and not pruned[zeros].any()  # noqa: PT018
        least = min(fsum(gradient[z].tolist()) for z in left)
        size = float(np.abs(gradient).max())
        allowed = legal.n * size * (legal.error + 1e-14)
        assert least <= fsum(gradient[pruned].tolist()) <= least + allowed
        assert (pruned == again).all()
    assert empty < rounds or len(masks) == 0


@pytest.mark.parametrize("name", SETS)
def test_entries_forced_both_ways_leave_nothing(name):
    legal, _ = SETS[name]
    both = np.zeros(legal.n, dtype=bool)
    both[0] = True
    assert legal.oracle(np.zeros(legal.n), both, both) is None


@pytest.mark.parametrize("name", SETS)
def test_the_lowest_scores_go_alone_or_in_a_batch(name):
    legal, masks = SETS[name]
    scores = np.random.default_rng(4).random((3, legal.n))
    if len(masks) == 0:
        with pytest.raises(InputError, match="no mask"):
            legal.prune_lowest(scores)
        return
    batch = legal.prune_lowest(scores)
    for mask, row in zip(batch, scores, strict=True):
        assert (mask == legal.prune_lowest(row)).all()
        assert legal.is_legal(mask)
        least = min(row[~m].sum() for m in masks)
        assert row[~mask].sum() == pytest.approx(least, rel=1e-8)
    if legal.error == 0.0:
        assert (
            legal.prune_lowest(np.zeros(legal.n)) == legal.prune_lowest(np.zeros(legal.n))
        ).all()


def test_sets_share_an_identity_only_with_themselves():
    layer = coupled_layer()
    identities = {name: legal.identity for name, (legal, _) in SETS.items()}
    for text in ROWS:
        assert parse_pattern(text).legal(layer, 1).identity == identities[text]
    by_identity: dict[str, set] = {}
    for name, identity in identities.items():
        legal, masks = SETS[name]
        by_identity.setdefault(identity, set()).add(
            (legal.n, frozenset(tuple(mask) for mask in masks))
        )
    assert all(len(masks) == 1 for masks in by_identity.values())
    assert len(by_identity) > 25


def test_scaling_or_shifting_a_gradient_keeps_the_vertex():
    rng = np.random.default_rng(5)
    for legal, masks in SETS.values():
        if len(masks) == 0 or legal.error > 0.0:
            continue
        gradient = rng.integers(-9, 10, size=legal.n) + rng.permutation(legal.n) / 64.0
        vertex = legal.oracle(gradient)
        assert (legal.oracle(gradient * 2.0**40) == vertex).all()
        shifted = legal.oracle(gradient + 8.0)  # the same for all: every mask prunes as many
        assert gradient[shifted].sum() == gradient[vertex].sum()


# ---- large tiles, wide rows


@given(st.data())
def test_the_flow_of_a_tile_agrees_with_its_list(data):
    size = data.draw(st.integers(1, 4))
    pruned = data.draw(st.integers(0, size))
    legal = transposable(size, pruned, 2 * size)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gradient = rng.choice([-2.0, -0.5, 0.0, 1.0, 3.25], size=legal.n)
    state = rng.choice([0, 1, 2], size=legal.n, p=[0.8, 0.1, 0.1]).astype(np.int8)
    one = TileRule(size, pruned).minimise(legal.rows, gradient, state)
    other = FlowRule(size, pruned).minimise(legal.rows, gradient, state)
    assert (one is None) == (other is None)
    if one is not None:
        assert gradient[one].sum() == gradient[other].sum()
        assert legal.is_legal(~other)


def test_a_tile_of_five_agrees_with_plain_loops():
    rng = np.random.default_rng(6)
    legal = transposable(5, 2, 5)
    lines = list(combinations(range(5), 2))
    for _ in range(3):
        gradient = rng.normal(size=25)
        cost = gradient.reshape(5, 5)
        line_cost = [[cost[r, list(line)].sum() for line in lines] for r in range(5)]
        least = np.inf
        for choice in product(range(len(lines)), repeat=5):
            used = [0] * 5
            for c in choice:
                for j in lines[c]:
                    used[j] += 1
            if used == [2] * 5:
                least = min(least, sum(line_cost[r][c] for r, c in enumerate(choice)))
        assert gradient[legal.oracle(gradient)].sum() == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize(
    "text", ["4:8^T", "layer:50%", "50%;block=4", "50%;cap=9/16", "50%;cost=49%"]
)
def test_wide_parts_have_oracles(text):
    layer = coupled_layer(8, 24)
    layer = Layer.from_arrays(
        np.tile(layer.weight, (1, 4)), np.eye(96), column_cost=np.arange(96) % 7
    )
    legal = parse_pattern(text).legal(layer, 8 if text.startswith(("4:8", "layer")) else 1)
    rng = np.random.default_rng(7)
    gradient = rng.normal(size=legal.n)
    vertex = legal.oracle(gradient)
    assert legal.is_legal(~vertex)
    for _ in range(20):  # no worse than masks near it
        other = legal.oracle(gradient + 0.3 * rng.normal(size=legal.n))
        assert gradient[vertex].sum() <= gradient[other].sum() + 1e-12


def test_a_cost_table_that_is_too_large_is_refused_and_common_factors_are_taken_out():
    layer = random_layer(1, 12)
    dear = np.array(COST) * 2**20
    pattern = parse_pattern("50%;cost=40%")
    fine = Layer.from_arrays(layer.weight, layer.gram, column_cost=COST)
    coarse = Layer.from_arrays(layer.weight, layer.gram, column_cost=dear)
    gradient = np.random.default_rng(8).normal(size=12)
    one, other = (pattern.legal(own, 1).oracle(gradient) for own in (fine, coarse))
    assert (one == other).all()
    odd = dear + np.arange(12) % 2
    with pytest.raises(InputError, match="coarser"):
        pattern.legal(Layer.from_arrays(layer.weight, layer.gram, column_cost=odd), 1)


# ---- counting, parsing


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 9))
def test_blocks_and_layers_round_half_up(thousandths, block, count):
    share = Fraction(thousandths, 1000)
    text = f"{thousandths // 10}.{thousandths % 10}%"
    layer = Layer.from_arrays(np.ones((2, block * count)), np.eye(block * count))
    wanted = int((share * count * 2 + 1) // 2)
    assert parse_pattern(f"{text};block={block}").legal(layer, 1).total_pruned == block * wanted
    of_all = parse_pattern(f"layer:{text}").legal(layer, 2)
    assert isinstance(of_all, BudgetGroups)
    assert of_all.total_pruned == int((share * of_all.n * 2 + 1) // 2)


@pytest.mark.parametrize(
    "text",
    ["layer:101%", "layer:keep=3", "layer:", "2:4^", "0:4^T", "5:4^T", "2:4^t", "50%;", ";block=2",
     "50%;block=0", "50%;block=", "50%;block=2;block=3", "50%;cap=5/4", "50%;cap=1/0", "50%;cap=2",
     "50%;cap=2/4+5", "50%;cap=2/4+0", "50%;cost=101%", "50%;cost=3", "50%;cost=1%;cost=2%",
     "50%;forced;forced", "50%;fixed", "2:4;block=2", "2:4^T;forced", "layer:50%;forced",
     "50% ;forced", "50%; forced"],
)  # fmt: skip
def test_anything_else_is_an_error_that_names_the_forms(text):
    with pytest.raises(InputError) as error:
        parse_pattern(text)
    assert FORMS in str(error.value)
    assert repr(text)[1:-1] in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2:5^T", "number of rows"),
        ("3:3^T", "number of rows is 4"),
        ("50%;block=5", "d_in divisible by 5, but d_in is 12"),
        ("keep=5;block=2", "keeps 5 columns, which are no blocks of 2"),
        ("50%;cap=3/13", "windows of at most 12 columns"),
        ("50%;cap=3/5", "S dividing 12"),
        ("50%;cost=50%", "tensor 'column_cost'"),
        ("50%;forced", "tensor 'forced'"),
        ("50%;cap=1/4", "no mask meets all of"),
        ("keep=13;block=1", "keeps 13 columns"),
    ],
)
def test_what_a_layer_cannot_have_is_said_with_its_name(text, message):
    plain = random_layer(1, 12, rows=4)
    layer = Layer.from_arrays(plain.weight, plain.gram, name="some.safetensors")
    with pytest.raises(InputError, match=message) as error:
        Problem.of(layer, parse_pattern(text))
    assert str(error.value).startswith("some.safetensors: ")


def test_rows_that_nothing_is_left_for_are_named():
    layer = coupled_layer()
    with pytest.raises(InputError, match="row 2: no mask meets all of"):
        Problem.of(layer, parse_pattern("25%;forced"))


def test_rows_share_one_set_but_for_their_forced_columns():
    layer = coupled_layer()
    parts = list(Problem.of(layer, parse_pattern("50%;cap=3/4")))
    assert all(part.legal is parts[0].legal for part in parts)
    forced = list(Problem.of(layer, parse_pattern("50%;cap=3/4;forced")))
    assert all(p.legal.rows.system is forced[0].legal.rows.system for p in forced)
    assert len({p.legal.identity for p in forced}) == 3
    assert len({p.digest for p in parts + forced}) == 5  # row 1 forces none


# ---- parts of several rows as problems


@pytest.mark.parametrize(("text", "height"), [("layer:50%", 4), ("2:4^T", 4), ("1:2^T", 2)])
def test_the_loss_of_a_part_is_the_sum_of_its_rows(text, height):
    layer = random_layer(9, 8, rows=4)
    problem = Problem.of(layer, parse_pattern(text))
    assert len(problem) == 4 // height
    rng = np.random.default_rng(1)
    for part in problem:
        assert part.height == height
        mask = part.legal.prune_lowest(rng.random(part.n))
        rest = np.where(mask.reshape(height, -1), 0.0, layer.weight[list(part.rows)])
        losses = [float(row @ layer.gram @ row) for row in rest]
        assert part.row_losses(mask) == pytest.approx(losses, rel=1e-12)
        assert part.loss(mask) == pytest.approx(sum(losses), rel=1e-12)
        assert part.rescale(part.scaled_loss(mask)) == pytest.approx(sum(losses), rel=1e-12)
        assert problem.part_of(part.rows[-1]).row == part.row


# ---- layer tensors


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("column_cost", np.ones(3), "must have shape"),
        ("column_cost", -np.ones(4), "from 0 to"),
        ("column_cost", np.array([1.0, 2.5, 3, 4]), "whole numbers"),
        ("column_cost", np.array([1.0, np.nan, 3, 4]), "whole numbers"),
        ("column_cost", np.array([1.0, 2e9, 3, 4]), "at most"),
        ("column_cost", np.array([True] * 4), "whole numbers"),
        ("forced", np.zeros((2, 4)), "must have shape"),
        ("forced", np.full((1, 4), 2), "-1"),
        ("forced", np.full((1, 4), 0.5), "whole numbers"),
    ],
)
def test_bad_tensors_of_a_layer_file_are_exit_2_with_one_line(
    name, value, message, tmp_path, monkeypatch, capsys
):
    layer = random_layer(1, 4)
    path = tmp_path / "layer.safetensors"
    tensors = {"weight": layer.weight, "gram": layer.gram, name: value}
    write_tensors(path, tensors, {"format": "maskgap-layer/1"})
    words = ["solve", str(path), "--pattern", "50%", "--solver", "magnitude"]
    monkeypatch.setattr(sys, "argv", ["maskgap", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert str(path) in said.err
    assert name in said.err


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_costs_and_forced_columns_are_written_and_read_back(dtype, tmp_path):
    layer = coupled_layer()
    path = tmp_path / "layer.safetensors"
    write_layer(path, layer, dtype)
    back = read_layer(path)
    assert list(back.column_cost) == COST
    assert back.column_cost.dtype == np.int64
    assert back.forced.tolist() == FORCED
    assert back.forced.dtype == np.int8
    write_layer(path, random_layer(1, 4))
    again = read_layer(path)
    assert (again.column_cost, again.forced) == (None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32])
def test_costs_of_any_real_dtype_are_taken(dtype):
    layer = random_layer(1, 4)
    own = Layer.from_arrays(layer.weight, layer.gram, column_cost=np.array([1, 0, 3, 200], dtype))
    assert own.column_cost.tolist() == [1, 0, 3, 200]
