"""Bounds by one diagonal shift of a layer: valid, one factorisation, mutations caught."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify import shared_shift
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError, ProofError, Refused
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.files import read_layer
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import layer_shift
from maskgap.solvers.protocol import Deadline, Limits, Stop
from maskgap.solvers.registry import build
from tests.helpers import layer_bounds
from tests.helpers.layer_bounds import optima
from tests.helpers.tiny import random_layer

bounds_of = partial(layer_bounds.bounds_of, "shift-bound")


@pytest.mark.parametrize("shift", ["none", "eig", "proximal"])
@pytest.mark.parametrize("pattern", ["50%", "keep=1", "2:4", "0%", "100%"])
def test_bounds_lie_below_every_optimum(shift, pattern):
    layer = random_layer(4, 8, rows=5)
    problem, _, checked = bounds_of(layer, pattern, shift=shift)
    best = optima(layer, problem.groups)
    assert (checked <= best * (1 + 1e-12)).all()
    assert (checked >= 0.1 * best).all()
    if pattern == "100%":
        np.testing.assert_allclose(checked, best, rtol=1e-6)


def test_each_shift_is_stronger_than_the_one_before():
    layer = random_layer(7, 48, rows=12, tokens=400)
    totals = [
        bounds_of(layer, "50%", shift=shift, precision="float64")[2].sum()
        for shift in ("none", "eig", "proximal")
    ]
    assert totals[0] * 1.005 < totals[1] < totals[2]


def test_equal_columns_have_the_shift_known_by_hand():
    # R = (1 - r) I + r e e^T has lambda_min = 1 - r; by symmetry x = k / n, whatever the weight
    n, r = 8, 0.25
    layer = Layer.from_arrays(np.ones((1, n)), (1 - r) * np.eye(n) + r)
    _, answers, checked = bounds_of(layer, "50%", shift="eig", precision="float64", tolerance=0.0)
    assert checked[0] == pytest.approx(4 * (1 - r) + r * 16, rel=0.02)  # the loss of every mask
    np.testing.assert_allclose(answers[0].proof.evidence.shift, 1 - r, rtol=0.02)


@st.composite
def layers(draw):
    """At most 3 rows of 8 columns: low rank, duplicated, dead columns, zero weights, float32."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inputs = rng.normal(size=(8, draw(st.sampled_from([1, 3, 24]))))
    weight = rng.normal(size=(3, 8)) * np.exp(
        draw(st.sampled_from([0.0, 3.0])) * rng.normal(size=8)
    )
    kind = draw(st.sampled_from(["plain", "duplicates", "dead", "zero", "float32", "outlier"]))
    if kind == "duplicates":
        inputs[4:] = inputs[:4]
    if kind == "dead":
        inputs[::3] = 0.0
        weight[:, 1::4] = 0.0
    if kind == "zero":
        inputs[:] = 0.0
    if kind == "outlier":
        inputs[5] *= 1e4
    scale = 10.0 ** draw(st.integers(-12, 12))
    gram = inputs @ inputs.T
    gram = gram.astype(np.float32).astype(np.float64) if kind == "float32" else gram
    return Layer.from_arrays(weight, scale * gram)


@given(
    layer=layers(),
    pattern=st.sampled_from(["50%", "2:4", "keep=7"]),
    shift=st.sampled_from(["none", "eig", "proximal"]),
)
def test_no_bound_exceeds_brute_force(layer, pattern, shift):
    problem, _, checked = bounds_of(layer, pattern, shift=shift)
    size = np.abs(layer.weight) @ np.abs(layer.gram) * np.abs(layer.weight)
    assert (checked <= np.maximum(0.0, optima(layer, problem.groups)) + 1e-13 * size.sum()).all()


def test_a_gram_of_mixed_signs_is_refused():
    gram = np.diag([1.0, 0.0, 1.0, 1.0])
    gram[0, 1] = gram[1, 0] = 1e-6
    with pytest.raises(Refused, match="row 1 has a diagonal entry of 0"):
        bounds_of(Layer.from_arrays(np.ones((1, 4)), gram), "50%")


def test_the_deadline_leaves_rows_without_a_bound_or_valid_ones():
    problem = Problem.of(random_layer(1, 16, rows=4), parse_pattern("50%"))
    answers = build("shift-bound").solve_rows(problem, Limits(Deadline(0.0)), 0)
    assert [(a.stop, a.proof) for a in answers] == [(Stop.TIME, None)] * 4


@pytest.mark.parametrize(
    "settings", [{"shift": "best"}, {"precision": "half"}, {"iterations": -1}, {"tolerance": "nan"}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match="shift-bound"):
        build("shift-bound", settings)


def test_a_file_of_many_rows_holds_the_shift_once(tmp_path):
    problem, answers, checked = bounds_of(random_layer(2, 64, rows=6), "2:4")
    path = tmp_path / "proof.safetensors"
    write_proof(path, problem, [a.proof for a in answers])
    back = read_proof(path).proofs
    assert all(proof.evidence.shift is back[0].evidence.shift for proof in back)
    assert [type(proof.evidence) for proof in back] == [SharedShift] * 6
    again = [check_part(problem.part_of(proof.row), proof).bound for proof in back]
    np.testing.assert_array_equal(again, checked)


def test_one_factorisation_serves_all_rows(monkeypatch):
    problem = Problem.of(random_layer(5, 24, rows=6), parse_pattern("50%"))
    answers = build("shift-bound").solve_rows(problem, Limits(Deadline(60.0)), 0)
    calls, true = [], shared_shift.defect
    monkeypatch.setattr(shared_shift, "defect", lambda m: calls.append(1) or true(m))
    for answer in answers:
        check_part(problem.part_of(answer.proof.row), answer.proof)
    assert len(calls) == 1


def _mutated(proof, **changes):
    return replace(proof, evidence=replace(proof.evidence, **changes))


def test_mutations_are_caught_or_leave_a_valid_bound():
    layer = random_layer(9, 10, rows=1)
    problem, (answer,), _ = bounds_of(layer, "50%")
    row, proof = problem.part_of(0), answer.proof
    best = optima(layer, problem.groups)[0]
    rng, held, refused = np.random.default_rng(0), proof.evidence, 0
    with pytest.raises(ProofError, match="not supported"):
        check_part(row, replace(proof, bound=proof.bound * (1 + 1e-6)))
    with pytest.raises(ProofError, match="not positive semidefinite"):
        check_part(row, _mutated(proof, shift=held.shift + 0.5 * layer.gram.diagonal()))
    for _ in range(200):
        factor = 1 + 0.3 * rng.normal(size=10) * (rng.random(10) < 0.2)
        point = (held.point + 0.2 * rng.normal(size=10)).astype(np.float32)
        other = replace(_mutated(proof, shift=held.shift * factor, point=point), bound=0.0)
        try:
            bound = check_part(row, other).bound
        except ProofError:
            refused += 1
        else:
            assert bound <= best * (1 + 1e-12)
    assert 0 < refused < 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point": np.zeros(9, np.float32)}, r"point: expected float32 of shape \(10\)"),
        ({"point": np.full(10, np.nan, np.float32)}, "point: expected finite"),
        ({"point": np.zeros(10)}, "point: expected float32"),
        ({"shift": np.zeros(9)}, r"shift: expected float64 of shape \(10\)"),
        ({"shift": np.zeros(10, np.float32)}, "shift: expected float64"),
        ({"shift": np.full(10, np.inf)}, "shift: expected finite"),
        ({"shift": np.full(10, np.nan)}, "shift: expected finite"),
    ],
)
def test_malformed_parts_are_named(change, message):
    problem, (answer,), _ = bounds_of(random_layer(9, 10), "50%")
    with pytest.raises(ProofError, match=message):
        check_part(problem.part_of(0), _mutated(answer.proof, **change))


def test_a_proof_without_its_shift_and_one_of_another_layer_are_rejected():
    problem, (answer,), _ = bounds_of(random_layer(9, 10), "50%")
    with pytest.raises(ProofError, match="none of a proof"):
        check_part(problem.part_of(0), replace(answer.proof, evidence=None))
    other = Problem.of(random_layer(10, 10), parse_pattern("50%"))
    with pytest.raises(ProofError, match="another problem"):
        check_part(other.part_of(0), answer.proof)


def test_a_shift_of_a_dead_column_may_not_be_positive():
    gram = np.diag([0.0, 1.0, 2.0, 3.0])
    problem, (answer,), _ = bounds_of(Layer.from_arrays(np.ones((1, 4)), gram), "50%")
    shift = answer.proof.evidence.shift.copy()
    shift[0] = 1e-12
    with pytest.raises(ProofError, match="column 0, which is dead"):
        check_part(problem.part_of(0), _mutated(answer.proof, shift=shift))


def test_widely_scaled_columns_keep_their_bound():
    rng = np.random.default_rng(3)
    scale = 10.0 ** rng.uniform(-6, 6, 12)
    layer = random_layer(3, 12)
    other = Layer.from_arrays(layer.weight / scale, scale[:, None] * layer.gram * scale)
    _, _, plain = bounds_of(layer, "50%", precision="float64")
    _, _, scaled = bounds_of(other, "50%", precision="float64")
    np.testing.assert_allclose(scaled, plain, rtol=1e-3)


def test_the_least_eigenvalue_is_approached_from_below():
    layer = random_layer(6, 40)
    root = np.sqrt(layer.gram.diagonal())
    inner = layer.gram / np.outer(root, root)
    true = np.linalg.eigvalsh(inner)[0]
    found = layer_shift.least_eigenvalue(torch.as_tensor(inner))
    assert 0.5 * true <= found <= true
    assert layer_shift.least_eigenvalue(torch.ones(5, 5, dtype=torch.float64)) == 0.0


def test_bounds_on_the_bank(known):
    for entry in json.loads((known / "known.json").read_text()):
        layer = read_layer(known / entry["file"])
        for shift in ("none", "eig", "proximal"):
            _, _, checked = bounds_of(layer, entry["pattern"], shift=shift)
            assert 0.3 < checked[0] / entry["optimum"] <= 1 + 1e-9, entry["file"]


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_bounds_on_whole_layers_lie_below_the_best_known(known, pattern):
    for entry in json.loads((known / "known_layers.json").read_text()):
        layer = read_layer(known / entry["file"])
        _, _, checked = bounds_of(layer, pattern)
        for best in entry["best_known"][pattern]:
            share = checked[best["row"]] / best["best_known"]
            assert 0.3 < share <= 1 + 1e-9, (entry["file"], best["row"])
