"""What is nested in a proof, the state that work goes on from, and the question that was asked."""

import contextlib
import io
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.commands import bound
from maskgap.benchmarks.commands.limit_options import LimitOptions
from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError, MaskgapError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.evidence.trivial import Trivial
from maskgap.instances.formats.files import read_mask, write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.instances.triangles import Triangles
from tests.helpers.hostile import STEEP, asked, holds_or_is_refused, optimum, rooted
from tests.helpers.proofs import enumerated
from tests.helpers.tiny import random_layer

# ---- what is nested


def shared_parts(seed=0):
    layer = random_layer(seed, 5, rows=2)
    (part,) = Problem.of(layer, parse_pattern("layer:40%"))
    return part


def row_proof_of(part, row, function, budget=2, points=None):
    """A proof of one row, with whatever function."""
    n = part.layer.d_in
    alone = Part(part.layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))
    proof = rooted(alone, function)
    if points is not None:
        proof = replace(proof, evidence=replace(proof.evidence, points=points))
    return RowProof(budget, proof)


def negative_triangles(part, size):
    """McCormick terms of negative weight lift the function over the loss."""
    n = part.layer.d_in
    pairs = [(-1, a, b) for a in range(n) for b in range(a + 1, n)]
    triangles = Triangles(
        np.array(pairs, np.int32), np.zeros(len(pairs), np.int16), np.full(len(pairs), -size)
    )
    return ConvexFunction(np.full(n, -size * n), np.zeros((1, n)), triangles)


def second_row(part, size):
    """An alpha of two rows, of which the matrix sees one and the linear term both."""
    alpha = np.zeros((2, part.layer.d_in))
    alpha[1] = -size
    return ConvexFunction(np.zeros(part.layer.d_in), alpha)


def too_convex(part, size):
    return ConvexFunction(np.full(part.layer.d_in, size), np.zeros((1, part.layer.d_in)))


FUNCTIONS = (negative_triangles, second_row, too_convex)
STAIRS = np.tile(np.linspace(0, 1, 6)[:, None], (1, 5)).astype(np.float32)


@pytest.mark.parametrize("make", FUNCTIONS)
@pytest.mark.parametrize("size", [10.0, 1000.0])
def test_rows_inside_a_proof_are_held_to_the_same_rules(tmp_path, make, size):
    part = shared_parts()
    rows = tuple(row_proof_of(part, row, make(part, size), 2, STAIRS) for row in part.rows)
    mask = part.legal.prune_lowest(-(part.weight**2))  # a bad one
    proof = PartProof(0, part.digest, 0.0, mask, SharedBudget(rows), height=2, passes=99)
    assert not holds_or_is_refused(part, proof)
    answer = certify_part(part, mask, proof=proof)
    assert answer.bound == 0.0
    assert answer.verdict is Verdict.FEASIBLE
    total = resumed(tmp_path, part.layer, "layer:40%", [proof])
    assert total is None or Fraction(total["bound"]) <= optimum(part)
    assert total is None or total["verdict"] != "proved"


@pytest.mark.parametrize(
    "change",
    [
        {"evidence": SharedBudget(())},
        {"evidence": Enumeration()},
        {"evidence": Trivial()},
        {"budget": -1},
        {"budget": 6},
        {"budget": None},
        {"row": 2},
        {"row": -1},
        {"height": 2},
        {"problem": "0" * 64},
        {"bound": 1e9},
        {"mask": np.ones(3, bool)},
        {"evidence": None},
    ],
    ids=str,
)
def test_rows_inside_a_proof_that_are_not_what_they_should_be_are_refused(change):
    part = shared_parts()
    function = too_convex(part, -1.0)
    rows = tuple(row_proof_of(part, row, function) for row in part.rows)
    proof = PartProof(0, part.digest, 0.0, None, SharedBudget(rows), height=2)
    assert holds_or_is_refused(part, proof)
    if "budget" in change:
        other = replace(rows[0], **change)
    else:
        other = replace(rows[0], proof=replace(rows[0].proof, **change))
    altered = replace(proof, evidence=SharedBudget((other, rows[1])))
    assert not holds_or_is_refused(part, altered)


@pytest.mark.parametrize("pattern", ["layer:40%", "1:2^T"])
def test_a_shift_bounds_no_part_of_several_rows(pattern):
    layer = random_layer(4, 4, rows=2)
    (part,) = Problem.of(layer, parse_pattern(pattern))
    shared = SharedShift(np.full(4, 1e-3), np.zeros(8, np.float32))
    for shift in (shared.shift, np.full(8, 1e-3)):
        proof = PartProof(
            0, part.digest, 0.0, None, replace(shared, shift=shift), height=2,
        )  # fmt: skip
        assert not holds_or_is_refused(part, proof)


# ---- the state that work goes on from


def resumed(folder, layer, pattern, proofs, *, out=None):
    """The last line of `bound --resume` from proofs, or None where it refuses them in words."""
    write_layer(folder / "layer.safetensors", layer)
    write_proof(folder / bound.PROOF_NAME, Problem.of(layer, parse_pattern(pattern)), proofs)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = bound.run(
                bound.BoundOptions(
                    folder / "layer.safetensors",
                    pattern,
                    LimitOptions(0.0, threads=1),
                    proof=folder,
                    out=out,
                    resume=True,
                    as_json=True,
                )
            )
        except MaskgapError:
            return None
    assert code in (0, 1)  # no time is left for rows without a mask
    return json.loads(shown.getvalue().splitlines()[-1])


@pytest.mark.parametrize("kind", [Enumeration(), Trivial()])
@pytest.mark.parametrize("stated", [0.0, 1e300])
@pytest.mark.parametrize(
    "mask",
    [np.ones(8, bool), np.zeros(8, bool), np.repeat([False, True], 4), np.ones(5, bool)],
    ids=["all kept", "all pruned", "one half", "too short"],
)
def test_masks_that_are_not_legal_are_not_gone_on_from(tmp_path, mask, stated, kind):
    layer = Layer.from_arrays(np.ones((2, 8)), np.eye(8))
    problem = Problem.of(layer, parse_pattern("2:4"))
    proofs = [PartProof(part.row, part.digest, stated, mask, kind) for part in problem]
    total = resumed(tmp_path, layer, "2:4", proofs, out=tmp_path / "out.mask.safetensors")
    if total is not None:
        assert total["objective"] in (None, 8.0)
        assert total["bound"] <= 8.0
    if (tmp_path / "out.mask.safetensors").exists():
        assert problem.is_legal(read_mask(tmp_path / "out.mask.safetensors", layer))


# ---- the question that was asked


def listed(layer, pattern):
    problem = Problem.of(layer, parse_pattern(pattern))
    return problem, enumerated(problem)


@pytest.mark.parametrize("pattern", ["50%", "layer:50%", "1:2^T", "50%;cost=60%", "50%;forced"])
def test_proofs_of_the_question_asked_hold(tmp_path, pattern):
    problem, proofs = listed(STEEP, pattern)
    code, lines = asked(tmp_path, STEEP, pattern, proofs)
    assert code == 0
    assert [line["row"] for line in lines] == [part.row for part in problem]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("50%", "layer:50%"),
        ("50%", "layer:75%"),
        ("50%", "3:4"),
        ("50%", "1:2"),
        ("50%", "75%"),
        ("50%", "50%;cost=100%"),
        ("50%", "50%;forced"),
        ("50%;cost=60%", "50%"),
        ("50%;cost=60%", "50%;cost=50%"),
        ("1:2", "1:2^T"),
        ("1:2^T", "1:2"),
        ("layer:50%", "50%"),
    ],
)
def test_proofs_of_another_pattern_are_refused(tmp_path, made, wanted):
    """Though the file says of itself that it is about the one asked for."""
    _, proofs = listed(STEEP, made)
    assert asked(tmp_path, STEEP, wanted, proofs)[0] == 1


def test_rows_that_cut_a_tile_are_refused():
    with pytest.raises(InputError):
        Problem.of(STEEP, parse_pattern("1:2^T"), range(1, 3))


@pytest.mark.parametrize("change", ["weight", "gram", "column_cost", "forced"])
def test_proofs_of_another_layer_are_refused(tmp_path, change):
    _, proofs = listed(STEEP, "50%;cost=60%;forced")
    arrays = {
        "weight": STEEP.weight,
        "gram": STEEP.gram,
        "column_cost": STEEP.column_cost,
        "forced": STEEP.forced,
    }
    array = arrays[change].copy()
    if array.ndim == 2:
        array[0, 0] += 1
    else:
        array[0] += 1
    other = Layer.from_arrays(**{**arrays, change: array})
    assert asked(tmp_path, other, "50%;cost=60%;forced", proofs)[0] == 1
