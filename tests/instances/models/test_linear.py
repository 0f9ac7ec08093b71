"""Which layers of a model are extracted, and which are left out with a reason."""

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.probe import layout
from tests.helpers.toys import GRAM, TOKENS, Net, one


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
    with pytest.raises(InputError, match=r"no layer matches 'fc\*'.*3 linear layers are 0, 2, 3"):
        list(extract_layers(model, [TOKENS], "fc*"))
    several = extract_layers(model, [TOKENS], "3, [0]")
    assert [x.name for x in several] == ["0", "3"]
    with pytest.raises(InputError, match="has no linear layer at all"):
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


class Turned(nn.Module):
    """y = x W with W (d_in, d_out): a class that nobody told the package of."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def forward(self, x):
        return x @ self.weight


class Clipped(Turned):
    """A linear layer for small inputs alone."""

    def forward(self, x):
        return super().forward(x).clamp(-5, 5)


class OwnAttention(nn.MultiheadAttention):
    def forward(self, query, key, value):
        return super().forward(2 * query, key, value)


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
        (Clipped(), "Clipped is not a linear layer known here"),
        (OwnAttention(2, 1), "the forward of OwnAttention is not nn.MultiheadAttention's"),
        (nn.Conv1d(2, 2, 1), "Conv1d is not a linear layer known here"),
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


class Own(nn.Linear):
    """What transformers calls FalconLinear."""

    def forward(self, input):
        return input @ self.weight.T + self.bias


def test_a_class_that_acts_as_a_linear_layer_is_one():
    np.testing.assert_array_equal(one(nn.Sequential(Own(3, 3)), [TOKENS]).gram, GRAM)
    model = nn.Sequential(Turned())
    layer = one(model, [TOKENS[:, :2]])
    np.testing.assert_array_equal(layer.weight, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(layer.gram, GRAM[:2, :2])


class Counting(Own):
    """It counts its calls and draws random numbers."""

    def __init__(self):
        super().__init__(3, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.train()

    def forward(self, input):
        self.calls += 1
        torch.rand(())
        return super().forward(input)


def test_a_trial_leaves_a_module_and_random_numbers_as_they_were():
    module = Counting()
    before = torch.get_rng_state()
    assert layout(module) is False
    assert module.calls == 0
    assert module.training
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_told_is_no_layer():
    module = Own(3, 3)
    with torch.no_grad():
        module.weight.copy_(torch.eye(3))
    assert layout(module) is None  # W and W^T would do
    with torch.no_grad():
        module.weight[0, 1] = 1
    assert layout(module) is False
    assert layout(Doubled(3, 3)) is None
    assert layout(nn.Sequential(Own(3, 3))) is None


def test_a_non_contiguous_weight_is_read_in_its_own_order():
    model = Net(3, 2)
    base = torch.arange(6.0).reshape(3, 2)
    model.l.weight = nn.Parameter(base.t())
    np.testing.assert_array_equal(one(model, [TOKENS]).weight, base.t().double().numpy())


def test_tied_bfloat16_weights_are_one_layer_that_survives_the_file(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).bfloat16()
    model[1].weight = model[0].weight
    x = TOKENS.bfloat16()
    layer = one(model, [x], held_out=[x])
    second = model[0](x).double()
    np.testing.assert_array_equal(layer.gram, GRAM + (second.T @ second).detach().numpy())
    path = tmp_path / f"{layer.name}.safetensors"
    write_layer(path, layer)
    again = read_layer(path)
    assert again.digest == layer.digest
    np.testing.assert_array_equal(again.weight, model[0].weight.detach().double().numpy())
    np.testing.assert_array_equal(again.gram_eval, layer.gram_eval)
    assert (again.meta["dtype"], again.meta["tokens"]) == ("bfloat16", "8")
    assert (layer.name, layer.meta["shares_weight_with"]) == ("0", "1.weight")
    # asked for under its other name, it is the same layer
    other = one(model, [x], "1")
    assert (other.name, other.digest) == ("1", layer.digest)


def test_a_parameter_in_two_layouts_is_left_out():
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    model = nn.ModuleDict(
        {"a": nn.Linear(3, 3), "b": transformers.pytorch_utils.Conv1D(3, 3), "c": nn.Linear(3, 3)}
    )
    model["b"].weight = model["a"].weight
    model.forward = lambda x: model["c"](model["b"](model["a"](x)))
    skipped = {}
    assert one(model, [TOKENS], on_skip=skipped.__setitem__).name == "c"
    assert skipped == {
        "a": "its parameter is used in another layout by b",
        "b": "its parameter is used in another layout by a",
    }


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
