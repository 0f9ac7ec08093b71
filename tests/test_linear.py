"""Which layers of a model are extracted, and which are left out with a reason."""

import numpy as np
import pytest
import torch
from torch import nn

from instances.errors import InputError
from instances.extract import extract_layers
from instances.files import read_layer, write_layer
from tests.toys import GRAM, TOKENS, Net, one


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
