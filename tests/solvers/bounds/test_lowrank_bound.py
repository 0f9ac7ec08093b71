"""Bounds of the low-rank method: valid, of the relaxation's value, for every row of a batch."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import ProofError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.semidefinite import Effort, solve_sdp, solve_with_triangles
from maskgap.solvers.protocol import Deadline, Limits, Stop
from maskgap.solvers.registry import build
from tests.helpers import layer_bounds
from tests.helpers.layer_bounds import optima
from tests.helpers.tiny import brute_force, random_layer

bounds_of = partial(layer_bounds.bounds_of, "lowrank-bound")


@pytest.mark.parametrize("rounds", [0, 4])
@pytest.mark.parametrize("pattern", ["50%", "keep=1", "keep=7", "2:4", "1:2", "0%", "100%"])
def test_bounds_lie_below_every_optimum(pattern, rounds):
    layer = random_layer(4, 8, rows=5)
    problem, _, checked = bounds_of(
        layer, pattern, triangle_rounds=rounds, iterations=3200, batch=3
    )
    best = optima(layer, problem.groups)
    assert (checked <= best * (1 + 1e-12)).all()
    parts = [problem.part_of(row) for row in range(5)]
    relaxed = [p.rescale(solve_sdp(p.quad, p.legal, Deadline(60.0)).bound) for p in parts]
    assert (checked >= 0.97 * np.array(relaxed)).all()


@st.composite
def layers(draw):
    """At most 3 rows of 8 columns: low rank, duplicated, dead columns, zero weights, any scale."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inputs = rng.normal(size=(8, draw(st.sampled_from([1, 3, 24]))))
    weight = rng.normal(size=(3, 8)) * np.exp(
        draw(st.sampled_from([0.0, 3.0])) * rng.normal(size=8)
    )
    if draw(st.booleans()):
        inputs[3] = inputs[2]
    if draw(st.booleans()):
        inputs[5] = 0.0
    if draw(st.booleans()):
        weight[1] = 0.0
    scale = draw(st.sampled_from([1e-12, 1.0, 1e12]))
    return Layer.from_arrays(weight, scale * (inputs @ inputs.T))


@given(layers(), st.sampled_from(["50%", "keep=3", "2:4"]), st.sampled_from([0, 2]))
def test_fuzzed_layers_have_valid_bounds(layer, pattern, rounds):
    problem, _, checked = bounds_of(layer, pattern, triangle_rounds=rounds, iterations=200)
    assert (checked <= optima(layer, problem.groups) * (1 + 1e-12)).all()


@pytest.mark.parametrize("pattern", ["50%", "keep=20", "2:4"])
def test_bounds_are_those_of_the_relaxation(pattern):
    layer = random_layer(11, 96, rows=6, tokens=200)
    problem, _, checked = bounds_of(layer, pattern, iterations=1600, tolerance=1e-3)
    for row, bound in enumerate(checked):
        part = problem.part_of(row)
        exact = part.rescale(solve_sdp(part.quad, part.legal, Deadline(60.0)).bound)
        assert 0.97 * exact <= bound <= 1.01 * exact  # minimising over the hull may lift it


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_triangles_lift_bounds_as_far_as_the_interior_point_method(pattern):
    layer = random_layer(5, 64, rows=3, tokens=100)
    problem, answers, checked = bounds_of(layer, pattern, triangle_rounds=12)
    plain = bounds_of(layer, pattern)[2]
    for row, bound in enumerate(checked):
        part = problem.part_of(row)
        both = solve_with_triangles(part.quad, part.legal, Deadline(60.0), Effort())
        without, exact = (part.rescale(solution.bound) for solution in both)
        assert bound >= without + 0.7 * (exact - without)
        assert bound > plain[row]
        assert len(answers[row].proof.evidence.functions[0].triangles) > 0


def test_rows_do_not_depend_on_what_they_are_solved_with():
    layer = random_layer(3, 40, rows=5, tokens=80)
    alone = bounds_of(layer, "50%", batch=1)[2]
    together = bounds_of(layer, "50%", batch=5)[2]
    np.testing.assert_allclose(alone, together, rtol=1e-2)


def test_the_same_seed_gives_the_same_bounds():
    layer = random_layer(3, 40, rows=3, tokens=80)
    first, second = (bounds_of(layer, "50%", triangle_rounds=3)[2] for _ in range(2))
    assert (first == second).all()


def test_rows_without_weights_and_columns_without_energy():
    layer = random_layer(6, 16, rows=3)
    weight, gram = layer.weight.copy(), layer.gram.copy()
    weight[1] = 0.0
    gram[4], gram[:, 4] = 0.0, 0.0
    _, _, checked = bounds_of(Layer.from_arrays(weight, gram), "50%")
    assert checked[1] == 0.0
    assert (checked[[0, 2]] > 0.0).all()


def test_points_beside_bound_other_budgets():
    layer = random_layer(6, 24, rows=1, tokens=60)
    _, (answer,), _ = bounds_of(layer, "50%", beside=True)
    assert len(answer.proof.evidence.points) > 1


def test_a_row_that_is_not_reached_has_no_bound():
    layer = random_layer(6, 24, rows=3)
    problem = Problem.of(layer, parse_pattern("50%"))
    answers = build("lowrank-bound", {}).solve_rows(problem, Limits(Deadline(0.0)), 0)
    assert [a.stop for a in answers] == [Stop.TIME] * 3
    assert all(a.proof is None for a in answers)


def test_a_bound_raised_by_hand_is_rejected():
    layer = random_layer(6, 24, rows=1)
    problem, (answer,), _ = bounds_of(layer, "50%", triangle_rounds=2)
    function = answer.proof.evidence.functions[0]
    raised = replace(function, u=function.u + 0.5 * np.abs(function.u).max())
    evidence = replace(answer.proof.evidence, functions=(raised,))
    with pytest.raises(ProofError):
        check_part(problem.part_of(0), replace(answer.proof, evidence=evidence))


def outlying_layer(seed, n, rows=2):
    """A layer one of whose columns has a hundred times the energy of the others."""
    layer = random_layer(seed, n, rows=rows, tokens=4 * n)
    scale = np.ones(n)
    scale[3] = 100.0
    return Layer.from_arrays(layer.weight, scale[:, None] * layer.gram * scale)


@pytest.mark.parametrize("rounds", [0, 2])
def test_columns_that_every_better_mask_keeps_are_taken_out(rounds):
    layer = outlying_layer(2, 10)
    problem, answers, checked = bounds_of(
        layer, "50%", triangle_rounds=rounds, iterations=1600, tolerance=1e-4
    )
    best = optima(layer, problem.groups)
    assert (checked <= best * (1 + 1e-12)).all()
    for answer, weight in zip(answers, layer.weight, strict=True):
        taken_out = answer.proof.evidence.branch[: answer.counters["kept"]].tolist()
        _, pruned = brute_force(weight, layer.gram, 10, 5)
        assert 3 in taken_out
        assert not set(taken_out) & set(pruned)
    _, _, without = bounds_of(layer, "50%", fixing=False, iterations=1600, tolerance=1e-4)
    assert (checked >= 0.999 * without).all()


def test_no_column_is_taken_out_where_points_for_other_budgets_are_asked_for():
    _, answers, _ = bounds_of(outlying_layer(2, 10), "50%", beside=True)
    assert [answer.counters["kept"] for answer in answers] == [0, 0]
