"""Extraction: Grams computed by hand, padding, precision, what fails, what is left behind."""

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.gram import GramSum, real_tokens
from tests.helpers.toys import GRAM, TOKENS, Net, masked, one

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
    monkeypatch.setattr("maskgap.instances.models.gram.TOKENS", 3)
    total = GramSum(3)
    total.add(TOKENS)
    np.testing.assert_array_equal(total.matrix(), GRAM)
    np.testing.assert_array_equal(total.mean(), TOKENS.mean(dim=0).numpy())


def test_the_mean_is_that_of_real_tokens_in_float64():
    layer = one(Net(), list(TOKENS), held_out=[100 * TOKENS])
    np.testing.assert_array_equal(layer.input_mean, TOKENS.mean(dim=0).numpy())
    np.testing.assert_allclose(layer.input_variance(), TOKENS.numpy().var(axis=0), rtol=1e-6)
    padded = one(Net(), [masked(TOKENS[None], [[1, 0, 1, 0]])])
    np.testing.assert_array_equal(padded.input_mean, [1.5, 1.25, 0.5])
    tiny = one(Net(1), [torch.full((1, 1), 2.0**24), *[torch.ones(1, 1)] * 3])
    assert tiny.input_mean == [(2.0**24 + 3) / 4]


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


def test_no_gradients_and_whole_float32_products_inside_and_as_set_before():
    seen = []

    class Watch(Net):
        def forward(self, x):
            seen.append((torch.get_float32_matmul_precision(), torch.is_grad_enabled()))
            return self.l(x)

    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        one(Watch(), [TOKENS])
        assert seen == [("highest", False)]
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
