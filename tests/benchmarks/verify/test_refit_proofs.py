"""Proofs under refit: what is accepted is true of the exact optimum, and what should be, is."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.layer import Layer
from tests.helpers.refit_cases import SETS, case, layer_of, least
from tests.helpers.refit_proofs import (
    altered,
    bound_or_none,
    refit_part,
    refit_proof,
    refit_root,
    refit_tree,
)
from tests.helpers.tiny import random_layer


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pattern", SETS)
def test_valid_proofs_are_accepted_and_true(pattern, seed):
    part, evidence, optimum = case(pattern, seed)
    found = check_part(part, refit_proof(part, evidence))
    assert 0.0 <= Fraction(found.bound) <= optimum
    stated = refit_proof(part, evidence, found.bound)
    assert check_part(part, stated).bound == found.bound
    above = float(np.nextafter(found.bound, np.inf))
    with pytest.raises(ProofError, match="is not supported"):
        check_part(part, replace(stated, bound=above))


def test_bounds_are_worth_something():
    shares = [
        bound_or_none(part, refit_proof(part, evidence)) / float(optimum)
        for part, evidence, optimum in (case(p, s) for p in SETS for s in range(6))
        if optimum
    ]
    assert np.mean(shares) > 0.3
    assert max(shares) > 1.0 - 1e-9


@pytest.mark.parametrize("ridge", [0.0, 1e-9, 1.0, 1e6])
def test_any_ridge(ridge):
    part, evidence, optimum = case("50%", 1, ridge)
    assert 0 < check_part(part, refit_proof(part, evidence)).bound <= optimum


@pytest.mark.parametrize(("up", "down"), [(150, -300), (-300, 300), (330, -600), (-420, 0)])
def test_scales_far_apart(up, down):
    layer = random_layer(2, 6)
    far = Layer.from_arrays(np.ldexp(layer.weight, up), np.ldexp(layer.gram, down))
    near = refit_part(layer, "50%")
    evidence = refit_tree(near, np.random.default_rng(0))
    part = refit_part(far, "50%")
    found, plain = (check_part(p, refit_proof(p, evidence)).bound for p in (part, near))
    assert found == pytest.approx(np.ldexp(plain, 2 * up + down))
    assert Fraction(found) <= least(part)


def test_weights_of_few_bits_and_a_dead_column():
    layer = random_layer(4, 6)
    weight = layer.weight * np.array([1.0, 1e-320, 1e-160, 0.0, 1.0, -1.0])
    gram = layer.gram.copy()
    gram[2], gram[:, 2] = 0.0, 0.0
    part = refit_part(Layer.from_arrays(weight, gram), "50%")
    for seed in range(4):
        proof = refit_proof(part, refit_tree(part, np.random.default_rng(seed)))
        assert Fraction(check_part(part, proof).bound) <= least(part)


def test_columns_nearly_parallel_without_a_ridge():
    rng, refused = np.random.default_rng(5), 0
    for spread in (1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8):
        inputs = rng.normal(size=(6, 20))
        inputs[1] = inputs[0] + spread * rng.normal(size=20)
        layer = Layer.from_arrays(rng.normal(size=(1, 6)), inputs @ inputs.T)
        try:
            part = refit_part(layer, "50%", 0.0)
        except InputError:
            refused += 1
            continue
        for seed in range(3):
            proof = refit_proof(part, refit_tree(part, np.random.default_rng(seed)))
            found = bound_or_none(part, proof)
            assert found is None or Fraction(found) <= least(part)
    assert refused < 3


# ---- what is altered


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pattern", [pattern for pattern in SETS if "layer" not in pattern])
def test_no_altered_tree_proves_what_is_false(pattern, seed):
    part, evidence, optimum = case(pattern, seed)
    rng, accepted = np.random.default_rng([9, seed]), 0
    for _ in range(60):
        tree = evidence
        for _ in range(int(rng.integers(1, 4))):
            tree = altered(rng, tree)
        found = bound_or_none(part, refit_proof(part, tree))
        if found is not None:
            accepted += 1
            assert Fraction(found) <= optimum
    assert 0 < accepted < 60


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pattern", ["layer:50%", "layer:30%"])
def test_no_altered_rows_prove_what_is_false(pattern, seed):
    part, evidence, optimum = case(pattern, seed)
    rng, accepted = np.random.default_rng([10, seed]), 0
    for _ in range(60):
        rows = list(evidence.rows)
        place = int(rng.integers(len(rows)))
        tree = altered(rng, rows[place].proof.evidence)
        rows[place] = replace(rows[place], proof=replace(rows[place].proof, evidence=tree))
        found = bound_or_none(part, refit_proof(part, SharedBudget(tuple(rows))))
        if found is not None:
            accepted += 1
            assert Fraction(found) <= optimum
    assert 0 < accepted < 60


@pytest.mark.parametrize("pattern", ["50%", "2:4", "keep=4;cap=1/2", "50%;block=2", "2:4^T"])
def test_a_diagonal_drops_no_column_that_a_mask_may_keep(pattern):
    part, evidence, _ = case(pattern, 1)
    root = refit_root(part)
    for column in range(part.n):
        dropped = np.arange(part.n)[None] == column
        with pytest.raises(ProofError, match="drops a column"):
            check_part(part, refit_proof(part, replace(root, dropped=dropped)))
    for number in set(evidence.function.tolist()):
        dropped = evidence.dropped.copy()
        dropped[number] = True
        with pytest.raises(ProofError, match="drops a column"):
            check_part(part, refit_proof(part, replace(evidence, dropped=dropped)))


DROPPING = {
    # columns 0 to 3 kept leave no choice of the others
    "50%": ([0, 1, 2, 3, -1, -1, -1, -1, -1], [1, 0, 0, 0, 0], (4, 5, 6, 7)),
    "50%;forced": ([-1], [1], (1,)),
    "50%;block=2": ([2, -1, -1], [0, 1], (2, 3)),
}
"""Pattern -> tree, diagonal of each leaf, columns that diagonal 1 drops."""


@pytest.mark.parametrize("pattern", DROPPING)
def test_columns_that_a_leaf_must_prune_may_be_dropped(pattern):
    """Those that the tree prunes, the set forces, and a budget or a block leaves no choice of."""
    branch, function, gone = DROPPING[pattern]
    part = refit_part(layer_of(pattern, 0), pattern)
    root, dropped = refit_root(part), np.zeros((2, 8), dtype=bool)
    dropped[1, list(gone)] = True
    diagonals = np.repeat(root.diagonals, 2, axis=0)
    diagonals[dropped] = -1.0
    tree = RefitLeaves(
        diagonals, dropped, np.array(branch, np.int32), np.array(function, np.int32),
        np.zeros(len(function), np.int32), root.points,
    )  # fmt: skip
    assert Fraction(check_part(part, refit_proof(part, tree)).bound) <= least(part)
    other = dropped.copy()
    other[1, 0] = True
    with pytest.raises(ProofError, match="drops a column"):
        check_part(part, refit_proof(part, replace(tree, dropped=other)))


def test_a_leaf_of_one_mask_comes_to_its_loss():
    """A leaf whose kept columns are forced, with the change of its mask, bounds by g of it."""
    part, _, _ = case("keep=3", 2)
    mask = part.legal.prune_lowest(part.weight**2)
    layer = Layer.from_arrays(
        part.layer.weight, part.layer.gram, forced=np.where(mask, 1, -1)[None]
    )
    only = refit_part(layer, "keep=3;forced")
    change = part.weight - part.refitted(mask)
    change = np.ldexp(change, -int(np.frexp(np.abs(part.weight).max())[1]))
    tree = RefitLeaves(
        np.where(mask, 1e-3, -1.0)[None], ~mask[None], np.array([-1], np.int32),
        np.array([0], np.int32), np.array([0], np.int32), change[None].astype(np.float64),
    )  # fmt: skip
    found = check_part(only, refit_proof(only, tree)).bound
    assert found == pytest.approx(part.loss(mask), rel=1e-9)
    assert Fraction(found) <= least(only)
