"""The proof checker on functions with triangle inequalities: every form, exactly, and mutated."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify.check import check_part
from maskgap.benchmarks.verify.form import LARGEST_MULTIPLIER
from maskgap.benchmarks.verify.quadratic import Points, leaf_bounds, scaled_quad, verified
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import root_leaves
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.triangles import CONSTANT, Triangles, no_triangles
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.objectives import convexify
from maskgap.solvers.protocol import Deadline
from tests.helpers.proofs import (
    exact_root_bound,
    make_problem,
    mutate_leaves,
    near_minimiser,
    optimum_of,
    random_tree,
    rejected,
    row_proof,
    three_leaves,
    triangle_term,
    whole,
)


def random_triangles(n, rng, count, size):
    """Triangles of every form, a third of them with the constant; the mean weight is size."""
    columns = [
        sorted(rng.choice(n, 3, replace=False))
        if rng.random() < 0.67
        else [CONSTANT, *sorted(rng.choice(n, 2, replace=False))]
        for _ in range(count)
    ]
    return Triangles(
        np.array(columns, dtype=np.int32).reshape(-1, 3),
        rng.integers(-1, 3, size=count).astype(np.int16),
        size * rng.exponential(size=count),
    )


def with_triangles(problem, triangles):
    """The function of the semidefinite relaxation, triangles taken off, made convex again."""
    plain = solve_sdp(problem.quad, problem.groups, Deadline(20.0)).function
    return convexify.repair(problem.quad, problem.groups, replace(plain, triangles=triangles))


def test_the_terms_are_0_or_1_on_binaries_and_the_checker_has_the_same():
    problem = make_problem(0, 4, "keep=2")
    quad = scaled_quad(problem)
    plain = solve_sdp(problem.quad, problem.groups, Deadline(9.0)).function
    for columns, apex in product(([0, 1, 3], [1, 2, 3], [CONSTANT, 0, 2]), range(-1, 3)):
        one = Triangles(
            np.array([columns], dtype=np.int32), np.array([apex], dtype=np.int16), np.ones(1)
        )
        lowered = replace(plain, u=plain.u - 9.0)
        base, used = (
            verified(problem, quad, replace(lowered, triangles=triangles), 0)
            for triangles in (no_triangles(), one)
        )
        seen = set()
        for z in map(np.array, product((0.0, 1.0), repeat=4)):
            term, _ = triangle_term([*z, 1.0], columns, apex)
            taken = [f.constant + z @ f.matrix @ z + f.linear @ z for f in (base, used)]
            assert taken[0] - taken[1] == pytest.approx(term, abs=1e-12)
            seen.add(term)
        assert seen == {0.0, 1.0}


@pytest.mark.parametrize(("n", "pattern"), [(4, "keep=2"), (12, "50%"), (12, "2:4"), (12, "1:3")])
@pytest.mark.parametrize("seed", range(4))
def test_root_bound_lies_just_below_exact_arithmetic(n, pattern, seed):
    problem = make_problem(seed, n, pattern)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 4e-3):
        function = with_triangles(problem, random_triangles(n, rng, 3 * n, size))
        leaves = root_leaves(function, near_minimiser(problem, function, rng))
        checked = check_part(problem, row_proof(problem, leaves))
        exact = exact_root_bound(problem, function, leaves.points[0])
        scaled = Fraction(checked.bound) / Fraction(2) ** problem.exponent
        assert 0 < scaled <= exact
        assert float(exact - scaled) < 1e-11


@pytest.mark.parametrize("size", [1.0, 1e6, 1e15, 1e30])
def test_large_weights_are_still_rounded_down(size):
    problem = make_problem(3, 10, "50%")
    rng = np.random.default_rng(1)
    drawn = random_triangles(10, rng, 40, size)
    triangles = replace(drawn, weight=np.minimum(drawn.weight, LARGEST_MULTIPLIER / 100))
    function = with_triangles(problem, triangles)
    used = verified(problem, scaled_quad(problem), function, 0)
    points = rng.random((20, 10)).astype(np.float32)
    x, root = points.astype(np.float64), np.zeros((20, 10), np.int8)
    bounds = leaf_bounds(checked_set(problem), used, Points(x, np.arange(20)), root)
    for point, bound in zip(points, bounds.tolist(), strict=True):
        exact = exact_root_bound(problem, function, point)
        assert Fraction(bound) <= exact
        assert float(exact) - bound < 1e-10 * size
    checked = check_part(problem, row_proof(problem, root_leaves(function, x[0])))
    assert 0.0 <= checked.bound <= optimum_of(problem)


def test_thousands_of_triangles_cost_the_bound_nothing_visible():
    problem = make_problem(6, 40, "50%")
    rng = np.random.default_rng(0)
    function = with_triangles(problem, random_triangles(40, rng, 4000, 2e-5))
    leaves = root_leaves(function, near_minimiser(problem, function, rng))
    checked = check_part(problem, row_proof(problem, leaves))
    exact = float(exact_root_bound(problem, function, leaves.points[0]))
    assert exact > 0.0
    assert np.ldexp(checked.bound, -problem.exponent) > exact * (1 - 1e-10)


@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(7, "keep=4"), (8, "2:4"), (6, "1:3")]))
def test_trees_with_several_functions_stay_below_brute_force(seed, shape):
    problem = make_problem(seed % 50, *shape)
    rng = np.random.default_rng(seed)
    functions = tuple(
        with_triangles(problem, random_triangles(problem.n, rng, count, size))
        for count, size in ((0, 0.0), (6, 0.003), (20, 0.01))
    )
    leaves = random_tree(problem, rng, functions)
    checked = check_part(problem, row_proof(problem, leaves))
    assert 0.0 <= checked.bound <= optimum_of(problem) * (1 + 1e-14)
    again = check_part(problem, row_proof(problem, leaves, bound=checked.bound))
    assert again.bound == checked.bound


def proof_with_triangles(seed=2, n=8):
    """A problem, a three-leaf proof with its largest supportable bound, and the optimum."""
    problem = make_problem(seed, n, "50%")
    triangles = random_triangles(n, np.random.default_rng(seed), 12, 0.005)
    proof = three_leaves(problem, with_triangles(problem, triangles))
    assert proof.bound > 0.0
    return problem, proof, optimum_of(problem)


def altered(proof, **changes):
    """The proof with other triangles."""
    (function,) = proof.evidence.functions
    triangles = replace(function.triangles, **changes)
    return mutate_leaves(proof, functions=(replace(function, triangles=triangles),))


@given(data=st.data())
def test_altered_triangles_are_rejected_or_the_bound_still_follows(data):
    problem, proof, optimum = proof_with_triangles(data.draw(st.integers(0, 5)))
    triangles = proof.evidence.functions[0].triangles
    columns, apex, weight = (
        getattr(triangles, name).copy() for name in ("columns", "apex", "weight")
    )
    which = data.draw(st.integers(0, len(triangles) - 1))
    kind = data.draw(st.sampled_from(["weight", "negative", "columns", "apex", "removed", "twice"]))
    if kind == "weight":
        weight[which] *= data.draw(st.sampled_from([0.0, 0.5, 1 + 1e-12, 1.1, 1e3, 1e12]))
    elif kind == "negative":
        weight[which] *= -1
    elif kind == "columns":
        columns[which, data.draw(st.integers(0, 2))] = data.draw(st.integers(-2, 8))
    elif kind == "apex":
        apex[which] = data.draw(st.integers(-2, 3))
    else:
        kept = np.arange(len(triangles))
        kept = np.delete(kept, which) if kind == "removed" else np.append(kept, which)
        columns, apex, weight = columns[kept], apex[kept], weight[kept]
    changed = altered(proof, columns=columns, apex=apex, weight=weight)
    for stated in (proof.bound, 0.0):
        try:
            checked = check_part(problem, replace(changed, bound=stated))
        except ProofError:
            continue
        assert kind != "negative"
        assert stated <= checked.bound <= optimum * (1 + 1e-14)


def first(values, value):
    """The array with another value in its first place."""
    changed = values.copy()
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("columns", lambda v: first(v, -2), "a column that is not in -1 to 7"),
        ("columns", lambda v: v + np.int32(8), "a column that is not in -1 to 7"),
        ("columns", lambda v: v[:, ::-1].copy(), "columns that do not increase"),
        ("columns", lambda v: v[:, [0, 1, 1]], "columns that do not increase"),
        ("columns", lambda v: np.where(v >= 0, v, CONSTANT)[:, [0, 0, 2]], "do not increase"),
        ("columns", lambda v: v[:, :2], "of triangles: expected"),
        ("columns", lambda v: v[:-1], "of triangles: expected"),
        ("columns", lambda v: v.ravel(), "of triangles: expected"),
        ("columns", lambda v: v.astype(np.float64), "of triangles: expected int32"),
        ("columns", lambda v: v.astype(np.int8), "of triangles: expected int32"),
        ("apex", lambda v: first(v, -2), "an apex that is not in -1 to 2"),
        ("apex", lambda v: first(v, 3), "an apex that is not in -1 to 2"),
        ("apex", lambda v: v[:-1], "of triangles: expected"),
        ("apex", lambda v: v.astype(bool), "expected int16"),
        ("weight", lambda v: first(v, -1e-300), "negative weight"),
        ("weight", lambda v: first(v, np.nan), "expected finite numbers"),
        ("weight", lambda v: first(v, np.inf), "expected finite numbers"),
        ("weight", lambda v: first(v, 1.1 * LARGEST_MULTIPLIER), "expected finite numbers"),
        ("weight", lambda v: v[:-1], "of triangles: expected"),
        ("weight", lambda v: v[:, None], "of triangles: expected"),
        ("weight", lambda v: v.astype(np.float32), "expected float64"),
    ],
)
def test_malformed_triangles_are_rejected(field, change, reason):
    problem, proof, _ = proof_with_triangles()
    values = getattr(proof.evidence.functions[0].triangles, field)
    broken = altered(proof, **{field: change(values)})
    rejected(problem, replace(broken, bound=0.0), f"function 0: .*{reason}")


def test_weights_without_the_lower_u_are_not_convex():
    problem = make_problem(2, 8, "50%")
    plain = with_triangles(problem, no_triangles())
    heavy = replace(plain, triangles=random_triangles(8, np.random.default_rng(0), 12, 1.0))
    proof = row_proof(problem, root_leaves(heavy, np.full(8, 0.5)))
    rejected(problem, proof, "not positive semidefinite")


def test_a_file_keeps_the_triangles(tmp_path):
    problem, proof, _ = proof_with_triangles()
    path = tmp_path / "row.proof.safetensors"
    write_proof(path, whole(problem), [proof])
    (again,) = read_proof(path).proofs
    assert check_part(problem, again) == check_part(problem, proof)
    before, after = (p.evidence.functions[0].triangles for p in (proof, again))
    for name in ("columns", "apex", "weight"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
