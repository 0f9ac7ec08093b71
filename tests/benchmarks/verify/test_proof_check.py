"""The proof checker: accepts what holds, rejects what was altered, never rounds in favour."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify import equal_groups
from maskgap.benchmarks.verify.check import check_part
from maskgap.benchmarks.verify.quadratic import (
    Points,
    leaf_bounds,
    losses,
    scaled_quad,
    verified,
)
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import root_leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.objectives import convexify
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from maskgap.solvers.registry import build
from tests.helpers.proofs import (
    exact_root_bound,
    good_proof,
    make_problem,
    mutate_leaves,
    near_minimiser,
    optimum_of,
    random_functions,
    random_tree,
    rejected,
    row_proof,
    whole,
)
from tests.helpers.tiny import brute_force, row_problem


@pytest.mark.parametrize(
    ("n", "pattern"), [(1, "keep=0"), (5, "keep=2"), (12, "50%"), (12, "2:4"), (8, "8:8")]
)
@pytest.mark.parametrize("seed", range(4))
def test_root_bound_lies_just_below_exact_arithmetic(n, pattern, seed):
    problem = make_problem(seed, n, pattern, tokens=3 if seed % 2 else None)
    rng = np.random.default_rng(seed)
    for function in random_functions(problem, rng):
        leaves = root_leaves(function, near_minimiser(problem, function, rng))
        checked = check_part(problem, row_proof(problem, leaves))
        exact = exact_root_bound(problem, function, leaves.points[0])
        scaled = Fraction(checked.bound) / Fraction(2) ** problem.exponent
        assert scaled <= max(exact, 0)
        assert float(max(exact, 0) - scaled) < 1e-11

        # below 0 as well, where `check_part` says 0
        quad = scaled_quad(problem)
        used = verified(problem, quad, function, 0)
        x = rng.random((20, n)).astype(np.float32)
        root = np.zeros((20, n), np.int8)
        bounds = leaf_bounds(
            checked_set(problem), used, Points(x.astype(np.float64), np.arange(20)), root
        )
        for point, bound in zip(x, bounds.tolist(), strict=True):
            exact = exact_root_bound(problem, function, point)
            assert Fraction(bound) <= exact
            assert float(exact) - bound < 1e-10


@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(7, "keep=4"), (8, "2:4"), (6, "1:3")]))
def test_trees_are_accepted_and_stay_below_brute_force(seed, shape):
    problem = make_problem(seed % 50, *shape)
    rng = np.random.default_rng(seed)
    leaves = random_tree(problem, rng, tuple(random_functions(problem, rng, 3)))
    checked = check_part(problem, row_proof(problem, leaves))
    assert checked.leaves == len(leaves.function)
    assert 0.0 <= checked.bound <= optimum_of(problem) * (1 + 1e-14)
    again = check_part(problem, row_proof(problem, leaves, bound=checked.bound))
    assert again.bound == checked.bound


def test_a_raised_bound_is_rejected():
    problem, proof, _ = good_proof()
    rejected(problem, replace(proof, bound=float(np.nextafter(proof.bound, 9e9))), "not supported")
    rejected(problem, replace(proof, bound=float("nan")), "stated bound")
    rejected(problem, replace(proof, bound=float("inf")), "stated bound")


@given(data=st.data())
def test_altered_numbers_are_rejected_or_the_bound_still_follows(data):
    problem, proof, optimum = good_proof(data.draw(st.integers(0, 5)))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    function = proof.evidence.functions[0]
    u, alpha, points = function.u.copy(), function.alpha.copy(), proof.evidence.points.copy()
    target = data.draw(st.sampled_from([u, alpha, points]))
    change = data.draw(st.sampled_from([1e-12, 1e-6, 1e-2, 1.0, 1e6]))
    target.flat[rng.integers(target.size)] += change * rng.normal()
    altered = mutate_leaves(proof, functions=(ConvexFunction(u, alpha),), points=points)
    for stated in (proof.bound, 0.0):
        try:
            checked = check_part(problem, replace(altered, bound=stated))
        except ProofError:
            continue
        assert stated <= checked.bound <= optimum * (1 + 1e-14)


@pytest.mark.parametrize("raise_by", [1e-8, 1e-3, 1.0, 1e9])
def test_a_function_that_is_not_convex_is_rejected(raise_by):
    problem, proof, _ = good_proof()
    function = proof.evidence.functions[0]
    matrix, _, _ = convexify.quadratic(problem.quad, problem.groups, function)
    least = np.linalg.eigvalsh(matrix)[0]
    bent = ConvexFunction(function.u + least + raise_by, function.alpha)
    rejected(problem, mutate_leaves(proof, functions=(bent,)), "not positive semidefinite")


def test_a_nearly_semidefinite_function_is_lowered_not_trusted():
    problem, proof, optimum = good_proof()
    function = proof.evidence.functions[0]
    matrix, _, _ = convexify.quadratic(problem.quad, problem.groups, function)
    least = np.linalg.eigvalsh(matrix)[0]
    edge = ConvexFunction(function.u + least + 1e-15, function.alpha)
    checked = check_part(problem, replace(mutate_leaves(proof, functions=(edge,)), bound=0.0))
    assert 0.0 < checked.bound <= optimum


def test_another_instance_or_row_is_rejected():
    problem, proof, _ = good_proof(2)
    rejected(make_problem(3), proof, "another problem")
    rejected(make_problem(2, pattern="keep=5"), proof, "another problem")
    rejected(problem, replace(proof, row=1), "another problem")
    scaled = row_problem(problem.layer.weight * 2, problem.layer.gram, "50%")
    rejected(scaled, proof, "another problem")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"function": np.array([0, 1, 0], dtype=np.int16)}, "not among its"),
        ({"function": np.array([0, -2, 0], dtype=np.int16)}, "not among its"),
        ({"function": np.zeros(3)}, "function: expected int16"),
        ({"points": np.zeros((2, 8), dtype=np.float32)}, "point that is not there"),
        ({"point": np.array([0, -1, 2], dtype=np.int32)}, "point that is not there"),
        ({"point": np.array([0, 1], dtype=np.int32)}, "functions and 2 points"),
        ({"point": np.zeros(3)}, "point: expected int32"),
        (
            {"points": np.zeros((3, 7), dtype=np.float32)},
            r"points: expected float32 of shape \(any, 8\)",
        ),
        ({"points": np.full((3, 8), np.nan, dtype=np.float32)}, "points: expected finite"),
        ({"points": np.full((3, 8), np.inf, dtype=np.float32)}, "points: expected finite"),
        ({"functions": (ConvexFunction(np.zeros(7), np.zeros((1, 8))),)}, "u: expected"),
        ({"functions": (ConvexFunction(np.zeros(8), np.zeros((2, 8))),)}, "alpha: expected"),
        (
            {"functions": (ConvexFunction(np.full(8, np.nan), np.zeros((1, 8))),)},
            "u: expected finite",
        ),
        (
            {"functions": (ConvexFunction(np.full(8, 1e300), np.zeros((1, 8))),)},
            "u: expected finite",
        ),
    ],
)
def test_malformed_data_are_rejected(changes, reason):
    problem, proof, _ = good_proof()
    rejected(problem, replace(mutate_leaves(proof, **changes), bound=0.0), reason)


def test_the_mask_of_a_proof_is_judged():
    problem, proof, optimum = good_proof()
    _, columns = brute_force(problem.weight, problem.layer.gram, 8, 4)
    mask = np.ones(8, dtype=bool)
    mask[list(columns)] = False
    checked = check_part(problem, replace(proof, mask=mask))
    assert checked.loss.value == pytest.approx(optimum, rel=1e-13)
    rejected(problem, replace(proof, mask=np.ones(8, dtype=bool)), "mask does not meet")
    rejected(problem, replace(proof, mask=mask[:7]), "mask does not meet")
    rejected(problem, replace(proof, mask=mask.astype(np.int8)), "mask does not meet")


@pytest.mark.parametrize(
    ("weight", "gram", "pattern"),
    [
        ([0.0, 0.0, 0.0], np.eye(3), "keep=1"),
        ([1.0, 2.0, 3.0], np.zeros((3, 3)), "keep=1"),
        ([1.0, 2.0, 3.0], np.eye(3), "keep=0"),
        ([1.0, 2.0, 3.0], np.eye(3), "keep=3"),
        ([2.0], np.array([[3.0]]), "keep=0"),
        ([2.0], np.array([[3.0]]), "keep=1"),
        ([0.0], np.array([[0.0]]), "keep=0"),
        ([1e-90, 1e90], np.eye(2), "keep=1"),
    ],
)
@pytest.mark.parametrize("name", ["qp-bound", "sdp-bound", "exhaustive"])
def test_degenerate_rows_check(name, weight, gram, pattern):
    problem = row_problem(np.array([weight]), gram, pattern)
    answer = solve_part(build(name), problem, Limits(Deadline(20.0)), 0)
    checked = check_part(problem, answer.proof)
    least = optimum_of(problem)
    assert checked.bound <= least
    if problem.groups.masks == 1:
        assert checked.bound >= least * (1 - 1e-9)


def test_enumeration_agrees_with_brute_force_and_has_a_limit(monkeypatch):
    problem = make_problem(7, 8, "2:4")
    proof = PartProof(0, problem.digest, 0.0, None, Enumeration())
    checked = check_part(problem, proof)
    assert checked.leaves == 36
    optimum = optimum_of(problem)
    assert optimum * (1 - 1e-12) < checked.bound <= optimum * (1 + 1e-15)
    rejected(problem, replace(proof, bound=optimum * (1 + 1e-9)), "not supported")
    monkeypatch.setattr(equal_groups, "ENUMERATED", 35)
    rejected(problem, proof, "more than 35 masks")
    wide = make_problem(7, 26, "keep=25")
    monkeypatch.undo()
    rejected(wide, PartProof(0, wide.digest, 0.0, None, Enumeration()), "at most 24")


@pytest.mark.parametrize("fault", ["repeated", "missing", "illegal"])
def test_a_faulty_enumerator_is_noticed(monkeypatch, fault):
    problem = make_problem(7, 6, "50%")
    (block,) = problem.groups.enumerate_pruned()
    if fault == "repeated":
        block[3] = block[4]
    if fault == "missing":
        block = block[1:]
    if fault == "illegal":
        block[0] = ~block[0] | block[0]
    monkeypatch.setattr(type(problem.groups), "enumerate_pruned", lambda self: iter([block]))
    proof = PartProof(0, problem.digest, 0.0, None, Enumeration())
    rejected(problem, proof, "listed")


def test_float32_points_from_a_solver_are_safe():
    for seed, pattern in product(range(6), ("50%", "1:4")):
        problem = make_problem(seed, 8, pattern, tokens=4)
        answer = solve_part(build("qp-bound"), problem, Limits(Deadline(20.0)), 0)
        assert answer.proof.evidence.points.dtype == np.float32
        checked = check_part(problem, answer.proof)
        assert answer.claimed_bound <= checked.bound <= optimum_of(problem) * (1 + 1e-14)


def test_files_round_trip_and_damage_is_noticed(tmp_path):
    problem, proof, _ = good_proof()
    path = tmp_path / "row.proof.safetensors"
    write_proof(path, whole(problem), [proof])
    (again,) = read_proof(path).proofs
    assert check_part(problem, again) == check_part(problem, proof)
    data = path.read_bytes()
    for length in (0, 7, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ProofError):
            read_proof(path)
    rng = np.random.default_rng(0)
    for position in rng.integers(8, len(data), size=60):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        with pytest.raises(ProofError):
            check_part(problem, read_proof(path).proofs[0])


@pytest.mark.parametrize(("n", "pattern"), [(9, "keep=4"), (12, "2:4"), (12, "1:6")])
def test_leaf_bounds_use_the_oracle_with_forced_columns(n, pattern):
    problem = make_problem(3, n, pattern)
    groups, rng = problem.groups, np.random.default_rng(0)
    quad = scaled_quad(problem)
    used = verified(problem, quad, tuple(random_functions(problem, rng))[1], 0)
    states = rng.choice([FREE, KEPT, PRUNED], size=(200, n), p=[0.6, 0.2, 0.2]).astype(np.int8)
    x = rng.random((200, n))
    bounds = leaf_bounds(checked_set(problem), used, Points(x, np.arange(200)), states)
    assert np.isinf(bounds).any()
    assert np.isfinite(bounds).sum() > 20
    for bound, point, state in zip(bounds, x, states, strict=True):
        gradient = 2 * used.matrix @ point + used.linear
        best = groups.minimise(gradient, state)
        if best is None:
            assert bound == np.inf
        else:
            value = gradient[best].sum() - point @ used.matrix @ point
            assert bound == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_bounded_from_below_exactly(seed):
    problem = make_problem(seed, 12, "50%", tokens=2)
    pruned = np.concatenate(list(problem.groups.enumerate_pruned()))[::9]
    for bound, columns in zip(losses(scaled_quad(problem), pruned).tolist(), pruned, strict=True):
        chosen = np.flatnonzero(columns)
        w = [Fraction(v) for v in problem.weight[chosen].tolist()]
        gram = problem.layer.gram[np.ix_(chosen, chosen)].tolist()
        exact = sum(
            w[i] * w[j] * Fraction(v) for i, row in enumerate(gram) for j, v in enumerate(row)
        )
        scaled = exact / Fraction(2) ** problem.exponent
        assert Fraction(bound) <= scaled
        assert float(scaled) - bound < 1e-12


def test_arithmetic_that_flushes_to_zero_is_noticed():
    torch = pytest.importorskip("torch")
    problem, proof, _ = good_proof()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers to zero")
    try:
        rejected(problem, proof, "flushes subnormal numbers")
    finally:
        torch.set_flush_denormal(False)
    assert check_part(problem, proof).bound >= proof.bound
