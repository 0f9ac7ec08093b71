"""The trees of proofs: read as by recursion, malformed ones rejected, leaves matched to points."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify import tree as proof_tree
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from tests.helpers.proofs import (
    good_proof,
    make_problem,
    mutate_leaves,
    optimum_of,
    own_points,
    random_functions,
    random_tree,
    rejected,
    row_proof,
)


def leaves_by_recursion(branch, n):
    """The states of a tree's leaves; None when it is malformed."""
    leaves = []

    def visit(node, state):
        """The node after the subtree at `node`."""
        if node >= len(branch):
            raise ValueError
        column = branch[node]
        if column == -1:
            leaves.append(state)
            return node + 1
        if not 0 <= column < n or state[column] != FREE:
            raise ValueError
        node += 1
        for side in (KEPT, PRUNED):
            node = visit(node, [*state[:column], side, *state[column + 1 :]])
        return node

    try:
        return leaves if visit(0, [FREE] * n) == len(branch) else None
    except ValueError:
        return None


def random_branch(rng, free):
    """The preorder list of a random tree that splits each free column at most once on a path."""
    if not free or rng.random() < 0.15:
        return [-1]
    column = int(rng.choice(free))
    rest = [other for other in free if other != column]
    return [column, *random_branch(rng, rest), *random_branch(rng, rest)]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), block=st.integers(1, 40))
def test_a_tree_is_read_as_by_recursion(seed, n, block):
    rng = np.random.default_rng(seed)
    branch = random_branch(rng, list(range(n)))
    problem = make_problem(0, n, "keep=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof_tree, "BLOCK", block)
        walk = list(proof_tree.walk(problem, np.array(branch, dtype=np.int32)))
    assert all(len(states) == block for states in walk[:-1])
    assert np.concatenate(walk).tolist() == leaves_by_recursion(branch, n)

    # one node changed, dropped or doubled: mostly no tree, and then both say so
    node, kind = int(rng.integers(len(branch))), rng.integers(3)
    change = [[int(rng.integers(-2, n + 1))], [], [branch[node]] * 2][kind]
    branch[node : node + 1] = change
    expected = leaves_by_recursion(branch, n)
    try:
        found = np.concatenate(list(proof_tree.walk(problem, np.array(branch, dtype=np.int32))))
    except ProofError:
        assert expected is None
    else:
        assert found.tolist() == expected


def test_leaves_across_blocks_are_matched_to_their_points(monkeypatch):
    problem = make_problem(1, 12, "50%")
    rng = np.random.default_rng(5)
    leaves = random_tree(problem, rng, tuple(random_functions(problem, rng, 3)), depth=7)
    whole = check_part(problem, row_proof(problem, leaves)).bound
    monkeypatch.setattr(proof_tree, "BLOCK", 5)
    assert len(leaves.function) > 25
    assert check_part(problem, row_proof(problem, leaves)).bound == pytest.approx(whole, rel=1e-12)


def test_a_full_tree_of_single_masks_proves_the_optimum():
    problem = make_problem(4, 6, "50%")
    branch, single = [], []

    def grow(column):
        branch.append(column if column < 6 else -1)
        if column == 6:
            single.append(-1)
            return
        grow(column + 1)
        grow(column + 1)

    grow(0)
    leaves = Leaves(
        (),
        np.array(branch, dtype=np.int32),
        np.array(single, dtype=np.int16),
        own_points(single),
        np.zeros((0, 6), dtype=np.float32),
    )
    checked = check_part(problem, row_proof(problem, leaves))
    optimum = optimum_of(problem)
    assert checked.leaves == 64
    assert optimum * (1 - 1e-12) < checked.bound <= optimum * (1 + 1e-15)


@pytest.mark.parametrize(
    ("branch", "reason"),
    [
        ([0, -1, 3, -1], "functions and"),
        ([0, -1, 3, -1, -1, -1], "functions and"),
        ([0, -1, -1, 3, -1], "outside the tree"),
        ([0, 3, -1, -1, 5, -1], "ends before"),
        ([0, -1, 0, -1, -1], "again"),
        ([0, -1, 8, -1, -1], "splits column 8"),
        ([0, -1, -2, -1, -1], "splits column -2"),
        ([-1, -1, -1], "outside the tree"),
        ([], "functions and"),
    ],
)
def test_malformed_trees_are_rejected(branch, reason):
    problem, proof, _ = good_proof()
    broken = mutate_leaves(proof, branch=np.array(branch, dtype=np.int32))
    rejected(problem, replace(broken, bound=0.0), reason)


def test_an_empty_tree_is_rejected():
    problem, proof, _ = good_proof()
    nothing = Leaves(
        proof.evidence.functions,
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.int16),
        np.zeros(0, dtype=np.int32),
        np.zeros((0, 8), dtype=np.float32),
    )
    rejected(problem, replace(proof, evidence=nothing, bound=0.0), "ends before")
    rejected(problem, replace(proof, evidence=None, bound=0.0), "none of a proof")


def test_a_deleted_or_duplicated_leaf_is_rejected():
    problem, proof, _ = good_proof()
    leaves = proof.evidence
    shorter = replace(
        leaves, branch=leaves.branch[:-1], function=leaves.function[:-1], point=leaves.point[:-1]
    )
    rejected(problem, replace(proof, evidence=shorter), "ends before")
    longer = Leaves(
        leaves.functions,
        np.append(leaves.branch, np.int32(-1)),
        np.append(leaves.function, np.int16(0)),
        np.append(leaves.point, np.int32(0)),
        np.concatenate([leaves.points, leaves.points[-1:]]),
    )
    rejected(problem, replace(proof, evidence=longer), "outside the tree")


def test_a_forged_single_mask_leaf_is_rejected():
    problem, proof, _ = good_proof()
    forged = mutate_leaves(proof, function=np.array([0, -1, 0], dtype=np.int16))
    rejected(problem, replace(forged, bound=0.0), "more than one mask")
