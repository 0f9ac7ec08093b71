"""Mask files with re-optimised weights: written by solve, read back, judged as they are."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import maskgap as package
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_mask, read_mask_file, write_layer
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.hessian import Hessian
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from tests.helpers.tiny import random_layer

FILE = "m.mask.safetensors"


@pytest.fixture
def layer(tmp_path):
    made = random_layer(5, 12, rows=3)
    write_layer(tmp_path / "layer", made)
    return made


def solved(called, *words):
    done = called("solve", "layer", "-p", "50%", "--solver", "wanda", "--out", FILE, *words)
    assert done.returncode == 0, done


def lines(done, code=0):
    assert done.returncode == code, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_solve_writes_the_best_weights_of_its_masks(called, layer, tmp_path):
    solved(called, "--objective", "refit", "--ridge", "0.03")
    tensors, meta = read_tensors(tmp_path / FILE)
    assert (meta["objective"], meta["ridge"], meta["solver"]) == ("refit", "0.03", "wanda")
    assert meta["digest"] == layer.digest
    spec = objective_spec("refit", 0.03)
    for part in Problem.of(layer, parse_pattern("50%"), objective=spec):
        mask, weights = tensors["mask"][part.row], tensors["weight"][part.row]
        assert not weights[~mask].any()
        assert weights == pytest.approx(part.refitted(mask), rel=1e-12)
    held = read_mask_file(tmp_path / FILE, layer)
    np.testing.assert_array_equal(held.weights, tensors["weight"])
    np.testing.assert_array_equal(read_mask(tmp_path / FILE, layer), tensors["mask"])


def test_masks_of_the_mask_loss_have_no_weights(called, layer, tmp_path):
    solved(called)
    tensors, meta = read_tensors(tmp_path / FILE)
    assert set(tensors) == {"mask"}
    assert meta["objective"] == "mask"
    assert "ridge" not in meta


def test_rows_that_were_not_solved_keep_their_weights(called, layer, tmp_path):
    solved(called, "--objective", "refit", "--rows", "1:2")
    held = read_mask_file(tmp_path / FILE, layer)
    np.testing.assert_array_equal(held.weights[[0, 2]], layer.weight[[0, 2]])
    assert held.mask[[0, 2]].all()
    assert (held.weights[1] == 0.0).sum() == 6


def test_weights_of_a_file_are_judged_as_they_are(called, layer, tmp_path):
    solved(called, "--objective", "refit")
    words = ("bound", "layer", "-p", "50%", "--mask", FILE, "--objective", "refit", "--json",
             "--time-limit", "5")  # fmt: skip
    *best, total = lines(called(*words))
    tensors, meta = read_tensors(tmp_path / FILE)
    hessian = np.ldexp(*Hessian.of(layer, 0.01).unit)
    worse = np.where(tensors["mask"], 1.05 * tensors["weight"], 0.0)
    save_file({"mask": tensors["mask"], "weight": worse}, tmp_path / FILE, meta)
    *rows, sums = lines(called(*words))
    for one, row, x, w in zip(best, rows, worse, layer.weight, strict=True):
        change = x - w
        assert row["objective"] == pytest.approx(change @ hessian @ change, rel=1e-12)
        assert row["error_without_ridge"] == pytest.approx(change @ layer.gram @ change, rel=1e-12)
        assert row["objective"] > one["objective"]
        assert row["ridge"] == 0.01
    assert sums["objective"] > total["objective"]
    assert sums["error_without_ridge"] == pytest.approx(
        sum(row["error_without_ridge"] for row in rows)
    )
    # without weights, the mask is judged at the best there are
    save_file({"mask": tensors["mask"]}, tmp_path / FILE, meta)
    assert lines(called(*words))[-1]["objective"] == pytest.approx(total["objective"], rel=1e-12)


def test_under_the_mask_loss_the_weights_of_a_file_are_not_looked_at(called, layer, tmp_path):
    solved(called, "--objective", "refit")
    done = called("bound", "layer", "-p", "50%", "--mask", FILE, "--json", "--max-runs", "1")
    assert "its mask alone is judged" in done.stderr
    problem = Problem.of(layer, parse_pattern("50%"))
    mask = read_mask(tmp_path / FILE, layer)
    found = [line["objective"] for line in lines(done)[:-1]]
    assert found == pytest.approx(problem.losses(mask), rel=1e-12)


def test_arrays_are_judged_as_they_are_by_bound_too(layer):
    problem = Problem.of(layer, parse_pattern("50%"), objective=objective_spec("refit"))
    mask = problem.groups.prune_lowest(np.abs(layer.weight))
    weights = 0.9 * problem.refitted(mask)
    work = package.bound(
        layer.weight, layer.gram, "50%", mask, weights=weights, objective="refit", time_limit=5
    )
    judged = package.certify(
        layer.weight, layer.gram, "50%", mask, weights=weights, objective="refit"
    )
    for state, certificate in zip(work.rows, judged, strict=True):
        assert state.certificate.objective == pytest.approx(certificate.objective, rel=1e-12)
    assert work.total.objective > problem.losses(mask).sum()
    with pytest.raises(InputError, match="under objective refit, for a mask"):
        package.bound(layer.weight, layer.gram, "50%", weights=weights, objective="refit")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w, m: np.where(m, w, 1e-9), "and the mask prunes it: expected 0"),
        (lambda w, m: np.where(m, np.inf, w), "weight row 0, column"),
        (lambda w, m: w[:2], "expected a real tensor 'weight' of shape (3, 12)"),
        (lambda w, m: w.astype(np.int64), "expected a real tensor 'weight'"),
    ],
)
@pytest.mark.parametrize("command", ["bound", "show"])
def test_bad_weights_are_one_line(called, layer, tmp_path, change, said, command):
    solved(called, "--objective", "refit")
    tensors, meta = read_tensors(tmp_path / FILE)
    bad = np.ascontiguousarray(change(tensors["weight"], tensors["mask"]))
    save_file({"mask": tensors["mask"], "weight": bad}, tmp_path / FILE, meta)
    words = {
        "bound": ("layer", "-p", "50%", "--mask", FILE, "--objective", "refit"),
        "show": (FILE,),
    }[command]
    done = called(command, *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert FILE in done.stderr


def test_weights_of_half_precision_are_read(called, layer, tmp_path):
    solved(called, "--objective", "refit")
    tensors, meta = read_tensors(tmp_path / FILE)
    save_file(
        {"mask": tensors["mask"], "weight": tensors["weight"].astype(np.float16)},
        tmp_path / FILE, meta,
    )  # fmt: skip
    held = read_mask_file(tmp_path / FILE, layer)
    assert held.weights.dtype == np.float64
    assert held.weights == pytest.approx(tensors["weight"], rel=1e-3)


def test_show_says_that_a_file_has_weights(called, layer):
    solved(called, "--objective", "refit")
    assert lines(called("show", FILE, "--json"))[0]["weights"] is True
    said = called("show", FILE).stdout
    assert "re-optimised" in said
    assert "objective: refit" in said
    assert load_file(FILE)
