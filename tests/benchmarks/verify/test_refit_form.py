"""The form of proofs under refit, and what they must be about."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import maskgap
from maskgap.benchmarks.verify.check import check_part, question_of
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.shared_budget import row_bounds
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import root_leaves
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.objective import MASK, objective_spec
from tests.fuzz.mutations import file_bytes, signed
from tests.helpers.refit_cases import case, least
from tests.helpers.refit_proofs import (
    bound_or_none,
    refit_part,
    refit_problem,
    refit_proof,
    refit_root,
)

# ---- form and question

MALFORMED = {
    "no diagonal": ({"diagonals": np.zeros((0, 8))}, "dropped: expected"),
    "flat diagonal": ({"diagonals": np.zeros(8)}, "diagonals: expected"),
    "wide diagonal": ({"diagonals": np.ones((1, 9))}, "diagonals: expected"),
    "diagonal of float32": ({"diagonals": np.ones((1, 8), "f4")}, "diagonals: expected"),
    "none at all": ({"diagonals": None}, "diagonals: expected"),
    "nan": ({"diagonals": np.full((1, 8), np.nan)}, "diagonals: expected finite"),
    "infinite": ({"diagonals": np.full((1, 8), np.inf)}, "diagonals: expected finite"),
    "dropped as numbers": ({"dropped": np.zeros((1, 8), "i1")}, "dropped: expected"),
    "no points": ({"points": np.zeros((0, 8), "f8")}, "names a point"),
    "points of nan": ({"points": np.full((1, 8), np.nan, "f8")}, "points: expected finite"),
    "point -1": ({"point": np.array([-1], "i4")}, "names a point"),
    "point 1": ({"point": np.array([1], "i4")}, "names a point"),
    "no function": ({"function": np.array([-1], "i4")}, "names a diagonal"),
    "function 1": ({"function": np.array([1], "i4")}, "names a diagonal"),
    "two functions": ({"function": np.array([0, 0], "i4")}, "2 functions"),
    "no tree": ({"branch": np.zeros(0, "i4")}, "1 functions and 1 points for 0 leaves"),
    "short tree": ({"branch": np.array([0, -1], "i4")}, "ends before"),
    "far column": (
        {"branch": np.array([8, -1, -1], "i4"), "function": np.zeros(2, "i4"),
         "point": np.zeros(2, "i4")}, "splits column 8"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_trees_are_named(name):
    part, _, _ = case("50%")
    changes, reason = MALFORMED[name]
    root = refit_root(part)
    check_part(part, refit_proof(part, root))
    with pytest.raises(ProofError, match=reason):
        check_part(part, refit_proof(part, replace(root, **changes)))


def test_evidence_of_the_other_objective_is_refused():
    part, _, _ = case("50%")
    mask_part = part.under(MASK)
    n = part.n
    others = (
        Enumeration(),
        root_leaves(ConvexFunction(np.zeros(n), np.zeros((1, n))), np.zeros(n)),
        SharedShift(np.zeros(n), np.zeros(n, np.float32)),
    )
    for evidence in others:
        assert bound_or_none(mask_part, refit_proof(mask_part, evidence)) is not None
        with pytest.raises(ProofError, match="no proof under objective refit"):
            check_part(part, refit_proof(part, evidence))
    with pytest.raises(ProofError, match="no proof under objective mask"):
        check_part(mask_part, refit_proof(mask_part, refit_root(part)))
    assert check_part(part, trivial_proof(part)).bound == 0.0


def test_another_ridge_is_another_problem():
    part, evidence, _ = case("50%", 1)
    other = refit_part(part.layer, "50%", 0.02)
    for alien in (other, part.under(MASK)):
        with pytest.raises(ProofError, match="another problem"):
            check_part(alien, refit_proof(part, evidence))
    # stated about the other, it is checked with its Hessian
    assert Fraction(check_part(other, refit_proof(other, evidence)).bound) <= least(other)


def test_a_row_proof_that_drops_or_splits_is_none_of_a_shared_budget():
    part, evidence, _ = case("layer:50%")
    first, second = evidence.rows
    alone = first.proof.evidence
    dropped = alone.dropped.copy()
    dropped[0, 0] = True
    split = replace(
        alone, branch=np.array([0, -1, -1], np.int32), function=np.zeros(2, np.int32),
        point=np.zeros(2, np.int32),
    )  # fmt: skip
    for other in (replace(alone, dropped=dropped), split):
        row = replace(first, proof=replace(first.proof, evidence=other))
        with pytest.raises(ProofError, match="not of one leaf"):
            check_part(part, refit_proof(part, SharedBudget((row, second))))


def test_a_row_bounds_every_budget_of_its_own():
    part, evidence, _ = case("layer:30%", 3)
    n = part.layer.d_in
    for own in evidence.rows:
        curve = row_bounds(part, own)
        for k in range(n + 1):
            alone = refit_part(part.layer, f"keep={n - k}", row=own.proof.row)
            assert Fraction(curve[k]) <= least(alone)
        assert curve[n] > 0.0


def test_a_check_is_over_when_its_time_is():
    part, evidence, _ = case("50%", 1)
    with pytest.raises(ProofError, match="not checked within"):
        check_part(part, refit_proof(part, evidence), Clock(1e-9))


# ---- files


@pytest.mark.parametrize("pattern", ["50%", "2:4^T", "layer:50%"])
def test_files_are_read_back(tmp_path, pattern):
    part, evidence, _ = case(pattern)
    problem = refit_problem(part.layer, pattern)
    proof = refit_proof(part, evidence)
    proof = replace(proof, bound=check_part(part, proof).bound)
    write_proof(tmp_path / "p", problem, [proof])
    file = read_proof(tmp_path / "p")
    assert file.objective == objective_spec("refit", 0.01)
    (same,) = question_of(problem, file, None)
    assert check_part(same, file.proofs[0]).bound == proof.bound
    for other in (refit_problem(part.layer, pattern, 0.02), problem.under(MASK)):
        with pytest.raises(ProofError, match=r"about the objective 'refit, ridge 0.01', not"):
            question_of(other, file, None)


def test_check_asks_for_the_objective_and_the_ridge(tmp_path):
    part, evidence, _ = case("50%", 1)
    proof = refit_proof(part, evidence, mask=part.legal.prune_lowest(part.weight**2))
    proof = replace(proof, bound=check_part(part, proof).bound)
    write_proof(tmp_path / "p", refit_problem(part.layer, "50%"), [proof])
    for given in (tmp_path / "p", proof):
        held = maskgap.check(given, part.layer, "50%", objective="refit", ridge=0.01)
        assert held, held.reason
        assert held.bound == proof.bound
        assert held.parts[0].loss.value == pytest.approx(part.loss(proof.mask))
        assert maskgap.check(given, part.layer, "50%", objective="refit")
        assert not maskgap.check(given, part.layer, "50%")
        assert not maskgap.check(given, part.layer, "50%", objective="refit", ridge=0.02)


def test_a_ridge_that_is_none_is_malformed(tmp_path):
    problem = refit_problem(case("50%")[0].layer, "50%")
    path = tmp_path / "p"
    write_proof(path, problem, [trivial_proof(part) for part in problem])
    tensors, meta = read_tensors(path)
    del meta["digest"]
    for ridge in ("", "0.01", "-0x1.0p-3", "nan", "inf", "0x1p99999", "0X1.47ae147ae147bp-7"):
        path.write_bytes(file_bytes(tensors, signed(tensors, {**meta, "ridge": ridge})))
        with pytest.raises(ProofError, match="its ridge is"):
            read_proof(path)
    for change, reason in (
        ({"objective": "mask"}, "should not have: ridge"),
        ({"objective": "speed"}, "should not have: ridge"),
    ):
        path.write_bytes(file_bytes(tensors, signed(tensors, {**meta, **change})))
        with pytest.raises(ProofError, match=reason):
            read_proof(path)
    del meta["ridge"]
    for change, reason in (
        ({}, "lack or should not have: ridge"),
        ({"objective": "speed"}, "objective 'speed', which is none"),
    ):
        path.write_bytes(file_bytes(tensors, signed(tensors, {**meta, **change})))
        with pytest.raises(ProofError, match=reason):
            read_proof(path)
