"""Triangle inequalities: what is found, what it proves, against cvxpy and brute force."""

import json
from itertools import combinations
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.interior import advance
from maskgap.solvers.bounds.iterate import Iterate, centre
from maskgap.solvers.bounds.semidefinite import Effort, lifted_cost, solve_sdp, solve_with_triangles
from maskgap.solvers.bounds.triangles import Cuts, no_cuts, products, separate
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline
from tests.helpers.small_rows import NAMES, PROBLEMS, least_on_hull, optimum
from tests.helpers.tiny import random_layer

EVERY = Effort(rounds=60, batch=1000, most=10_000, least=1e-7, tolerance=1e-8, share=1.0)
"""All triangle inequalities of a small row."""


def every_cut(size):
    """All triangle inequalities on indices 0..size - 1."""
    triples = np.array(list(combinations(range(size), 3)))
    return Cuts(np.repeat(triples, 4, axis=0), np.tile(np.arange(-1, 3), len(triples)))


def random_symmetric(seed, size):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    return matrix + matrix.T


def vectors(cuts, size):
    """The constraint vectors: unit vectors, then those of the cuts."""
    rows = np.zeros((len(cuts), size))
    np.put_along_axis(rows, cuts.index, cuts.signs, axis=1)
    return np.vstack([np.eye(size), rows])


def basis(groups):
    """Orthonormal columns orthogonal to every budget, by a QR factorisation."""
    budgets = np.hstack(
        [np.full((groups.count, 1), 0.5 * groups.size - groups.pruned), 0.5 * groups.indicator()]
    )
    full, _ = np.linalg.qr(budgets.T, mode="complete")
    return full[:, groups.count :]


@pytest.mark.parametrize("groups", [BudgetGroups(8, 4, 1), BudgetGroups(6, 6, 4)])
def test_the_face_is_what_the_budgets_leave(groups):
    face = Face(groups)
    onto = basis(groups) @ basis(groups).T
    lifted = face.lift(np.eye(face.order))
    np.testing.assert_allclose(lifted, onto, atol=1e-14)  # B B^T, whatever the basis
    matrix = random_symmetric(0, groups.n + 1)
    inner = face.project(matrix)
    np.testing.assert_allclose(face.lift(inner), onto @ matrix @ onto, atol=1e-13)
    np.testing.assert_allclose(face.project(face.lift(inner)), inner, atol=1e-13)


@pytest.mark.parametrize("groups", [BudgetGroups(8, 4, 1), BudgetGroups(6, 6, 5)])
def test_the_first_iterate_is_the_mean_of_the_legal_masks(groups):
    z = np.concatenate(list(groups.enumerate_pruned())).astype(float)
    lifted = np.hstack([np.ones((len(z), 1)), 2.0 * z - 1.0])
    cost = random_symmetric(4, groups.n + 1)
    at = centre(Face(groups), cost)
    np.testing.assert_allclose(at.lifted, lifted.T @ lifted / len(z), atol=1e-13)
    assert at.missed < 1e-13
    np.testing.assert_allclose(at.slack, at.face.project(cost - np.diag(at.y)), atol=1e-12)
    assert np.linalg.eigvalsh(at.slack)[0] > 0.0


def test_products_forms_and_sums_are_those_of_the_vectors():
    size = 6
    cuts = every_cut(size)
    spread, lifted = random_symmetric(1, size), random_symmetric(2, size)
    rows = vectors(cuts, size)
    expected = (rows @ spread @ rows.T) * (rows @ lifted @ rows.T)
    scale = np.linspace(0.5, 1.5, len(rows))
    expected *= np.outer(scale, scale)
    for dtype, precision in ((np.float64, 1e-12), (np.float32, 1e-6)):
        found = products(spread, lifted, cuts, scale, np.dtype(dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(np.tril(found), np.tril(expected), precision, precision)
    forms = np.einsum("ij,jk,ik->i", rows, lifted, rows)
    np.testing.assert_allclose(cuts.forms(lifted), forms[size:])
    weight = np.linspace(0.0, 1.0, len(cuts))
    expected = (rows[size:].T * weight) @ rows[size:]
    np.testing.assert_allclose(cuts.weighted(weight, size), expected)
    np.testing.assert_allclose(cuts.touching(weight, size), expected.diagonal())
    assert len(np.unique(cuts.keys())) == len(cuts)


def test_terms_are_an_eighth_of_the_forms():
    cuts = every_cut(5)
    rng = np.random.default_rng(3)
    for z in rng.integers(0, 2, (8, 4)).astype(float):
        s = np.concatenate([[1.0], 2.0 * z - 1.0])
        for t in range(len(cuts)):
            one = cuts.where(np.array([t]))
            pairs, single, constant = convexify.triangle_terms(4, one.triangles(np.ones(1)))
            term = z @ pairs @ z + single @ z + constant
            assert term == pytest.approx(one.forms(np.outer(s, s))[0] - 1.0)
            assert term in (0.0, 8.0)


@pytest.mark.parametrize("seed", range(4))
def test_separation_finds_the_worst_and_shares_no_pair(seed):
    size, least = 9, 0.05
    matrix = np.tanh(random_symmetric(seed, size))
    np.fill_diagonal(matrix, 1.0)
    everything = every_cut(size)
    missed = 1.0 - everything.forms(matrix)
    found = separate(matrix, no_cuts(), 1000, least)
    own = 1.0 - found.forms(matrix)
    assert own[0] == pytest.approx(missed.max())
    assert (np.diff(own) <= 1e-12).all()
    assert own.min() > least
    pairs = [pair for row in found.index for pair in combinations(row.tolist(), 2)]
    assert len(set(pairs)) == len(pairs)
    assert len(separate(matrix, no_cuts(), 2, least)) == 2
    again = separate(matrix, found, 1000, least)
    assert not np.isin(again.keys(), found.keys()).any()
    assert len(separate(matrix, everything, 1000, least)) == 0


def test_a_pair_without_a_third_index_is_no_triangle():
    """An iterate that misses diag(Y) = 1 may have entries below -1."""
    Y = np.eye(6)
    Y[:, -1] = Y[-1, :] = -1.6
    cuts = separate(Y, no_cuts(), 100, 0.1)
    assert len(cuts)
    assert (np.diff(cuts.index, axis=1) > 0).all()
    assert (cuts.index < 6).all()
    assert (cuts.forms(Y) < 0.9).all()


def test_a_step_keeps_the_dual_feasible_and_closes_the_gap():
    problem = Problem.of(random_layer(4, 8), parse_pattern("50%")).part_of(0)
    cost = lifted_cost(problem.quad)
    at = centre(Face(problem.groups), cost)
    for _ in range(12):
        following = advance(at)
        assert isinstance(following, Iterate)
        slack = at.face.project(cost - np.diag(following.y))
        np.testing.assert_allclose(following.slack, slack, atol=1e-9)
        assert np.linalg.eigvalsh(slack)[0] > 0.0
        at = following
    assert at.gap < 1e-6
    assert at.value == pytest.approx(float((cost * at.lifted).sum()), abs=1e-5)


def with_every_triangle(problem):
    """The relaxation with all triangle inequalities by Clarabel, on the face of the budgets."""
    groups, size = problem.groups, problem.n + 1
    onto = basis(groups)
    R = cp.Variable((onto.shape[1], onto.shape[1]), PSD=True)
    rows = vectors(every_cut(size), size) @ onto
    forms = np.stack([np.outer(row, row).ravel() for row in rows]) @ cp.vec(R, order="F")
    cost = onto.T @ lifted_cost(problem.quad) @ onto
    model = cp.Problem(
        cp.Minimize(cp.sum(cp.multiply(cost, R))), [forms[:size] == 1, forms[size:] >= 1]
    )
    # some hold with equality on all legal masks, which leaves Clarabel no interior to be exact in
    return model.solve(solver="CLARABEL", tol_gap_abs=1e-6, tol_gap_rel=1e-6, tol_feas=1e-6)


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "keep=1", "2:4", "1:3"])
@pytest.mark.parametrize("seed", range(2))
def test_all_triangles_agree_with_cvxpy(pattern, seed):
    layer = random_layer(seed, 12, tokens=3)  # of low rank: they do not close every gap
    problem = Problem.of(layer, parse_pattern(pattern)).part_of(0)
    found = solve_with_triangles(problem.quad, problem.groups, Deadline(60), EVERY)
    assert found[-1].converged
    assert found[-1].bound == pytest.approx(with_every_triangle(problem), abs=5e-5)


@pytest.mark.parametrize("effort", [Effort(), EVERY], ids=["default", "every"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_between_the_plain_bound_and_the_optimum(problem, effort):
    found = solve_with_triangles(problem.quad, problem.groups, Deadline(60), effort)
    alone = solve_sdp(problem.quad, problem.groups, Deadline(60))
    assert found[0].bound == alone.bound
    assert not len(found[0].function.triangles)
    assert len(found) <= 2
    best = optimum(problem)
    for solution in found:
        function = convexify.repair(problem.quad, problem.groups, solution.function)
        lowest = least_on_hull(problem, function)
        assert solution.bound <= lowest + 1e-7
        assert lowest <= best + 1e-9
        assert lowest >= solution.bound - 1e-6 * (1.0 + abs(best))
        np.testing.assert_allclose(function.u, solution.function.u, atol=1e-6)
    if len(found) == 2:
        assert found[1].bound > found[0].bound
        triangles = found[1].function.triangles
        assert (triangles.weight > 0.0).all()
        assert (np.diff(triangles.columns, axis=1) > 0).all()
        assert triangles.columns.min() >= -1
        assert triangles.columns.max() < problem.n


def test_most_of_the_gap_of_small_rows_goes():
    shares = []
    for seed in range(6):
        problem = Problem.of(random_layer(seed, 12), parse_pattern("50%")).part_of(0)
        plain, better = solve_with_triangles(problem.quad, problem.groups, Deadline(60), EVERY)
        best = optimum(problem)
        shares.append((better.bound - plain.bound) / (best - plain.bound))
    assert np.mean(shares) > 0.8


def test_effort_limits_what_is_held():
    problem = Problem.of(random_layer(5, 24), parse_pattern("50%")).part_of(0)
    few = Effort(rounds=3, batch=5, most=8)
    held = solve_with_triangles(problem.quad, problem.groups, Deadline(60), few)[-1]
    assert 0 < len(held.function.triangles) <= 8
    none = solve_with_triangles(problem.quad, problem.groups, Deadline(60), Effort(rounds=0))
    assert len(none[-1].function.triangles) == 0


class Looks(Deadline):
    """A deadline that expires at its k-th look, whatever the clock."""

    def __init__(self, looks):
        super().__init__(1e9)
        self.looks = looks

    def remaining(self):
        self.looks -= 1
        return 1.0 if self.looks >= 0 else 0.0


@pytest.mark.parametrize("looks", [0, 1, 3, 6, 9, 12, 13, 14, 15, 17, 20])
def test_a_stop_at_any_moment_leaves_valid_functions(looks):
    problem = Problem.of(random_layer(6, 10), parse_pattern("50%")).part_of(0)
    found = solve_with_triangles(problem.quad, problem.groups, Looks(looks), EVERY)
    best = optimum(problem)
    for solution in found:
        function = convexify.repair(problem.quad, problem.groups, solution.function)
        convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, function))
        point = hull.minimise(convex, problem.groups, Deadline(60), iterations=5000)
        assert solution.bound - 1e-7 <= point.bound <= best + 1e-9
    bounds = [solution.bound for solution in found]
    assert bounds == sorted(bounds)


class Ticking(Deadline):
    """A deadline of so many looks, each of which takes a second."""

    def __init__(self, looks):
        super().__init__(1e9)
        self.left = float(looks)

    def remaining(self):
        self.left = max(0.0, self.left - 1.0)
        return self.left


def test_the_share_of_the_time_ends_the_rounds_before_the_steps():
    problem = Problem.of(random_layer(7, 32), parse_pattern("50%")).part_of(0)
    weights, bounds = [], []
    for share in (0.001, 0.2, 1.0):
        effort = Effort(least=0.01, rounds=30, batch=20, share=share)
        found = solve_with_triangles(problem.quad, problem.groups, Ticking(160), effort)
        weights.append(len(found[-1].function.triangles))
        bounds.append(found[-1].bound)
    assert weights == sorted(set(weights))
    assert bounds == sorted(set(bounds))


def test_bounds_of_the_bank(known: Path):
    """Each file of 64 to 96 columns: at least half of the gap that the plain relaxation leaves."""
    for entry in json.loads((known / "known.json").read_text()):
        if not 64 <= entry["n"] <= 96:
            continue
        layer = read_layer(known / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        best = entry["optimum"]
        plain, better = (
            problem.rescale(solution.bound)
            for solution in solve_with_triangles(
                problem.quad, problem.groups, Deadline(60), Effort()
            )
        )
        assert 0.5 * (plain + best) < better <= best * (1 + 1e-9), entry["file"]
