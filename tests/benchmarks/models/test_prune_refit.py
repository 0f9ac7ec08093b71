"""Models pruned under the objective refit: what is written, verified, told and refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_model

from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Solved, Stored
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import read_layer
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.load import load_model as load_any
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from tests.helpers.command import maskgap
from tests.helpers.pruning import samples
from tests.helpers.toys import two_layers

TOY = "tests.helpers.toys:two_layers"
REFIT = objective_spec("refit")


@pytest.fixture
def data(tmp_path):
    return samples(tmp_path)


def pruned(out, data, masks=None, **options):
    masks = masks or Solved("magnitude", "50%", {}, objective=REFIT)
    return prune_model(
        load_any(TOY), masks, out, "*", source=Source(data=Sampling([data]), **options)
    )


def loaded(out):
    model = two_layers()
    load_model(model, out / "model.safetensors")
    return model


def test_the_weights_that_stay_are_the_best_there_are(tmp_path, data):
    reports = pruned(tmp_path / "out", data)
    run_extract(TOY, tmp_path / "layers", calibration=[data])
    model = loaded(tmp_path / "out")
    for report, place in zip(reports, (0, 1), strict=True):
        layer = read_layer(tmp_path / "layers" / f"{place}.safetensors")
        problem = Problem.of(layer, parse_pattern("50%"), objective=REFIT)
        mask = problem.groups.prune_lowest(np.abs(layer.weight))
        expected = problem.refitted(mask).astype(np.float32)
        found = model[place].weight.detach().numpy()
        np.testing.assert_array_equal(found, expected)
        change = expected.astype(np.float64) - layer.weight
        error = np.einsum("ij,jk,ik->", change, layer.gram, change)
        assert report.error == pytest.approx(error, rel=1e-9)
        assert report.error < problem.under(objective_spec("mask")).losses(mask).sum()
        line = report.line()
        assert (line["objective"], line["ridge"]) == ("refit", 0.01)
        tensors, meta = read_tensors(tmp_path / "out" / "masks" / f"{place}.mask.safetensors")
        np.testing.assert_array_equal(tensors["weight"], problem.refitted(mask))
        assert meta["ridge"] == "0.01"


def test_later_layers_see_the_re_optimised_model(tmp_path, data):
    plain = pruned(tmp_path / "a", data)
    along = pruned(tmp_path / "b", data, propagate=True)
    assert along[0].error == plain[0].error
    assert along[1].error != plain[1].error


def test_the_files_that_it_writes_prune_the_model_again(tmp_path, data):
    first = pruned(tmp_path / "a", data)
    again = pruned(tmp_path / "b", data, Stored(tmp_path / "a" / "masks"))
    assert [report.line() | {"seconds": 0} for report in first] == [
        report.line() | {"seconds": 0} for report in again
    ]
    for one, other in zip(
        loaded(tmp_path / "a").parameters(), loaded(tmp_path / "b").parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_reports_of_the_mask_loss_say_nothing_of_a_ridge(tmp_path, data):
    (report, *_) = pruned(tmp_path / "out", data, Solved("magnitude", "50%", {}))
    assert not {"objective", "ridge"} & set(report.line())


def test_a_checkpoint_with_other_weights_is_refused():
    model = two_layers()
    sites = choose_linear(model, "0", (), lambda name, reason: None)
    ledger = Ledger(LoadedModel("two layers", model), sites)
    mask = np.tile([True, False, True, False], (4, 1))
    weights = np.where(mask, np.pi, 0.0)
    ledger.apply(sites[0], mask, weights)
    good = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ledger.verify(good, "there")
    assert good["0.weight"][0].tolist() == pytest.approx([np.pi, 0, np.pi, 0])
    for place, value, said in (((0, 0), 3.0, "kept weights"), ((0, 1), 1.0, "not zero")):
        bad = {name: tensor.clone() for name, tensor in good.items()}
        bad["0.weight"][place] = value
        with pytest.raises(InputError, match=said):
            ledger.verify(bad, "there")


def test_weights_beyond_the_model_s_dtype_are_refused():
    model = two_layers().half()
    (site, *_) = choose_linear(model, "0", (), lambda name, reason: None)
    ledger = Ledger(LoadedModel("two layers", model), [site])
    with pytest.raises(InputError, match="leave the range of"):
        ledger.apply(site, np.ones((4, 4), dtype=bool), np.full((4, 4), 1e6))


def test_who_gives_no_masks_under_refit_is_refused():
    with pytest.raises(Refused, match="not 'refit'"):
        Solved("scip-miqp", "50%", {}, objective=REFIT)


def test_the_command_takes_an_objective(tmp_path, data):
    out = tmp_path / "out"
    done = maskgap("prune", TOY, "--solver", "wanda", "-p", "50%", "--objective", "refit",
                   "--ridge", "0.1", "--calibration", data, "--out", out, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    *layers, total = map(json.loads, done.stdout.splitlines())
    assert {line["ridge"] for line in layers} == {0.1}
    assert total["total"] is True
    both = maskgap("prune", TOY, "--masks", out / "masks", "--objective", "refit", "--out",
                   tmp_path / "b")  # fmt: skip
    assert both.returncode == 2
    assert "mask files have theirs" in both.stderr
    text = (out / "masks" / "0.mask.safetensors").read_bytes()
    (out / "masks" / "0.mask.safetensors").write_bytes(text.replace(b'"refit"', b'"retif"'))
    odd = maskgap("prune", TOY, "--masks", out / "masks", "--calibration", data, "--out",
                  tmp_path / "c")  # fmt: skip
    assert odd.returncode == 2
    assert "did you mean refit" in odd.stderr
