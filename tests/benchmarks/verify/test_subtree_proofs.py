"""Functions that hold in subtrees: bounds against every mask, and by two checkers."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from maskgap.benchmarks.verify import leaves as leaves_checker
from maskgap.benchmarks.verify import tree
from maskgap.benchmarks.verify.check import check_part
from maskgap.benchmarks.verify.open_functions import most_bytes
from maskgap.benchmarks.verify.quadratic import Points, leaf_bounds, scaled_quad, verified
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.instances.triangles import no_triangles
from tests.helpers.exact import losses, quadratic
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import function_of, given
from tests.helpers.general import SHAPES, layer_with_extras
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.proofs import rejected, whole
from tests.helpers.subtree_proofs import function_at, masks_of, subtree_proof
from tests.helpers.tiny import random_layer

SIZES = {**SHAPES, "50%": (1, 9), "2:4": (1, 12), "keep=3": (1, 8), "1:2": (1, 6), "100%": (1, 5)}


@cache
def part_of(pattern, seed):
    """A part with masks, they, and the least loss."""
    for more in range(20):
        try:
            layer = layer_with_extras(seed + 100 * more, *SIZES[pattern])
            part = next(iter(Problem.of(layer, parse_pattern(pattern))))
        except InputError:
            continue
        pruned = legal_pruned(layer, pattern, part.rows)
        return part, pruned, min(losses(part, pruned))
    raise AssertionError(pattern)


def some_forced(mask, rng, share=0.35):
    """A state with about a third of the columns forced as a pruned set has them."""
    forced = rng.random(len(mask)) < share
    return np.where(forced, np.where(mask, PRUNED, KEPT), FREE).astype(np.int8)


@pytest.mark.parametrize("pattern", SIZES)
def test_bounds_are_just_below_exact_ones_and_those_below_the_least_loss(pattern):
    bounded = 0
    for seed in range(6):
        part, pruned, optimum = part_of(pattern, seed)
        depth = 2 + seed % (4 if part.n < 16 else 2)
        proof = subtree_proof(part, pruned, np.random.default_rng(seed), depth)
        bound, exact = check_part(part, proof).bound, exact_bound(part, pruned, proof)
        assert bound <= exact <= optimum
        assert float(exact) - bound <= 1e-10 * float(optimum)
        bounded += bound > 0.1 * float(optimum)
    assert bounded >= 2


@pytest.mark.parametrize("pattern", SIZES)
def test_functions_are_the_loss_on_the_masks_of_their_node(pattern):
    part, pruned, _ = part_of(pattern, 1)
    rng, quad, unit = np.random.default_rng(1), quadratic(part), Fraction(2) ** part.exponent
    rows, sides = (array.astype(int).astype(object) for array in equality_rows(part.legal))
    for _ in range(8):
        state = some_forced(pruned[rng.integers(len(pruned))], rng)
        function, _ = function_at(part, state, rng, holds=1)
        fixed = {j: bool(state[j] == PRUNED) for j in np.flatnonzero(state != FREE).tolist()}
        stored = verified(part, scaled_quad(part), function, 0, state)
        left = masks_of(pruned, state)
        assert len(left)
        for at, loss in zip(left[:8], losses(part, left[:8]), strict=True):
            made = function_of(part, quad, function, rows, sides)
            matrix, _ = given(*made, function, fixed)
            y = np.array([1, *at[state == FREE].astype(int)], dtype=object)
            exact = y @ matrix @ y
            assert exact <= loss
            if not len(function.triangles):
                assert exact == loss
            z = y[1:].astype(float)
            value = z @ stored.matrix @ z + stored.linear @ z + stored.constant
            assert value == pytest.approx(float(exact / unit), abs=1e-11)


def test_a_function_need_be_convex_on_its_free_columns_only():
    part, pruned, optimum = part_of("50%", 3)
    proof = next(
        one
        for seed in range(99)
        if (one := one_function(part, pruned, np.random.default_rng(seed))) is not None
    )
    assert 0.0 < check_part(part, proof).bound <= optimum
    rejected(part, at_root(proof), "not positive semidefinite")


def one_function(part, pruned, rng):
    """A proof with a bound, whose first function is of no use at the root."""
    proof = subtree_proof(part, pruned, rng, depth=2)
    first = proof.evidence.functions[0]
    wide = np.linalg.eigvalsh(part.quad - np.diag(first.u))[0] < -1e-3
    plain = not first.alpha.any() and not len(first.triangles)
    if first.holds == 0 or not wide or not plain or not check_part(part, proof).bound:
        return None
    return proof


def at_root(proof):
    """The first function is said to hold everywhere."""
    first, *rest = proof.evidence.functions
    functions = (replace(first, holds=0), *rest)
    return replace(proof, evidence=replace(proof.evidence, functions=functions))


def test_entries_of_points_on_fixed_columns_count_for_nothing():
    part, pruned, _ = part_of("2:4", 6)
    proof = subtree_proof(part, pruned, np.random.default_rng(6), depth=4)
    leaves, points = proof.evidence, proof.evidence.points.copy()
    (block,) = tree.walk(part, leaves.branch)
    changed = 0
    for number, at, state in zip(leaves.function, leaves.point, block, strict=True):
        if number >= 0 and leaves.functions[number].holds:
            # what the leaf has fixed may be free where the function holds: find it by its node
            where = tree.subtrees(part, leaves.branch, [leaves.functions[number].holds])
            fixed = where.states[0] != FREE
            assert bool((state[fixed] == where.states[0][fixed]).all())
            points[at, fixed] = 1e20
            changed += 1
    assert changed > 3
    altered = replace(proof, evidence=replace(leaves, points=points))
    assert check_part(part, altered) == check_part(part, proof)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_do_not_depend_on_blocks_and_functions_are_built_once(monkeypatch, seed):
    part, pruned, _ = part_of("50%", seed)
    proof = subtree_proof(part, pruned, np.random.default_rng(seed), depth=5)
    used = np.unique(proof.evidence.function[proof.evidence.function >= 0])
    expected, built = check_part(part, proof), []

    def counted(*arguments):
        built.append(arguments[3])
        return verified(*arguments)

    monkeypatch.setattr(leaves_checker, "verified", counted)
    for block in (1, 2, 5):
        monkeypatch.setattr(tree, "BLOCK", block)
        built.clear()
        assert check_part(part, proof).bound == pytest.approx(expected.bound, rel=1e-12)
        assert sorted(built) == used.tolist()


@pytest.mark.parametrize("spread", [0.0, 4.0])
@pytest.mark.parametrize(("pattern", "size"), [("50%", 32), ("2:4", 4), ("1:8", 8)])
def test_bounds_of_wide_nodes_lie_just_below_exact_arithmetic(pattern, size, spread):
    """In every point, below 0 as well; the weights are of sizes 10^-spread to 10^spread."""
    rng = np.random.default_rng(size)
    plain = random_layer(3, 32)
    layer = Layer.from_arrays(plain.weight * 10.0 ** rng.uniform(-spread, spread, 32), plain.gram)
    part = next(iter(Problem.of(layer, parse_pattern(pattern))))
    quad, unit = quadratic(part), Fraction(2) ** part.exponent
    rows, sides = (array.astype(int).astype(object) for array in equality_rows(part.legal))
    k = int(sides[0])
    for share in (0.1, 0.4, 0.6):
        state = some_forced(~part.legal.prune_lowest(rng.random(32)), rng, share)
        free, gone = state == FREE, state == PRUNED
        function, _ = function_at(part, state, rng, holds=1)
        function = replace(function, u=function.u - 0.1 * free)  # so that it is not lowered
        stored = verified(part, scaled_quad(part), function, 0, state)
        fixed = {j: bool(gone[j]) for j in np.flatnonzero(~free).tolist()}
        matrix, _ = given(*function_of(part, quad, function, rows, sides), function, fixed)
        matrix = matrix / unit
        points = rng.random((6, 32)).astype(np.float32)
        at = Points(points.astype(np.float64), np.arange(6))
        bounds = leaf_bounds(checked_set(part), stored, at, np.tile(state, (6, 1)))
        group = np.flatnonzero(free) // size
        left = k - np.bincount(np.arange(32)[gone] // size, minlength=32 // size)
        for point, bound in zip(points[:, free], bounds.tolist(), strict=True):
            x = np.array([Fraction(value) for value in point.tolist()], dtype=object)
            px = matrix[1:, 1:].dot(x)
            slope = 2 * px + 2 * matrix[0, 1:]
            least = sum(sum(sorted(slope[group == g])[: left[g]]) for g in range(32 // size))
            exact = matrix[0, 0] - x.dot(px) + least
            assert Fraction(bound) <= exact
            assert float(exact) - bound < 1e-9


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_memory_is_what_is_open_at_one_time(monkeypatch, block):
    part, pruned, _ = part_of("keep=3", 2)
    proof = subtree_proof(part, pruned, np.random.default_rng(2), depth=5)
    leaves = proof.evidence
    monkeypatch.setattr(tree, "BLOCK", block)
    blocks = np.arange(len(leaves.function)) // block
    where = tree.subtrees(part, leaves.branch, [one.holds for one in leaves.functions])
    sizes = 8 * (where.states == FREE).sum(axis=1) ** 2
    spans = {
        number: (blocks[at].min(), blocks[at].max())
        for number in range(len(leaves.functions))
        if len(at := np.flatnonzero(leaves.function == number))
    }
    most = 0
    for now in range(blocks[-1] + 1):
        across = [sizes[i] for i, (a, b) in spans.items() if a < b and a <= now <= b]
        inside = [sizes[i] for i, (a, b) in spans.items() if a == b == now]
        most = max(most, sum(across) + max(inside, default=0))
    assert most_bytes(part, leaves) == most > 0
    monkeypatch.setattr(leaves_checker, "MATRIX_BYTES", most)
    check_part(part, proof)
    monkeypatch.setattr(leaves_checker, "MATRIX_BYTES", most - 1)
    rejected(part, proof, "at one time")


def test_files_round_trip(tmp_path):
    part, pruned, _ = part_of("50%", 3)
    proof = subtree_proof(part, pruned, np.random.default_rng(3), depth=4)
    path = tmp_path / "row.proof.safetensors"
    write_proof(path, whole(part), [proof])
    (again,) = read_proof(path).proofs
    holds = [function.holds for function in again.evidence.functions]
    assert holds == [function.holds for function in proof.evidence.functions]
    assert any(holds)
    assert check_part(part, again) == check_part(part, proof)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_nodes_without_free_columns_have_constant_functions(n):
    layer = layer_with_extras(4, 1, n)
    part = next(iter(Problem.of(layer, parse_pattern("50%"))))
    rng, state = np.random.default_rng(0), np.full(n, PRUNED, np.int8)
    function, _ = function_at(part, state, rng, holds=1)
    assert not function.u.any()
    stored = verified(
        part, scaled_quad(part), replace(function, triangles=no_triangles()), 0, state
    )
    assert stored.matrix.shape == (0, 0)
    assert stored.constant == pytest.approx(part.quad.sum(), abs=1e-12)


def test_subtrees_are_those_found_by_recursion():
    branch, n = np.array([2, 0, -1, 1, -1, -1, 3, -1, 0, -1, -1], np.int32), 4
    part = next(iter(Problem.of(layer_with_extras(0, 1, n), parse_pattern("50%"))))
    found = tree.subtrees(part, branch, list(range(len(branch))))
    first = [0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    last = [6, 3, 1, 3, 2, 3, 6, 4, 6, 5, 6]
    forced = [
        {}, {2: KEPT}, {2: KEPT, 0: KEPT}, {2: KEPT, 0: PRUNED}, {2: KEPT, 0: PRUNED, 1: KEPT},
        {2: KEPT, 0: PRUNED, 1: PRUNED}, {2: PRUNED}, {2: PRUNED, 3: KEPT}, {2: PRUNED, 3: PRUNED},
        {2: PRUNED, 3: PRUNED, 0: KEPT}, {2: PRUNED, 3: PRUNED, 0: PRUNED},
    ]  # fmt: skip
    assert found.first.tolist() == first
    assert found.last.tolist() == last
    for state, known in zip(found.states, forced, strict=True):
        assert {j: s for j, s in enumerate(state.tolist()) if s != FREE} == known
    for node in (-1, 11, 2**40):
        with pytest.raises(ProofError, match=f"node {node} is not in the tree"):
            tree.subtrees(part, branch, [0, node])
