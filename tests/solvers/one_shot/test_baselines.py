"""What all baselines of the field keep: budgets, ties, dead columns, deadlines, settings."""

import numpy as np
import pytest

from maskgap.instances.errors import InputError, Refused
from maskgap.instances.layer import Layer
from maskgap.solvers import registry
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.baselines import inputs_of, solve
from tests.helpers.tiny import layer_of_inputs, random_layer

NAMES = ["sparsegpt", "obs-greedy", "alps", "dsnot", "sparsefw"]
# The relaxation sees that weights together may cost less than nothing, which a dead one costs.
ONE_BY_ONE = ["sparsegpt", "obs-greedy", "dsnot"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["50%", "keep=7", "29%", "2:4", "1:2", "3:8"])
def test_budgets_are_exact_under_ties(name, pattern):
    inputs = np.repeat(inputs_of(0, 4), 4, axis=0) + 1.0
    solve(name, layer_of_inputs(np.ones((3, 16)), inputs), pattern)
    solve(name, layer_of_inputs(np.ones((3, 16)), np.eye(16)), pattern)
    solve(name, layer_of_inputs(np.zeros((3, 16)), np.eye(16)), pattern)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_ties_go_to_the_lower_column(name):
    masks, _ = solve(name, layer_of_inputs(np.ones((1, 8)), np.eye(8)), "50%")
    assert list(masks[0]) == [False] * 4 + [True] * 4


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_dead_columns_go_first_however_large_their_weights(name, pattern):
    inputs = inputs_of(3, 8)
    inputs[[1, 5]] = 0.0
    weight = np.random.default_rng(4).normal(size=(6, 8))
    weight[:, [1, 5]] = 1e6
    masks, _ = solve(name, layer_of_inputs(weight, inputs), pattern)
    assert not masks[:, [1, 5]].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("pattern", "kept"), [("0%", 8), ("100%", 0), ("4:4", 8), ("keep=1", 1), ("keep=7", 7)]
)
def test_extreme_budgets(name, pattern, kept):
    masks, answers = solve(name, random_layer(1, 8, rows=2), pattern)
    assert (masks.sum(axis=1) == kept).all()
    assert {answer.stop for answer in answers} == {Stop.FINISHED}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["keep=1", "keep=0"])
def test_one_column(name, pattern):
    masks, _ = solve(name, layer_of_inputs([[3.0]], np.array([[1.0, 2.0]])), pattern)
    assert masks.tolist() == [[pattern == "keep=1"]]


@pytest.mark.parametrize("name", NAMES)
def test_singular_and_zero_grams(name):
    for pattern in ("50%", "2:4"):
        solve(name, layer_of_inputs(np.ones((2, 8)), inputs_of(1, 8, tokens=2)), pattern)
        solve(name, layer_of_inputs(np.ones((2, 8)), np.zeros((8, 3))), pattern)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_rows_do_not_depend_on_each_other_and_runs_repeat(name, pattern):
    layer = random_layer(12, 24, rows=9)
    before = layer.digest
    masks, _ = solve(name, layer, pattern)
    np.testing.assert_array_equal(masks, solve(name, layer, pattern)[0])
    for rows in (range(0, 1), range(3, 8)):
        part, _ = solve(name, layer, pattern, rows)
        np.testing.assert_array_equal(part, masks[rows.start : rows.stop])
    assert Layer.from_arrays(layer.weight, layer.gram).digest == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [-140, -20, -1, 20, 140])
def test_powers_of_two_change_nothing(name, exponent):
    weight, inputs = np.random.default_rng(0).normal(size=(4, 12)), inputs_of(5)
    settings = {"threshold": 0} if name == "dsnot" else {}
    for pattern in ("50%", "2:4"):
        plain, _ = solve(name, layer_of_inputs(weight, inputs), pattern, **settings)
        scaled = np.ldexp(weight, exponent)
        moved, _ = solve(name, layer_of_inputs(scaled, inputs), pattern, **settings)
        np.testing.assert_array_equal(plain, moved)
        scaled = np.ldexp(inputs, exponent)
        moved, _ = solve(name, layer_of_inputs(weight, scaled), pattern, **settings)
        np.testing.assert_array_equal(plain, moved)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_an_expired_deadline_still_gives_masks(name, pattern):
    layer = layer_of_inputs(np.random.default_rng(1).normal(size=(3, 12)), inputs_of(1))
    _, answers = solve(name, layer, pattern, limits=Limits(Deadline(0.0)))
    assert {answer.stop for answer in answers} == {Stop.TIME}
    deadline = Deadline(60.0)
    deadline.interrupt()
    _, answers = solve(name, layer, pattern, limits=Limits(deadline))
    assert {answer.stop for answer in answers} == {Stop.INTERRUPTED}


@pytest.mark.parametrize("name", ["dsnot", "sparsefw"])
def test_a_mask_of_the_problem_takes_the_place_of_the_warm_start(name):
    layer = random_layer(2, 12, rows=2)
    start = np.tile([True, False], (2, 6))
    settings = {"max_cycles": 0} if name == "dsnot" else {"iterations": 0}
    np.testing.assert_array_equal(solve(name, layer, "50%", start=start, **settings)[0], start)
    with pytest.raises(Refused, match="needs a start"):
        solve(name, layer, "50%", warm_start="none")
    with pytest.raises(InputError, match="setting warm_start=nothing: expected one of magnitude"):
        solve(name, layer, "50%", warm_start="nothing")


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("sparsegpt", "block", 0),
        ("sparsefw", "iterations", -1),
        ("sparsefw", "fixed", 1.1),
        ("sparsefw", "fixed", "nan"),
        ("dsnot", "max_cycles", -1),
        ("dsnot", "threshold", "nan"),
        ("dsnot", "tokens", 0),
    ],
)
def test_bad_settings_are_named(name, setting, value):
    with pytest.raises(
        InputError, match=f"solver '{name}': setting {setting}={value}: expected"
    ) as error:
        registry.build(name, {setting: value})
    assert "\n" not in str(error.value)
