"""Relaxation bounds: known values, never above brute force, at every scale and budget."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import conic
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop, solve_part
from maskgap.solvers.registry import build
from tests.helpers.tiny import (
    I1_GRAM,
    I1_WEIGHT,
    I2_GRAM,
    I2_WEIGHT,
    brute_force,
    random_layer,
    row_problem,
)

SCALES = [1e-12, 1e-6, 1e-3, 1.0, 1e6, 1e12]
BOUNDS = ["qp-bound", "sdp-bound"]


def bound_of(name, problem, seconds=30.0, **settings):
    """(claimed bound, checked bound) in units of the layer's loss."""
    answer = solve_part(build(name, settings), problem, Limits(Deadline(seconds)), 0)
    assert answer.mask is None
    assert answer.proof is not None
    assert answer.proof.bound == answer.claimed_bound
    return answer.claimed_bound, check_part(problem, answer.proof).bound


@pytest.mark.parametrize("scale", SCALES)
def test_relaxation_of_a_diagonal_has_its_known_value(scale):
    # min s (x1^2 + 2 x2^2 + 4 x3^2) with x1 + x2 + x3 = 1: 1 / (1 + 1/2 + 1/4) = 4/7
    problem = row_problem(np.ones((1, 3)), scale * np.diag([1.0, 2.0, 4.0]), "keep=2")
    claimed, checked = bound_of("qp-bound", problem)
    assert claimed == pytest.approx(scale * 4 / 7, rel=1e-8)
    assert claimed <= checked <= scale * 4 / 7


@pytest.mark.parametrize("name", BOUNDS)
def test_full_matrix_is_not_read_as_a_triangle(name):
    gram = np.array([[2.0, 1, 1], [1, 2, 1], [1, 1, 2]])
    claimed, checked = bound_of(name, row_problem(np.ones((1, 3)), gram, "keep=1"))
    assert 16 / 3 * (1 - 1e-8) <= claimed <= checked <= 6.0
    if name == "qp-bound":
        assert checked <= 16 / 3


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("weight", "gram", "optimum"), [(I1_WEIGHT, I1_GRAM, 20.0), (I2_WEIGHT, I2_GRAM, 34.0)]
)
def test_no_bound_exceeds_the_optimum_at_any_scale(name, scale, weight, gram, optimum):
    claimed, checked = bound_of(name, row_problem(weight, scale * gram, "keep=2"))
    assert 0.0 < claimed <= checked <= scale * optimum * (1 + 1e-15)


@st.composite
def rows(draw):
    """A row of at most 10 columns: full rank, singular, with duplicates or dead columns."""
    size, count = draw(st.sampled_from([(1, 1), (2, 4), (4, 2), (5, 1), (7, 1), (9, 1), (10, 1)]))
    pruned, n = draw(st.integers(0, size)), size * count
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inputs = rng.normal(size=(n, draw(st.sampled_from([1, 3, 3 * n]))))
    weight = rng.normal(size=n) * np.exp(draw(st.sampled_from([0.0, 3.0])) * rng.normal(size=n))
    kind = draw(st.sampled_from(["plain", "duplicates", "dead", "zero"]))
    if kind == "duplicates":
        inputs[n // 2 :] = inputs[: n - n // 2]
        weight[n // 2 :] = weight[: n - n // 2]
    if kind == "dead":
        inputs[::3] = 0.0
        weight[1::4] = 0.0
    if kind == "zero":
        inputs[:] = 0.0
    scale = 10.0 ** draw(st.integers(-12, 12))
    pattern = f"keep={n - pruned}" if count == 1 or pruned == size else f"{size - pruned}:{size}"
    return weight, scale * (inputs @ inputs.T), pattern


@pytest.mark.parametrize("name", BOUNDS)
@given(row=rows())
def test_no_bound_exceeds_brute_force(name, row):
    weight, gram, pattern = row
    problem = row_problem(weight[None, :], gram, pattern)
    groups = problem.groups
    optimum, _ = brute_force(weight, gram, groups.size, groups.pruned)
    claimed, checked = bound_of(name, problem)
    rounding = 1e-13 * float(np.abs(np.outer(weight, weight) * gram).sum())
    assert 0.0 <= claimed <= checked <= max(0.0, optimum) + rounding
    if groups.masks == 1:
        assert checked >= optimum - 1e3 * rounding - 1e-9 * abs(optimum)


@given(row=rows())
def test_no_bound_with_triangles_exceeds_brute_force(row):
    weight, gram, pattern = row
    problem = row_problem(weight[None, :], gram, pattern)
    optimum, _ = brute_force(weight, gram, problem.groups.size, problem.groups.pruned)
    claimed, checked = bound_of("sdp-bound", problem, triangle_rounds=4, triangle_least=0.02)
    rounding = 1e-13 * float(np.abs(np.outer(weight, weight) * gram).sum())
    assert 0.0 <= claimed <= checked <= max(0.0, optimum) + rounding


def test_a_loss_of_zero_with_a_singular_gram():
    problem = row_problem(np.array([[1.0, -1.0, 2.0, 3.0]]), np.ones((4, 4)), "keep=2")
    for name in BOUNDS:
        assert 0.0 <= bound_of(name, problem)[1] <= 1e-15


@given(row=rows(), seed=st.integers(0, 10**6))
def test_convex_function_equals_the_loss_on_legal_masks(row, seed):
    weight, gram, pattern = row
    problem = row_problem(weight[None, :], gram, pattern)
    groups, rng = problem.groups, np.random.default_rng(seed)
    function = ConvexFunction(rng.normal(size=groups.n), rng.normal(size=(groups.count, groups.n)))
    repaired = convexify.repair(problem.quad, groups, function)
    for used in (function, repaired):
        matrix, linear, _ = convexify.quadratic(problem.quad, groups, used)
        z = groups.minimise(rng.normal(size=groups.n)).astype(float)
        assert z @ matrix @ z + linear @ z == pytest.approx(z @ problem.quad @ z, abs=1e-11)
    assert np.linalg.eigvalsh(matrix)[0] >= 0.0 or not problem.quad.any()


@given(
    shape=st.sampled_from([(1, 1), (4, 3), (6, 1), (30, 2)]),
    share=st.integers(0, 30),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
)
def test_projection_is_nearest_and_legal(shape, share, seed, ties):
    size, count = shape
    groups = BudgetGroups(size * count, size, min(size, share))
    rng = np.random.default_rng(seed)
    y = 3.0 * rng.normal(size=groups.n)
    y = np.round(y) if ties else y
    x = hull.project(y, groups)
    assert x.min() >= 0.0
    assert x.max() <= 1.0
    np.testing.assert_allclose(x.reshape(count, size).sum(axis=1), groups.pruned, atol=1e-9)
    # x is nearest exactly when no legal mask lies further along y - x
    v = groups.minimise(x - y).astype(float)
    assert (y - x) @ (v - x) <= 1e-9


@pytest.mark.parametrize("iterations", [0, 1, 7, 1000])
def test_any_point_gives_a_valid_bound(iterations):
    problem = row_problem(I1_WEIGHT, I1_GRAM, "keep=2")
    convex = Quadratic(problem.quad, np.zeros(4), 0.0)
    point = hull.minimise(convex, problem.groups, Deadline(10.0), iterations=iterations)
    assert problem.rescale(point.bound) <= 20.0
    assert point.x.min() >= 0.0
    assert point.x.max() <= 1.0
    assert abs(point.x.sum() - 2) < 1e-9


def test_start_at_the_optimum_stops_at_once():
    groups = BudgetGroups(4, 4, 2)
    start = np.array([1.0, 1.0, 0.0, 0.0])
    convex = Quadratic(np.diag([1.0, 1.0, 100.0, 100.0]), np.array([-9.0, -9, 0, 0]), 0.0)
    first = hull.minimise(convex, groups, Deadline(9.0), start=start)
    assert first.gap == 0.0
    assert first.iterations <= hull.CHECK_EVERY


@pytest.mark.parametrize("name", BOUNDS)
def test_the_deadline_leaves_a_valid_bound_or_none(name):
    layer = random_layer(3, 128)
    problem = Problem.of(layer, parse_pattern("50%")).part_of(0)
    early = solve_part(build(name), problem, Limits(Deadline(0.0)), 0)
    assert (early.stop, early.claimed_bound, early.proof) == (Stop.TIME, None, None)
    late = solve_part(build(name), problem, Limits(Deadline(0.02)), 0)
    assert late.stop is Stop.TIME or name == "qp-bound"
    if late.proof is not None:
        check_part(problem, late.proof)


def test_unconverged_multipliers_are_repaired():
    problem = Problem.of(random_layer(5, 10), parse_pattern("50%")).part_of(0)
    optimum, _ = brute_force(problem.weight, problem.layer.gram, 10, 5)
    rng = np.random.default_rng(1)
    for size in (0.1, 10.0):
        wild = ConvexFunction(size * rng.normal(size=10), size * rng.normal(size=(1, 10)))
        function = convexify.repair(problem.quad, problem.groups, wild)
        convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, function))
        margin = convexify.rounding_margin(problem.quad, problem.groups, function)
        stated = hull.stated_bound(convex, problem.groups, rng.random(10), margin)
        assert problem.rescale(stated) <= optimum


def test_multipliers_have_the_signs_of_the_lagrangian():
    # with a wrong sign P would be far from semidefinite, and the repair would eat the bound
    problem = row_problem(I2_WEIGHT, I2_GRAM, "keep=2")
    for solver in conic.TIME_OPTION:
        dual = conic.sdp_dual(problem.quad, problem.groups, solver, Deadline(30.0), Journal())
        matrix, _, _ = convexify.quadratic(problem.quad, problem.groups, dual.function)
        assert np.linalg.eigvalsh(matrix)[0] > -1e-3


def test_an_unknown_conic_solver_is_named():
    problem = row_problem(I1_WEIGHT, I1_GRAM, "keep=2")
    with pytest.raises(InputError, match="expected one of interior, CLARABEL, SCS"):
        bound_of("sdp-bound", problem, sdp_solver="MOSEK")


def test_triangle_inequalities_lift_the_bound_and_are_in_its_proof():
    problem = Problem.of(random_layer(1, 32), parse_pattern("50%")).part_of(0)
    bounds = {}
    for rounds in (0, 6):
        settings = {"triangle_rounds": rounds, "triangle_least": 0.05}
        answer = solve_part(build("sdp-bound", settings), problem, Limits(Deadline(60.0)), 0)
        function = answer.proof.evidence.functions[0]
        assert len(function.triangles) == answer.notes["triangles"]
        assert (len(function.triangles) > 0) == (rounds > 0)
        assert answer.notes["relaxation"] == ("sdp-triangles" if rounds else "sdp")
        bounds[rounds] = check_part(problem, answer.proof).bound
        assert bounds[rounds] >= answer.claimed_bound
    assert bounds[6] > bounds[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"triangle_rounds": -1}, "triangle_rounds=-1: expected a whole number of at least 0"),
        ({"triangle_least": "nan"}, "triangle_least=nan: expected a number"),
        ({"sdp_solver": "SCS", "triangle_rounds": 3}, "only sdp_solver=interior"),
    ],
)
def test_settings_of_triangles_are_refused_in_one_line(settings, message):
    problem = row_problem(I1_WEIGHT, I1_GRAM, "keep=2")
    with pytest.raises(InputError, match=message):
        bound_of("sdp-bound", problem, **settings)


def test_bounds_on_the_bank(known):
    shares = []
    for entry in json.loads((known / "known.json").read_text()):
        if entry["n"] > 48:
            continue
        layer = read_layer(known / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        optimum = entry["optimum"]
        plain = bound_of("qp-bound", problem)[1]
        lifted = bound_of("sdp-bound", problem)[1]
        assert plain <= lifted <= optimum * (1 + 1e-9), entry["file"]
        shares.append(lifted / optimum)
    assert min(shares) > 0.9  # the plain relaxation proves 0.47 to 0.73 of these optima


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_whole_width_rows_of_the_bank(known, pattern):
    layer = read_layer(known / "known_layer0.safetensors")
    problem = Problem.of(layer, parse_pattern(pattern)).part_of(0)
    claimed, checked = bound_of("qp-bound", problem)
    value = claimed / checked
    assert 1 - 1e-7 < value <= 1.0
    mask = problem.groups.prune_lowest(np.abs(problem.weight) * np.sqrt(layer.gram.diagonal()))
    assert 0.1 * problem.loss(mask) < checked < problem.loss(mask)


def test_bounds_with_triangles_lie_below_every_optimum_of_the_bank(known):
    for entry in json.loads((known / "known.json").read_text()):
        layer = read_layer(known / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        claimed, checked = bound_of("sdp-bound", problem, triangle_rounds=6)
        assert claimed / entry["optimum"] > 0.85, entry["file"]
        assert claimed <= checked <= entry["optimum"] * (1 + 1e-9), entry["file"]


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize("number", [0, 1])
def test_bounds_with_triangles_lie_below_the_best_known(known, number, pattern):
    entry = json.loads((known / "known_layers.json").read_text())[number]
    layer = read_layer(known / entry["file"])
    best = entry["best_known"][pattern][1]
    problem = Problem.of(layer, parse_pattern(pattern)).part_of(best["row"])
    claimed, checked = bound_of("sdp-bound", problem, 600.0, triangle_rounds=6)
    assert claimed / best["best_known"] > 0.6
    assert claimed <= checked <= best["best_known"] * (1 + 1e-9)
