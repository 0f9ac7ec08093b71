"""Kinds of models, each with Grams computed by hand: Conv1D, attention, length first, loops."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.gram import real_tokens
from tests.helpers.toys import GRAM, TOKENS, masked, one


def by_name(model, batches, layers="*", **options):
    return {layer.name: layer for layer in extract_layers(model, batches, layers, **options)}


def gram(x):
    rows = x.detach().double().reshape(-1, x.shape[-1])
    return (rows.T @ rows).numpy()


# linear layers of other classes


class Named(nn.Module):
    """Acts as a linear layer; its argument has a name of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 3))

    def forward(self, hidden_states):
        return hidden_states @ self.weight.T


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("keyword", [False, True])
def test_a_class_of_another_name_is_given_its_inputs_by_any_name(keyword, autocast):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = Named()

        def forward(self, x):
            return self.own(hidden_states=x) if keyword else self.own(x)

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        layer = one(Model(), [TOKENS])
    np.testing.assert_array_equal(layer.gram, GRAM)


# encoders that feed a decoder


def test_padding_of_a_model_that_makes_its_decoder_s_tokens_itself_is_refused():
    """They are the encoder's, shifted: where those are padding says nothing of these."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(is_encoder_decoder=True)
            self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x, attention_mask=None, decoder_input_ids=None):
            return self.encoder(x).sum() + self.decoder(x.roll(1, 1))

    x = TOKENS[None]
    with pytest.raises(InputError, match="which tokens of a decoder are padding does not follow"):
        by_name(Model(), [masked(x, [[1, 1, 1, 0]])])
    found = by_name(Model(), [masked(x, [[1, 1, 1, 1]])])
    np.testing.assert_array_equal(found["decoder"].gram, GRAM)


# transformers' Conv1D


@pytest.fixture
def conv1d():
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    return transformers.pytorch_utils.Conv1D


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3), (1, 2, 2, 3)])
def test_conv1d_is_stored_transposed(conv1d, shape, keyword):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = conv1d(2, 3)  # 2 outputs, 3 inputs

        def forward(self, x):
            return self.c(x=x) if keyword else self.c(x)

    model = Model()
    layer = one(model, [TOKENS.reshape(shape)])
    assert layer.weight.shape == (2, 3)
    np.testing.assert_array_equal(layer.weight, model.c.weight.detach().double().numpy().T)
    np.testing.assert_array_equal(layer.gram, GRAM)
    assert (layer.meta["d_out"], layer.meta["d_in"]) == ("2", "3")


def test_another_forward_than_conv1d_s_is_left_out(conv1d):
    class Doubled(conv1d):
        def forward(self, x):
            return super().forward(2 * x)

    with pytest.raises(InputError, match="Doubled is not a linear layer known here"):
        list(extract_layers(Doubled(2, 3), [TOKENS]))


# nn.MultiheadAttention: one token attends to itself alone, so the heads are v = Wv x + bv


class SelfAttention(nn.Module):
    def __init__(self, size=4, heads=2, **options):
        super().__init__()
        torch.manual_seed(1)
        self.attn = nn.MultiheadAttention(size, heads, **options)
        with torch.no_grad():
            for parameter in self.attn.parameters():
                parameter.copy_(torch.randint(-2, 3, parameter.shape).to(parameter.dtype))

    def forward(self, x, attention_mask=None):
        return self.attn(x, x, x, need_weights=False)[0]


ALONE = torch.tensor([[[1.0, 0, 2, -1]], [[0, 3, 1, 1]], [[2, -1, 0, 4]]])  # 3 sequences of 1 token


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_four_projections_of_an_attention(bias, dtype):
    model = SelfAttention(batch_first=True, bias=bias).to(dtype)
    layers = by_name(model, [ALONE.to(dtype)])
    assert list(layers) == ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"]
    weight = model.attn.in_proj_weight.detach().double().numpy()
    for place, letter in enumerate("qkv"):
        layer = layers[f"attn.{letter}_proj"]
        np.testing.assert_array_equal(layer.weight, weight[4 * place : 4 * place + 4])
        np.testing.assert_array_equal(layer.gram, gram(ALONE))
    values = ALONE.double().numpy().reshape(3, 4) @ weight[8:].T
    if bias:
        values = values + model.attn.in_proj_bias.detach().double().numpy()[8:]
    out = layers["attn.out_proj"]
    np.testing.assert_array_equal(out.weight, model.attn.out_proj.weight.detach().double().numpy())
    np.testing.assert_array_equal(out.gram, values.T @ values)  # small integers: exact
    assert out.meta["tokens"] == "3"


def test_the_inputs_of_out_proj_are_the_heads_of_a_longer_sequence():
    model = SelfAttention(batch_first=True)
    x = torch.tensor([[[1.0, 0, 2, -1], [0, 1, 1, 1]]])
    q, k, v = (x @ part.T for part in model.attn.in_proj_weight.detach().chunk(3))
    bias = model.attn.in_proj_bias.detach().chunk(3)
    q, k, v = (t + b for t, b in zip((q, k, v), bias, strict=True))
    heads = []
    for head in range(2):
        part = slice(2 * head, 2 * head + 2)
        scores = q[0, :, part] @ k[0, :, part].T / 2**0.5
        heads.append(scores.softmax(-1) @ v[0, :, part])
    expected = gram(torch.cat(heads, dim=1))
    np.testing.assert_allclose(one(model, [x], "*out_proj").gram, expected, rtol=1e-5)


def test_separate_projections_where_key_and_value_have_other_sizes():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(4, 2, kdim=3, vdim=2, batch_first=True)

        def forward(self, x, memory, other):
            return self.attn(x, value=other, key=memory)

    model, x = Cross(), ALONE
    memory, other = torch.ones(3, 2, 3), torch.full((3, 2, 2), 2.0)
    layers = by_name(model, [{"x": x, "memory": memory, "other": other}])
    for letter, inputs in zip("qkv", (x, memory, other), strict=True):
        layer = layers[f"attn.{letter}_proj"]
        own = getattr(model.attn, f"{letter}_proj_weight").detach().double().numpy()
        np.testing.assert_array_equal(layer.weight, own)
        np.testing.assert_array_equal(layer.gram, gram(inputs))
    assert layers["attn.v_proj"].meta["tokens"] == "6"
    assert layers["attn.out_proj"].meta["tokens"] == "3"


def test_an_attention_is_left_as_it_was_and_gives_what_it_gave():
    model = SelfAttention(batch_first=True).eval()
    weight, bias = model.attn.out_proj.weight, model.attn.out_proj.bias
    outputs = []
    model.register_forward_hook(lambda module, args, output: outputs.append(output))
    expected = model(ALONE)
    by_name(model, [ALONE])
    torch.testing.assert_close(outputs[-1], expected)
    assert model.attn.out_proj.weight is weight
    assert model.attn.out_proj.bias is bias
    assert not model.attn._forward_pre_hooks
    assert not model.attn._forward_hooks


def test_an_attention_that_fails_is_left_as_it_was():
    model = SelfAttention(batch_first=True)
    own = model.attn.out_proj.weight
    enabled = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(InputError, match="the model failed on batch 2"):
        by_name(model, [ALONE, torch.ones(1, 1, 5)])
    assert model.attn.out_proj.weight is own
    assert model.attn.out_proj.bias is not None
    assert not model.attn._forward_pre_hooks
    assert torch.backends.mha.get_fastpath_enabled() is enabled


def test_the_fused_kernel_does_not_run_past_the_hooks():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, enable_nested_tensor=False
    )
    layers = by_name(model, [ALONE])
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]
    names = [f"layers.{i}.{p}" for i in (0, 1) for p in (*parts, "linear1", "linear2")]
    assert list(layers) == names
    assert all(layer.meta["tokens"] == "3" for layer in layers.values())
    np.testing.assert_array_equal(layers["layers.0.self_attn.k_proj"].gram, gram(ALONE))


# Padding of torch's own transformers, and the length first


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_padding_mask_of_torch_s_own_transformers(batch_first):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
    x = torch.randn(2, 3, 4)  # two sequences of up to three tokens
    padding = torch.tensor([[False, False, True], [False, True, True]])
    alone = [t if batch_first else t.transpose(0, 1) for t in (x[:1, :2], x[1:, :1])]
    together = x.clone()
    together[padding] = 1e6
    batch = {
        "src": together if batch_first else together.transpose(0, 1),
        "src_key_padding_mask": padding,
    }
    expected, padded = by_name(model, alone), by_name(model, [batch])
    assert len(padded) == len(expected) == 6
    for name, layer in padded.items():
        assert layer.meta["tokens"] == expected[name].meta["tokens"] == "3"
        np.testing.assert_allclose(layer.gram, expected[name].gram, rtol=1e-4, atol=1e-4)


def test_where_length_and_batch_cannot_be_told_apart_nothing_is_guessed():
    mask = torch.tensor([[True, False, True], [True, True, False], [True, True, True]])
    x = torch.arange(27.0).reshape(3, 3, 3)
    assert real_tokens(x, mask, length_first=True) is None
    assert torch.equal(real_tokens(x, mask), x[mask])
    two = torch.tensor([[True, False, True], [True, True, False]])
    assert torch.equal(real_tokens(x[:, :2], two, length_first=True), x[:, :2][two.T])
    assert torch.equal(real_tokens(x[:2], two, length_first=True), x[:2][two])
    assert real_tokens(x[:2].reshape(6, 3), two, length_first=True) is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"src_key_padding_mask": torch.tensor([[0.0, -1e9]])}, "expected bool, True = padding"),
        (
            {"src_key_padding_mask": torch.tensor([[False, True]]), "tgt": torch.ones(1, 2, 4)},
            "which tokens of a decoder are padding",
        ),
    ],
)
def test_padding_that_cannot_be_told_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        by_name(nn.Linear(4, 2), [{"input": torch.ones(1, 2, 4), **more}])


# Loops, and inputs that follow what is pruned


class Looped(nn.Module):
    """The same block twice, as in ALBERT."""

    def __init__(self):
        super().__init__()
        self.block = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.block.weight.copy_(torch.tensor([[0.0, 1, 0], [0, 0, 2], [-1, 0, 0]]))

    def forward(self, x, attention_mask=None):
        return self.block(self.block(x))


@pytest.mark.parametrize("left", [False, True])
def test_a_loop_sums_its_calls_and_leaves_padding_out_of_each(left):
    model = Looped()
    after = TOKENS @ model.block.weight.detach().T
    layer = one(model, [TOKENS])
    np.testing.assert_array_equal(layer.gram, GRAM + gram(after))
    assert layer.meta["tokens"] == "8"
    pads = torch.full((2, 3), 1e3)
    x = torch.cat([pads, TOKENS] if left else [TOKENS, pads])[None]
    real = [0, 0, 1, 1, 1, 1] if left else [1, 1, 1, 1, 0, 0]
    np.testing.assert_array_equal(one(model, [masked(x, [real])]).gram, layer.gram)


class Stack(nn.Module):
    """Blocks that are run in the order 1, 0: that of registration is not that of use."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
            for _ in range(2)
        )
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.eye(3).roll(place, 0) * (place + 1))

    def forward(self, x):
        for block in (self.blocks[1], self.blocks[0]):
            x = block["b"](block["a"](x))
        return x


def test_later_layers_see_the_inputs_of_the_pruned_model():
    model, passes = Stack(), []
    dense = by_name(model, [TOKENS])
    assert list(dense) == ["blocks.0.a", "blocks.0.b", "blocks.1.a", "blocks.1.b"]
    found = {}
    progress = {"progress": lambda done, total, what: passes.append(what)}
    for layer in extract_layers(model, [TOKENS], propagate=True, **progress):
        found[layer.name] = layer
        with torch.no_grad():  # prune the first column
            block, name = int(layer.name.split(".")[1]), layer.name[-1]
            model.blocks[block][name].weight[:, 0] = 0
    assert list(found) == ["blocks.1.a", "blocks.1.b", "blocks.0.a", "blocks.0.b"]
    # those of one block are collected together, so the first block saw the dense model
    for name in ("blocks.1.a", "blocks.1.b"):
        np.testing.assert_array_equal(found[name].gram, dense[name].gram)
    keep = torch.diag(torch.tensor([0.0, 1, 1]))
    third, fourth = (torch.eye(3).roll(i, 0) * (i + 1) for i in (2, 3))
    x = TOKENS @ keep @ third.T @ keep @ fourth.T
    np.testing.assert_array_equal(found["blocks.0.a"].gram, gram(x))
    assert not np.array_equal(found["blocks.0.a"].gram, dense["blocks.0.a"].gram)
    assert passes == ["pass 1 of 2, calibration", "pass 2 of 2, calibration"]


def test_to_propagate_holds_the_grams_of_one_block_at_a_time(monkeypatch):
    held = []
    model = Stack()
    from maskgap.instances.models import passes

    real = passes.accumulate

    def watched(model, share, *rest):
        held.append([site.name for site in share])
        return real(model, share, *rest)

    monkeypatch.setattr(passes, "accumulate", watched)
    list(extract_layers(model, [TOKENS], propagate=True))
    assert held == [["blocks.1.a", "blocks.1.b"], ["blocks.0.a", "blocks.0.b"]]
    held.clear()
    list(extract_layers(model, [TOKENS], propagate=True, gram_bytes=8 * 9))
    assert held == [["blocks.1.a"], ["blocks.1.b"], ["blocks.0.a"], ["blocks.0.b"]]


def test_an_expert_that_the_first_batch_did_not_reach_stays_in_its_block():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.ModuleList(nn.Linear(3, 3) for _ in range(3)) for _ in range(2)
            )

        def forward(self, x):
            for experts in self.layers:
                x = experts[0](x) if x.shape[0] == 1 else experts[1](x)
            return x

    skipped = {}
    found = by_name(
        Routed(), [TOKENS[:1], TOKENS], propagate=True, on_skip=skipped.__setitem__
    )  # fmt: skip
    assert list(found) == ["layers.0.0", "layers.0.1", "layers.1.0", "layers.1.1"]
    assert [found[f"layers.0.{i}"].meta["tokens"] for i in (0, 1)] == ["1", "4"]
    assert skipped == dict.fromkeys(
        ["layers.0.2", "layers.1.2"], "0 tokens: no input reached it"
    )  # fmt: skip
