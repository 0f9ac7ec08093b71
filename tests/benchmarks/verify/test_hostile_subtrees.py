"""Functions said to hold in subtrees: what is malformed or out of place, and files altered."""

import json
from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import Leaves, root_leaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.files import write_tensors
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.triangles import Triangles
from tests.fuzz.mutations import signed
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import Rejected
from tests.helpers.hostile import holds_or_is_refused
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.proofs import make_problem, rejected, row_proof, whole
from tests.helpers.subtree_proofs import subtree_proof
from tests.helpers.tiny import random_layer, row_problem

EVEN = row_problem(np.ones((1, 4)), np.eye(4), "keep=2")
"""Q = I: every mask of two pruned columns has the loss 2."""

ONE = 0.5**EVEN.exponent
"""1 in units of the layer's loss."""

BOTH = np.array([0.0, 1.0, 1.0, 1.0])
"""The columns that are free below the split of column 0, whose nodes are 1 and 2."""


def even(kept=None, pruned=None):
    """Column 0 is split, and each side has a function of its own with P = 0: F = z_0 + sum of z."""
    functions = (
        ConvexFunction(ONE * BOTH, np.zeros((1, 4)), holds=1, **(kept or {})),
        ConvexFunction(ONE * BOTH, np.zeros((1, 4)), holds=2, **(pruned or {})),
    )
    leaves = Leaves(
        functions,
        np.array([0, -1, -1], np.int32),
        np.array([0, 1], np.int16),
        np.zeros(2, np.int32),
        np.full((1, 4), 0.5, np.float32),
    )
    return row_proof(EVEN, leaves)


def altered(**changes):
    """The second function altered."""
    proof = even()
    first, second = proof.evidence.functions
    functions = first, replace(second, **changes)
    return replace(proof, evidence=replace(proof.evidence, functions=functions))


def exactly(proof):
    return exact_bound(EVEN, legal_pruned(EVEN.layer, "keep=2", range(1)), proof)


def triangle(*columns):
    return Triangles(np.array([columns], np.int32), np.zeros(1, np.int16), np.full(1, 1e-3))


def test_a_bound_found_by_hand():
    assert exactly(even()) == 2
    assert 2 - 1e-12 < check_part(EVEN, even()).bound <= 2
    rejected(EVEN, replace(even(), bound=2.1), "not supported")


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_budgets_are_what_is_left_of_them(alpha):
    """With s = z_1 + z_2 + z_3, alpha (s - k) s is 0 for k = 1, where column 0 goes."""
    proof = altered(alpha=ONE * alpha * BOTH[None])
    leaves = replace(proof.evidence, points=np.array([[0.5, 1 / 3, 1 / 3, 1 / 3]], np.float32))
    proof = replace(proof, evidence=leaves)
    assert 2 - 1e-6 < exactly(proof) <= 2
    assert 2 - 1e-6 < check_part(EVEN, proof).bound <= exactly(proof)


MALFORMED = {
    "node 3 is not in the tree": altered(holds=3),
    "node 2147483647 is not in the tree": altered(holds=2**31 - 1),
    "subtree of -1, which is no node": altered(holds=-1),
    "subtree of 1.0, which is no node": altered(holds=1.0),
    "subtree of None, which is no node": altered(holds=None),
    "leaf 1 uses function 1, which holds in the subtree of node 1 only": altered(holds=1),
    "function 1: u is not 0 in a column": altered(u=np.full(4, 1e-300)),
    "function 1: alpha is not 0 in a column": altered(alpha=np.full((1, 4), -1e-300)),
    "function 1: a triangle has a column": altered(triangles=triangle(0, 1, 2)),
    "matrix of function 1 is not positive semidefinite": altered(u=1.001 * ONE * BOTH),
    "u: expected finite": altered(u=np.array([np.nan, 0, 0, 0])),
    "alpha: expected float64": altered(alpha=np.zeros((1, 3))),
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_what_is_malformed_is_rejected(reason):
    rejected(EVEN, MALFORMED[reason], reason)
    if "no node" not in reason:
        with pytest.raises(Rejected):
            exactly(MALFORMED[reason])


def test_functions_that_no_leaf_uses_must_have_the_form_too():
    proof = even()
    more = replace(proof.evidence.functions[0], u=np.full(4, ONE))
    functions = (*proof.evidence.functions, more)
    extended = replace(proof, evidence=replace(proof.evidence, functions=functions))
    rejected(EVEN, extended, "function 2: u is not 0")


def test_triangles_on_free_columns_and_the_constant_are_taken():
    proof = altered(triangles=triangle(-1, 1, 3), u=0.9 * ONE * BOTH)
    assert 1.5 < check_part(EVEN, proof).bound <= exactly(proof) <= 2


def test_a_malformed_tree_is_named_before_its_functions():
    leaves = even().evidence
    for branch, reason in (([0, -1], "ends before"), ([0, -1, 0, -1, -1], "again")):
        count = branch.count(-1)
        wrong = replace(
            leaves,
            branch=np.array(branch, np.int32),
            function=np.zeros(count, np.int16),
            point=np.zeros(count, np.int32),
        )
        rejected(EVEN, row_proof(EVEN, wrong), reason)


@pytest.mark.parametrize("seed", range(30))
def test_functions_said_to_hold_elsewhere_prove_nothing_false(seed):
    """Under other nodes, whole or of the leaves: refused, or the bound is true, exactly too."""
    part = make_problem(seed, 8, "50%" if seed % 2 else "2:4")
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    rng, accepted = np.random.default_rng(seed), 0
    for _ in range(25):
        proof = subtree_proof(part, pruned, rng, depth=3)
        leaves = proof.evidence
        functions, function = list(leaves.functions), leaves.function.copy()
        node, which = rng.integers(len(leaves.branch)), rng.integers(len(functions))
        match rng.integers(3):
            case 0:
                functions[which] = replace(functions[which], holds=int(node))
            case 1:
                function[function >= 0] = rng.permutation(function[function >= 0])
            case 2:
                free = functions[which].u != 0
                raised = functions[which].u + 10.0 ** rng.integers(-14, -2) * free
                functions[which] = replace(functions[which], u=raised)
        changed = replace(leaves, functions=tuple(functions), function=function)
        proof = replace(proof, evidence=changed)
        if holds_or_is_refused(part, proof):
            accepted += 1
            assert check_part(part, proof).bound <= exact_bound(part, pruned, proof)
    assert 0 < accepted < 25


# ---- files


def rewritten(folder, change, proof=None):
    """The proof read again from a file whose tensors and metadata were changed, and signed."""
    path = folder / "row.proof.safetensors"
    write_proof(path, whole(EVEN), [proof or even()])
    tensors, meta = read_tensors(path)
    del meta["digest"]
    change(tensors, meta)
    other = folder / "other.proof.safetensors"
    write_tensors(other, tensors, signed(tensors, meta))
    (found,) = read_proof(other).proofs
    return found


def _holds(values, dtype=np.int32):
    def change(tensors, meta):
        tensors["part0.holds"] = np.array(values, dtype)

    return change


def _fewer(tensors, meta):
    heads = json.loads(meta["parts"])
    heads[0]["functions"] = 0
    meta["parts"] = json.dumps(heads)
    for name in [name for name in tensors if name[-1].isdigit()]:
        del tensors[name]
    tensors["part0.holds"] = np.zeros(0, np.int32)


FILES = {
    "must not have 'holds' where all functions hold everywhere": _holds([0, 0]),
    "says of 1 functions where they hold, not of 2": _holds([1]),
    "says of 3 functions where they hold, not of 2": _holds([1, 2, 0]),
    "must be int32 with 1 axes, found int64": _holds([1, 2], np.int64),
    "must be int32 with 1 axes, found float32": _holds([1, 2], np.float32),
    r"must be int32 with 1 axes, found int32 of shape \(1, 2\)": _holds([[1, 2]]),
    "must not have 'holds'": _fewer,
}


@pytest.mark.parametrize("reason", FILES)
def test_files_say_where_functions_hold_in_one_way(tmp_path, reason):
    assert check_part(EVEN, rewritten(tmp_path, lambda tensors, meta: None)).bound > 1.9
    with pytest.raises(ProofError, match=reason):
        rewritten(tmp_path, FILES[reason])


@pytest.mark.parametrize("holds", [[1, -5], [2, 1], [0, 2], [1, 0], [1, 3], [2, 2]])
def test_files_with_functions_elsewhere_are_read_and_rejected(tmp_path, holds):
    read = rewritten(tmp_path, _holds(holds))
    assert [function.holds for function in read.evidence.functions] == holds
    if 0 in holds:
        # u of the one that holds everywhere is 0 in column 0: it is a function like any other
        assert check_part(EVEN, read).bound <= exactly(read) <= 2
    else:
        rejected(EVEN, read, "node|no node")


def test_a_proof_without_such_functions_has_no_such_tensor(tmp_path):
    path = tmp_path / "row.proof.safetensors"
    root = root_leaves(ConvexFunction(np.full(4, ONE), np.zeros((1, 4))), np.full(4, 0.5))
    write_proof(path, whole(EVEN), [row_proof(EVEN, root)])
    assert "part0.holds" not in read_tensors(path)[0]
    write_proof(path, whole(EVEN), [even()])
    assert read_tensors(path)[0]["part0.holds"].tolist() == [1, 2]


def test_a_shared_budget_takes_functions_that_hold_everywhere_alone():
    layer = random_layer(5, 4, rows=2)
    (part,) = Problem.of(layer, parse_pattern("layer:50%"))
    for holds, reason in ((0, ""), (1, "node 1 is not in the tree")):
        function = ConvexFunction(np.full(4, -9.0), np.zeros((1, 4)), holds=holds)
        rows = []
        for row in range(2):
            alone = Problem.of(layer, parse_pattern("keep=2")).part_of(row)
            own = row_proof(alone, root_leaves(function, np.full(4, 0.5)))
            rows.append(RowProof(2, own))
        proof = PartProof(0, part.digest, 0.0, None, SharedBudget(tuple(rows)), height=2)
        if reason:
            rejected(part, proof, reason)
        else:
            assert check_part(part, proof).bound >= 0.0
