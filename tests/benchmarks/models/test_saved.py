"""Layers that are pruned are found in what is saved: ties, parts, computed and absent weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, vector_to_parameters, weight_norm
from torch.nn.utils.parametrize import register_parametrization

from maskgap.benchmarks.models.evaluate import evaluate_model
from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import LoadedModel, load_model
from maskgap.instances.models.memory import overlapping, place, shared_names
from maskgap.instances.models.own import moved
from tests.helpers.toys import BUILD, chosen

NAME = "tests.helpers.toys:chosen"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))
    return path


def pruned(build, data, out, layers="*"):
    """(reports, lines) of pruning half of a model by magnitude."""
    BUILD["next"] = build
    lines = []
    masks, source = Solved("magnitude", "50%", {}), Source(data=Sampling([data]))
    return prune_model(load_model(NAME), masks, out, layers, source=source, say=lines.append), lines


def stack(change):
    """Two linear layers, of which the first is changed."""

    def build():
        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        return change(model[0]) and model

    return build


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized(layer):
    return register_parametrization(layer, "weight", Doubled())


def emptied(layer):
    del layer.weight
    layer.weight = torch.ones(8, 8)
    return layer


COMPUTED = {
    "pruned by torch": (
        lambda m: prune.l1_unstructured(m, "weight", 0.3),
        "weight_orig and weight",
    ),
    "weight norm": (parametrizations.weight_norm, "the parametrization WeightNorm"),
    "spectral norm": (parametrizations.spectral_norm, "the parametrization SpectralNorm"),
    "orthogonal": (parametrizations.orthogonal, "the parametrization Orthogonal"),
    "old spectral norm": (spectral_norm, "weight_orig and weight_u and weight_v"),
    "of one's own": (parametrized, "the parametrization Doubled"),
    "a plain attribute": (emptied, "computed in each forward"),
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_computed_weight_is_left_out_with_the_reason(kind, data, tmp_path):
    change, reason = COMPUTED[kind]
    (report,), lines = pruned(stack(change), data, tmp_path / "out")
    assert report.layer == "2"
    left_out = [line for line in lines if line.startswith("0 is left out: its weight is computed")]
    assert len(left_out) == 1
    assert reason in left_out[0]
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert (saved["2.weight"] == 0).sum() == 16
    dense = chosen().state_dict()
    assert [key for key in dense if not torch.equal(saved[key], dense[key])] == ["2.weight"]
    with pytest.raises(InputError, match=r"can be extracted: 0: its weight is computed"):
        pruned(stack(change), data, tmp_path / "named", "0")
    with pytest.raises(InputError, match=r"can be extracted: 0: its weight is computed"):
        list(extract_layers(stack(change)(), [torch.ones(1, 8)], "0"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_first_weight_norm_of_torch_is_left_out_too(data, tmp_path):
    _, lines = pruned(stack(weight_norm), data, tmp_path / "out")
    assert any("computed from weight_g and weight_v" in line for line in lines)


def test_a_layer_whose_mask_was_made_permanent_is_pruned(data, tmp_path):
    def change(layer):
        return prune.remove(prune.l1_unstructured(layer, "weight", 0.3), "weight")

    reports, _ = pruned(stack(change), data, tmp_path / "out")
    assert [report.layer for report in reports] == ["0", "2"]


class Three(nn.Module):
    """Three projections whose weights a subclass makes parts of one tensor."""

    def __init__(self, *weights):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 4, bias=False) for _ in range(3))
        for layer, weight in zip((self.q, self.k, self.v), weights, strict=False):
            layer.weight = nn.Parameter(weight)

    def forward(self, x):
        return self.q(x) + self.k(x) * self.v(x)


def flat():
    model = Three()
    vector_to_parameters(torch.randn(96), model.parameters())
    return model


VIEWS = {
    "rows": lambda: Three(*torch.randn(12, 8).chunk(3)),
    "columns": lambda: Three(*torch.randn(4, 24).chunk(3, dim=1)),
    "every third row": lambda: Three(*(torch.randn(12, 8)[i::3] for i in range(3))),
    "one vector": flat,
    "transposed": lambda: Three(torch.randn(8, 4).T),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_parts_of_one_tensor_are_pruned_and_saved_as_tensors_of_their_own(kind, data, tmp_path):
    out = tmp_path / "out"
    reports, _ = pruned(VIEWS[kind], data, out)
    assert [report.layer for report in reports] == ["q", "k", "v"]
    dense, saved = chosen(), load_file(out / "model.safetensors")
    for name in "qkv":
        weight = dense.get_submodule(name).weight.detach().clone()
        for row in weight:
            row[row.abs().argsort()[:4]] = 0
        assert torch.equal(saved[f"{name}.weight"], weight)
    again = load_model(f"{NAME}@{out / 'model.safetensors'}").module
    assert all(torch.equal(again.state_dict()[key], saved[key]) for key in saved)
    assert (out / "model.safetensors").stat().st_size < 1200  # each part once, not the whole


def overlapping_rows():
    whole = torch.randn(12, 8)
    return Three(whole[:4], whole[2:6], whole[8:])


def transposed_tie():
    whole = torch.randn(8, 8)
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[0].weight, model[1].weight = nn.Parameter(whole), nn.Parameter(whole.T)
    return model


def expanded():
    return Three(torch.randn(1, 8).expand(4, 8))


@pytest.mark.parametrize(
    ("build", "left_out"),
    [(overlapping_rows, {"q": "k", "k": "q"}), (transposed_tie, None), (expanded, {"q": "q"})],
)
def test_weights_that_share_some_entries_are_left_out(build, left_out, data, tmp_path):
    if left_out is None:
        with pytest.raises(InputError, match=r"0: its weight shares part of its memory with 1\.w"):
            pruned(build, data, tmp_path / "out")
        return
    skipped = {}
    choose_linear(build(), "*", (), skipped.__setitem__)
    assert skipped == {
        name: f"its weight shares part of its memory with {other}.weight, so that both would change"
        for name, other in left_out.items()
    }


class Tied(nn.Module):
    """A head whose weight is another parameter in the memory of the embedding's."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.emb, self.lm = nn.Embedding(8, 8), nn.Linear(8, 8, bias=False)
        self.lm.weight = nn.Parameter(self.emb.weight.data)

    def forward(self, x):
        return self.lm(self.inner(x @ self.emb.weight))


def test_weights_tied_by_memory_are_tied(data, tmp_path):
    reports, lines = pruned(Tied, data, tmp_path / "out")
    assert [report.layer for report in reports] == ["inner"]
    assert "lm is left out: it shares its weight with emb; name it in --layers to prune both" in (
        lines
    )
    reports, _ = pruned(Tied, data, tmp_path / "named", "lm")
    file = tmp_path / "named" / "model.safetensors"
    saved = load_file(file)
    assert sorted(saved) == ["emb.weight", "inner.bias", "inner.weight"]
    again = load_model(f"{NAME}@{file}").module
    assert (again.lm.weight == 0).sum() == 32
    assert torch.equal(again.lm.weight, again.emb.weight)
    save_file({**saved, "lm.weight": saved["emb.weight"] + 1}, file)
    with pytest.raises(InputError, match=r"emb.weight and lm.weight are one tensor of the model"):
        load_model(f"{NAME}@{file}")


def test_two_layers_tied_by_memory_are_one_layer_with_the_sum_of_both_grams():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.data)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    (layer,) = extract_layers(model, [x])
    second = (x @ model[0].weight.T).detach()
    expected = sum((rows.double().T @ rows.double()).numpy() for rows in (x, second))
    np.testing.assert_allclose(layer.gram, expected, rtol=1e-6)
    assert (layer.meta["tokens"], layer.meta["shares_weight_with"]) == ("10", "1.weight")


def test_places_of_tensors():
    whole = torch.randn(4, 4)
    assert place(whole) == place(whole.detach()) == place(nn.Parameter(whole)) == place(whole[:])
    assert place(whole) == place(whole.reshape(4, 4)) != place(whole.reshape(16))
    assert len({place(t) for t in (whole, whole.T, whole[:2], whole[2:], whole.clone())}) == 5
    model = Three(*torch.randn(12, 8).chunk(3))
    model.register_buffer("copy", model.q.weight.data, persistent=False)
    assert overlapping(model) == {}
    assert shared_names(model)["q.weight"] == ["copy"]
    model.register_buffer("bits", model.q.weight.data.view(torch.int16), persistent=False)
    assert set(overlapping(model).values()) == {"bits", "q.weight"}


# What cannot be saved


def meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(8, 8))


def partly_meta():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1] = meta()[0]
    return model


class Unused(nn.Module):
    def __init__(self, unused):
        super().__init__()
        self.l, self.unused = nn.Linear(8, 8), unused

    def forward(self, x):
        return self.l(x)


class Secret(nn.Linear):
    """It is not in the state dict that it gives."""

    def state_dict(self, *args, **kwargs):
        return {}


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"seen": 3}


class Raises(nn.Linear):
    def state_dict(self, *args, **kwargs):
        raise KeyError("no state")


def packed():
    return Unused(torch.ao.nn.quantized.dynamic.Linear(8, 8))


def sparse():
    model = Unused(nn.Linear(8, 8))
    model.unused.weight = nn.Parameter(model.unused.weight.detach().to_sparse())
    return model


quantizing = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")


@quantizing
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (meta, "0.weight is not loaded (device 'meta')"),
        (partly_meta, "1.weight is not loaded (device 'meta')"),
        (lambda: Unused(nn.LazyLinear(3)), "unused.weight is without a shape"),
        (packed, "unused._packed_params.dtype is a dtype"),
        (sparse, "unused.weight is a Tensor (torch.sparse_coo)"),
        (lambda: Unused(Extra(8, 8)), "unused._extra_state is a dict"),
        (lambda: Secret(8, 8), "weight is not in the model's state dict"),
        (lambda: Raises(8, 8), "its state_dict fails: KeyError: 'no state'"),
    ],
)
def test_what_cannot_be_saved_is_refused_in_one_line_before_the_work(
    build, message, data, tmp_path
):
    with pytest.raises(InputError) as caught:
        pruned(build, data, tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@quantizing
@pytest.mark.parametrize("build", [packed, lambda: Unused(nn.LazyLinear(3)), sparse])
def test_an_unused_layer_that_cannot_be_read_keeps_no_other_from_being_extracted(build):
    skipped = {}
    (layer,) = extract_layers(build(), [torch.ones(2, 8)], on_skip=skipped.__setitem__)
    assert layer.name == "l"
    assert list(skipped) == ["unused"]


def test_models_without_values_are_refused_when_loaded():
    for build in (meta, partly_meta):
        BUILD["next"] = build
        with pytest.raises(InputError, match="weight is not loaded"):
            load_model(NAME)


def test_a_model_with_computed_weights_is_evaluated(data):
    models = [
        LoadedModel(name, stack(parametrizations.weight_norm)().eval()) for name in ("one", "other")
    ]
    with torch.no_grad():
        models[1].module[2].weight.copy_(models[0].module[2].weight * 2)
    found = evaluate_model(models[1], models[0], Sampling([data]))
    assert [layer.layer for layer in found.layers] == ["2"]


@pytest.mark.parametrize(
    ("build", "names"), [(Tied, "emb.weight, lm.weight"), (overlapping_rows, "k.weight")]
)
def test_a_device_to_which_ties_do_not_move_is_refused(build, names):
    """Any device but the model's own: each parameter is copied there by itself."""
    torch.manual_seed(0)
    with pytest.raises(InputError, match=rf"\({names}\) would be taken apart on meta"):
        moved("m", build(), torch.device("meta"))
    assert moved("m", build(), torch.device("cpu"))
    assert moved("m", VIEWS["rows"](), torch.device("meta"))
