"""One layer of each architecture against inputs seen another way; then pruned, saved and reloaded.

The inputs are seen by a mode of torch that looks at every product with the matrix, wherever it is
made, so that it knows nothing of modules and their classes.
"""

import json

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from maskgap.benchmarks.models.masks import Choice
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.benchmarks.models.selection import Selection, chosen_sites
from maskgap.instances.arrays import Kept
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.fused import ROUTER
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import LoadedModel, quiet
from tests.helpers.architectures import CASES

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Products(TorchFunctionMode):
    """Inputs of every product with a matrix, known by where it lies in memory."""

    def __init__(self, matrix):
        super().__init__()
        self._where = matrix.data_ptr(), set(matrix.shape)
        self.inputs = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        for place, tensor in enumerate(args):
            product = place and isinstance(tensor, torch.Tensor) and tensor.ndim == 2
            if product and (tensor.data_ptr(), set(tensor.shape)) == self._where:
                inputs = args[place - 1]
                if isinstance(inputs, torch.Tensor) and inputs.is_floating_point():
                    self.inputs.append(inputs.detach().double().reshape(-1, inputs.shape[-1]))
        return func(*args, **(kwargs or {}))


def eagerly(model):
    """Each expert's product by itself."""
    for module in model.modules():
        if hasattr(module, "config") and hasattr(module.config, "_experts_implementation"):
            module.config._experts_implementation = "eager"


@every
def test_the_gram_is_that_of_the_inputs_of_every_product(case):
    with quiet():
        model = case.build()
    skipped = {}
    sites = choose_linear(model, "*", (), skipped.__setitem__)
    assert len(sites) == case.layers
    strange = {n: reason for n, reason in skipped.items() if not case.expects(n, reason)}
    assert not strange
    assert bool(skipped) == bool(case.left_out)
    batches = case.batches()
    (layer,) = extract_layers(model, batches, case.one)
    (site,) = (site for site in sites if site.name == case.one)
    np.testing.assert_array_equal(layer.weight, site.matrix().double().numpy())
    (walked,) = extract_layers(model, batches, case.one, propagate=True)  # block by block
    np.testing.assert_allclose(walked.gram, layer.gram, rtol=0, atol=1e-9 * layer.gram.max())
    eagerly(model)
    products = Products(site.matrix())
    with torch.no_grad(), products:
        for batch in batches:
            model(**batch)
    inputs = torch.cat(products.inputs).numpy()
    assert layer.meta["tokens"] == str(len(inputs))
    gram = inputs.T @ inputs
    np.testing.assert_allclose(layer.gram, gram, rtol=0, atol=1e-5 * np.abs(gram).max())


class Half:
    """Masks that keep a half, drawn."""

    def pattern_of(self, name):
        return "50%"

    def globs(self):
        return []

    def asked(self):
        return {"solver": "drawn"}

    def has(self, name):
        return True

    def of(self, layer):
        score = np.random.default_rng(0).random(layer.weight.shape)
        mask = Kept(score >= np.median(score, axis=1, keepdims=True))
        return Choice(mask, "50%", "magnitude", range(layer.d_out))


@every
def test_a_pruned_model_is_reloaded_and_differs_in_its_mask_alone(case, tmp_path):
    from safetensors.torch import save_file

    with quiet():
        model = case.build()
    dense = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = tmp_path / "data.safetensors"
    first, second = case.batches()
    save_file({name: torch.cat([first[name], second[name]]) for name in first}, data)
    out = tmp_path / "out"
    sampling = Sampling(calibration=[data], samples=4, sequence_length=9)
    loaded = LoadedModel(case.name, model, pretrained=True)
    (report,) = prune_model(loaded, Half(), out, case.one, source=Source(data=sampling))
    assert report.sparsity == 0.5
    with quiet():
        again = getattr(transformers, case.kind).from_pretrained(out, local_files_only=True)
    (site,) = choose_linear(again, case.one, (), lambda name, reason: None)
    pruned = 0
    for name, tensor in again.state_dict().items():
        changed = tensor != dense[name]
        if site.parameter == name:
            pruned = int(changed.sum())
            assert not tensor[changed].any()
            assert int(site.of(changed).sum()) == pruned
        else:
            assert not changed.any(), name
    assert pruned == report.pruned


@pytest.fixture
def mixture():
    (case,) = (case for case in CASES if case.name == "qwen2-moe")
    return case, case.build()


def to_the_first_two(module, args, out):
    """A router that sends all tokens to the first two experts."""
    return out[0], out[1], torch.zeros_like(out[2]) + torch.arange(2)


def test_experts_without_tokens_are_left_out_with_the_reason(mixture):
    case, model = mixture
    gate = model.model.layers[0].mlp.gate
    gate.register_forward_hook(to_the_first_two)
    skipped = {}
    names = "model.layers.0.mlp.experts.*"
    found = [
        layer.name
        for layer in extract_layers(model, case.batches(), names, on_skip=skipped.__setitem__)
    ]
    assert found == [
        f"model.layers.0.mlp.experts.{expert}.{part}"
        for expert in (0, 1)
        for part in ("gate_up_proj", "down_proj")
    ]
    assert set(skipped.values()) == {"0 tokens: no input reached it"}
    assert len(skipped) == 4


def test_padding_is_not_among_an_experts_tokens(mixture):
    case, model = mixture
    name = "model.layers.0.mlp.experts.1.gate_up_proj"
    ids = case.batches()[0]["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    (padded,) = extract_layers(model, [{"input_ids": ids, "attention_mask": mask}], name)
    alone = [{"input_ids": ids[:1]}, {"input_ids": ids[1:, :4]}]
    (plain,) = extract_layers(model, alone, name)
    assert padded.meta["tokens"] == plain.meta["tokens"]
    np.testing.assert_allclose(padded.gram, plain.gram, rtol=0, atol=1e-6)


def test_routers_stay_dense_unless_named(mixture):
    case, model = mixture
    loaded = LoadedModel(case.name, model, pretrained=True)
    told = {}
    chosen = Selection("model.layers.0.mlp.*")
    sites = chosen_sites(loaded, Half(), chosen, told.__setitem__)
    assert len(sites) == 11
    assert {name: reason.partition(";")[0] for name, reason in told.items()} == {
        f"model.layers.0.mlp.{name}": ROUTER for name in ("gate", "shared_expert_gate")
    }
    chosen = Selection("model.layers.0.mlp.shared_expert_gate")
    (site,) = chosen_sites(loaded, Half(), chosen, told.__setitem__)
    assert site.d_out == 1


def test_what_stays_dense_is_told_in_the_summary(mixture, tmp_path):
    from safetensors.torch import save_file

    case, model = mixture
    model.model.layers[0].mlp.gate.register_forward_hook(to_the_first_two)
    save_file(
        {name: torch.cat([tensor] * 2) for name, tensor in case.batches()[0].items()},
        tmp_path / "data.safetensors",
    )
    data = Sampling(calibration=[tmp_path / "data.safetensors"], samples=4, sequence_length=9)
    reports = prune_model(
        LoadedModel(case.name, model, pretrained=True),
        Half(),
        tmp_path / "out",
        Selection("model.layers.0.mlp.*"),
        source=Source(data=data),
    )
    assert len(reports) == 7
    left_out = json.loads((tmp_path / "out" / "pruning.json").read_text())["left_out"]
    reasons = {name.removeprefix("model.layers.0.mlp."): left_out[name] for name in left_out}
    assert reasons == {
        "gate": ROUTER,
        "shared_expert_gate": f"{ROUTER}; name it in --layers to prune it",
        **{
            f"experts.{expert}.{part}": "0 tokens: no input reached it"
            for expert in (2, 3)
            for part in ("gate_up_proj", "down_proj")
        },
    }
