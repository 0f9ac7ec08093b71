"""Shipped convex objectives: gradients and second derivatives, and what they refuse."""

import numpy as np
import pytest

import maskgap
from maskgap import objectives

RANDOM = np.random.default_rng(0)
A = RANDOM.standard_normal((9, 4))

SMOOTH = {
    "logistic": objectives.logistic(A, RANDOM.random(9) < 0.5, ridge=0.1, linear=0.2),
    "poisson": objectives.poisson(A, RANDOM.poisson(2, 9), ridge=[0.1, 0.2, 0.3, 0.4]),
    "d-optimal": objectives.d_optimal(A),
    "a-optimal": objectives.a_optimal(A, prior=0.1 * np.eye(4)),
}
PLAIN = {
    "quadratic": objectives.quadratic(A.T @ A, A[0], 2.0),
    "least squares": objectives.least_squares(A, A[:, 0], ridge=0.1, linear=A[0]),
    "torch": objectives.torch(lambda x: (x**4).sum() + x.exp().sum()),
}


def _point(f):
    n = getattr(f, "n", 4)
    return np.random.default_rng(1).uniform(0.5, 1.5, n)


@pytest.mark.parametrize("name", [*SMOOTH, *PLAIN])
def test_gradients_are_differences(name):
    f = {**SMOOTH, **PLAIN}[name]
    x, step = _point(f), 1e-5
    _, gradient = f(x)
    for j, move in enumerate(step * np.eye(len(x))):
        slope = (f(x + move)[0] - f(x - move)[0]) / (2 * step)
        assert gradient[j] == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", SMOOTH)
def test_models_have_value_gradient_and_curvature(name):
    f = SMOOTH[name]
    x, step = _point(f), 1e-5
    value, gradient = f(x)
    model = f.model(x)
    assert model.at(x)[0] == pytest.approx(value)
    assert model.at(x)[1] == pytest.approx(gradient)
    for j, move in enumerate(step * np.eye(len(x))):
        slope = (f(x + move)[1] - f(x - move)[1]) / (2 * step)
        assert 2 * model.matrix[j] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_values():
    assert objectives.logistic([[1.0]], [1], ridge=2.0)(np.zeros(1))[0] == pytest.approx(np.log(2))
    assert objectives.poisson([[1.0]], [3])(np.ones(1))[0] == pytest.approx(np.e - 3)
    assert objectives.d_optimal(np.eye(2))(np.array([2.0, 3.0]))[0] == pytest.approx(-np.log(6))
    assert objectives.a_optimal(np.eye(2))(np.array([2.0, 4.0]))[0] == pytest.approx(0.75)
    assert objectives.d_optimal(np.eye(2))(np.array([1.0, 0.0]))[0] == np.inf


def test_far_out_nothing_overflows_into_no_number():
    f = objectives.logistic([[1.0]], [1])
    assert f(np.array([-1e4]))[0] == pytest.approx(1e4)
    assert objectives.poisson([[1.0]], [1])(np.array([1e4]))[0] == np.inf


def test_a_function_that_returns_no_number_is_named():
    with pytest.raises(maskgap.InputError, match="returns one number"):
        objectives.torch(lambda x: x)(np.ones(2))
