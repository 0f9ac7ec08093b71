"""Scores against their formulas written out by hand, and the cases that break them elsewhere."""

import numpy as np
import pytest

from maskgap.instances.errors import InputError, Refused
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot import scores

WEIGHT = np.array([[1.0, -2, 3], [4, 0, -1]])
GRAM = np.array([[4.0, 1, 0], [1, 9, 2], [0, 2, 16]])


def _layer():
    return Layer.from_arrays(WEIGHT, GRAM)


def _same_order_and_ratio(found, expected):
    """Scores are defined up to a common positive factor."""
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-12)


def test_wanda_is_weight_times_input_norm():
    _same_order_and_ratio(scores.wanda(_layer()), np.abs(WEIGHT) * np.array([2.0, 3, 4]))


def test_ria_is_relative_importance_times_root_of_the_norm():
    size = np.abs(WEIGHT)
    rows, columns = np.array([[6.0], [5.0]]), np.array([[5.0, 2, 4]])
    expected = (size / rows + size / columns) * np.sqrt(np.array([2.0, 3, 4]))
    _same_order_and_ratio(scores.ria(_layer()), expected)


def test_obs_is_squared_weight_over_the_inverse_diagonal():
    hessian = GRAM + 0.01 * GRAM.diagonal().mean() * np.eye(3)
    found, damping = scores.obs(_layer())
    assert damping == 0.01
    _same_order_and_ratio(found, WEIGHT**2 / np.linalg.inv(hessian).diagonal())


def test_obs_on_a_singular_gram_says_what_damping_it_used():
    token = np.array([[1.0], [2], [3], [4]])
    layer = Layer.from_arrays(np.ones((1, 4)), token @ token.T)
    assert scores.obs(layer)[1] == 0.01
    assert scores.obs(layer, 1e-14)[1] > 1e-14
    with pytest.raises(Refused, match="set a larger damping"):
        scores.obs(layer, 0.0)


@pytest.mark.parametrize("name", ["wanda", "ria", "obs"])
def test_a_dead_column_goes_first_however_large_its_weight(name):
    layer = Layer.from_arrays(np.array([[100.0, 1, 1]]), np.diag([0.0, 4, 9]))
    values = scores.score(layer, name, 0)
    assert np.isfinite(values).all()
    assert values.argmin() == 0


def test_magnitude_does_not_see_the_inputs():
    layer = Layer.from_arrays(np.array([[100.0, 1, 2]]), np.diag([0.0, 4, 9]))
    mask = Problem.of(layer, parse_pattern("keep=2")).groups.prune_lowest(scores.magnitude(layer))
    assert list(mask[0]) == [True, False, True]


@pytest.mark.parametrize("name", scores.WARM_STARTS)
@pytest.mark.parametrize("gram", [np.zeros((4, 4)), np.ones((4, 4)), np.eye(4)])
def test_scores_are_finite_on_zero_weights_and_singular_grams(name, gram):
    layer = Layer.from_arrays(np.zeros((2, 4)), gram)
    assert np.isfinite(scores.score(layer, name, 0)).all()


def test_random_scores_depend_on_seed_and_row_alone():
    tall = Layer.from_arrays(np.ones((5, 3)), GRAM)
    np.testing.assert_array_equal(scores.random(tall, 1)[:2], scores.random(_layer(), 1))
    assert (scores.random(tall, 1) != scores.random(tall, 2)).all()


def test_an_unknown_warm_start_is_an_error():
    with pytest.raises(InputError, match="wanda"):
        scores.score(_layer(), "nothing", 0)
    assert scores.starting_masks(Problem.of(_layer(), parse_pattern("50%")), "none", 0) is None
