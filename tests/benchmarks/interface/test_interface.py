"""The Python interface: arrays as callers have them, and results that print in a line."""

import numpy as np
import pytest
import torch

from maskgap import InputError, Layer, bound, certify, check, read_layer, solve, write_layer
from maskgap.benchmarks.interface.problems import LayerExtras
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import root_leaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import ProofFile, write_proof
from maskgap.instances.layer_fields import LAYER_FIELDS
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.triangles import Triangles
from tests.helpers.tiny import random_layer

LAYER = random_layer(5, 8, rows=2)


def _tensors(dtype):
    weight = torch.nn.Parameter(torch.tensor(LAYER.weight, dtype=dtype))
    return weight, torch.tensor(np.round(LAYER.gram * 8) / 8, dtype=dtype, requires_grad=True)


def test_solve_certify_and_bound_take_tensors():
    weight, gram = _tensors(torch.bfloat16)
    (first, second) = solve(weight, gram, "50%", solver="exhaustive")
    mask = torch.tensor(np.stack([first.answer.mask, second.answer.mask]))
    plain = weight.detach().double().numpy(), gram.detach().double().numpy()
    wanted = [judged.certificate.objective for judged in (first, second)]
    for given in (mask, mask.to(torch.float32), mask.to(torch.int8), mask.tolist(), mask.numpy()):
        found = certify(weight, gram, "50%", given, bounds=torch.tensor([0.0, 0.0]))
        assert [one.objective for one in found] == pytest.approx(wanted, rel=1e-12)
    assert [one.objective for one in certify(*plain, "50%", mask)] == pytest.approx(wanted)
    work = bound(weight, gram, "50%", mask=mask, time_limit=30.0)
    assert work.total.verdict == "proved"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.empty(2, 8, device="meta")}, "weight: a tensor on the meta device"),
        ({"weight": [[1.0, 2.0], [3.0]]}, "weight: cannot be made an array"),
        ({"weight": "weights"}, "weight must hold real numbers"),
        ({"gram": torch.eye(8, dtype=torch.complex64)}, "gram must hold real numbers"),
        ({"gram": None}, "gram is missing"),
        ({"mask": torch.ones(2, 7, dtype=torch.bool)}, "mask must have the shape of weight"),
        ({"mask": 0.5 * torch.ones(2, 8)}, "holds other numbers"),
        ({"mask": torch.ones(2, 8)}, "does not meet pattern"),
        ({"bounds": [1.0]}, "1 bounds for 2 parts"),
    ],
)
def test_bad_arrays_are_said_in_words(change, message):
    given = {
        "weight": LAYER.weight,
        "gram": LAYER.gram,
        "mask": np.tile([True, False], (2, 4)),
        "bounds": None,
        **change,
    }
    with pytest.raises(InputError, match=message):
        certify(given["weight"], given["gram"], "50%", given["mask"], bounds=given["bounds"])


# Fields of a layer beyond weight and Gram


def test_costs_forced_entries_and_held_out_text_reach_the_problem():
    forced = torch.zeros(2, 8, dtype=torch.int64)
    forced[0, 0], forced[1, 7] = -1, 1
    cost = torch.arange(1, 9, dtype=torch.float16)
    for pattern, legal in (
        ("50%;forced", lambda row, kept: (not kept[0]) if row == 0 else kept[7]),
        ("50%;cost=40%", lambda row, kept: kept @ np.arange(1, 9) <= 0.4 * 36),
    ):
        rows = solve(LAYER.weight, LAYER.gram, pattern, "exhaustive", time_limit=20.0,
                     column_cost=cost, forced=forced, gram_eval=2 * LAYER.gram)  # fmt: skip
        for one in rows:
            assert one.certificate.verdict == "proved"
            assert legal(one.problem.row, one.answer.mask)
            assert one.certificate.objective_eval == pytest.approx(2 * one.certificate.objective)
        mask = np.stack([one.answer.mask for one in rows])
        found = certify(LAYER.weight, LAYER.gram, pattern, mask, column_cost=cost, forced=forced)
        assert [one.objective for one in found] == [one.certificate.objective for one in rows]
        with pytest.raises(InputError, match="does not meet pattern"):
            certify(LAYER.weight, LAYER.gram, pattern, mask[:, ::-1].copy(), column_cost=cost,
                    forced=forced)  # fmt: skip


# Proofs


@pytest.fixture(scope="module")
def proved():
    """The two rows of LAYER, solved with a proof each."""
    return solve(LAYER.weight, LAYER.gram, "50%", "exhaustive")


def test_a_proof_is_checked_from_a_file_or_from_hand(proved, tmp_path):
    problem = Problem.of(LAYER, parse_pattern("50%"))
    proofs = [one.answer.proof for one in proved]
    write_proof(tmp_path / "p", problem, proofs)
    write_layer(tmp_path / "layer", LAYER)
    for proof in (tmp_path / "p", str(tmp_path / "p"), proofs, tuple(proofs)):
        for layer in (LAYER, tmp_path / "layer", str(tmp_path / "layer")):
            found = check(proof, layer, "50%")
            assert found
            assert (found.holds, found.reason, found.rows) == (True, "", range(2))
            wanted = [one.certificate.objective for one in proved]
            assert [part.bound for part in found.parts] == pytest.approx(wanted)
            assert found.bound == pytest.approx(sum(wanted))
    (second,) = check(proofs[1], LAYER, "50%").parts
    assert second.bound == pytest.approx(proved[1].certificate.objective)
    assert check(tmp_path / "p", LAYER, "50%", rows="0:2")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"pattern": "2:4"}, "2:4"),
        ({"rows": "0:1"}, "rows 0:2, not 0:1"),
        ({"layer": random_layer(6, 8, rows=2)}, "another layer"),
        ({"layer": random_layer(5, 8, rows=1)}, "another layer"),
        ({"time_limit": 1e-9}, "not checked within"),
    ],
)
def test_a_proof_of_another_question_does_not_hold(proved, tmp_path, asked, reason):
    problem = Problem.of(LAYER, parse_pattern("50%"))
    write_proof(tmp_path / "p", problem, [one.answer.proof for one in proved])
    given = {"layer": LAYER, "pattern": "50%", **asked}
    found = check(tmp_path / "p", given.pop("layer"), given.pop("pattern"), **given)
    assert not found
    assert (found.holds, found.bound) == (False, None)
    assert reason in found.reason


def test_a_proof_at_hand_holds_for_its_own_problem_only(proved):
    first, second = (one.answer.proof for one in proved)
    for proofs, layer, pattern in (
        (first, random_layer(6, 8, rows=2), "50%"),
        (first, LAYER, "25%"),
        ([second, first], LAYER, "50%"),
        ([first, first], LAYER, "50%"),
    ):
        found = check(proofs, layer, pattern)
        assert not found.holds
        assert found.reason


def test_a_bound_that_is_too_high_and_a_broken_file_do_not_hold(proved, tmp_path):
    (proof, _) = (one.answer.proof for one in proved)
    false = PartProof(0, proof.problem, 2 * proof.bound + 1.0, None, Enumeration())
    assert "is not supported" in check(false, LAYER, "50%").reason
    (tmp_path / "p").write_bytes(b"no proof at all")
    assert not check(tmp_path / "p", LAYER, "50%")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check("nowhere", LAYER, "50%"), "nowhere: there is no such file"),
        (lambda: check([], LAYER, "50%"), "expected a file, or proofs"),
        (lambda: check([1.0], LAYER, "50%"), "expected a file, or proofs"),
        (lambda: check("nowhere", "no-layer", "50%"), "no-layer: cannot be read"),
        (lambda: check("nowhere", LAYER, "half"), "half"),
        (lambda: check("nowhere", LAYER, "50%", rows="2:1"), "rows '2:1'"),
        (lambda: check("nowhere", LAYER, "50%", time_limit=0.0), "time_limit 0.0"),
    ],
)
def test_bad_questions_are_said_in_words(call, message):
    with pytest.raises(InputError, match=message):
        call()


# Files


def test_layers_are_written_and_read(tmp_path):
    weight, gram = _tensors(torch.float32)
    layer = Layer.from_arrays(weight, (gram + gram.T) / 2, column_cost=torch.ones(8))
    write_layer(tmp_path / "new" / "layer", layer, dtype=np.float32)
    again = read_layer(str(tmp_path / "new" / "layer"))
    assert again.digest == layer.digest
    assert again.gram_roundoff == layer.gram_roundoff == 2.0**-24
    assert again.column_cost.tolist() == [1] * 8
    assert read_layer("query0-n12").d_in == 12
    (tmp_path / "thesis").write_text("mine")
    with pytest.raises(InputError, match="thesis"):
        write_layer(tmp_path / "thesis", layer)
    assert (tmp_path / "thesis").read_text() == "mine"


# What is printed


def test_results_print_short(proved):
    work = bound(LAYER.weight, LAYER.gram, "50%", time_limit=20.0)
    big = np.random.default_rng(0).normal(size=(3, 2000))
    layer = Layer.from_arrays(big, np.eye(2000), name=f"/a/{'long/' * 80}path")
    part = next(iter(Problem.of(layer, parse_pattern("50%"))))
    function = ConvexFunction(
        big[0], big, Triangles(np.zeros((99, 3), np.int32), np.zeros(99, np.int16), np.ones(99))
    )
    leaves = root_leaves(function, big[0])
    proof = PartProof(0, part.digest, 1.0, big[0] > 0, leaves, height=2)
    rows = PartProof(0, part.digest, 1.0, None, SharedBudget((RowProof(2, proof),) * 50))
    for shown in (
        *proved, proved[0].answer, proved[0].certificate, proved[0].problem, proved[0].answer.proof,
        work, work.total, *work.rows, *work.proofs(), check(work.proofs(), LAYER, "50%"),
        check(work.proofs(), LAYER, "25%"), layer, part, Problem.of(layer, parse_pattern("50%")),
        function, function.triangles, leaves, proof, rows, SharedShift(big[0], big[0]),
        ProofFile("d", "50%", "mask", range(3), (proof,) * 50),
    ):  # fmt: skip
        text = repr(shown)
        assert len(text.splitlines()) == 1
        assert len(text) < 200, text
        assert "array" not in text
    assert str(proved[0].certificate.objective) in repr(proved[0])


def test_every_field_of_a_layer_can_be_given():
    arrays = {field.name for field in LAYER_FIELDS} - {"weight", "gram"}
    assert set(LayerExtras.__annotations__) == arrays | {"meta", "name", "gram_roundoff"}
