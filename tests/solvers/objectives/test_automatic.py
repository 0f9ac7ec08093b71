"""Objectives written in jax, where it is installed, and what is said where it is not."""

import sys

import numpy as np
import pytest

import maskgap
from maskgap import objectives, oracles


def test_without_jax_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(maskgap.Refused, match=r"^jax is not installed: pip install jax$"):
        objectives.jax(lambda x: x @ x)


def test_jax_in_64_bits_gives_the_optimum():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(maskgap.Refused, match="jax_enable_x64"):
        objectives.jax(lambda x: x @ x)
    jax.config.update("jax_enable_x64", True)
    aim = np.array([1.3, -0.7, 2.2])
    f = objectives.jax(lambda x: jax.numpy.logaddexp(x - aim, aim - x).sum())
    value, gradient = f(np.zeros(3))
    assert gradient.dtype == np.float64
    assert value == pytest.approx(np.logaddexp(-aim, aim).sum())
    assert gradient == pytest.approx(-np.tanh(aim))
    result = maskgap.minimise(f, oracles.milp(np.ones((1, 3)), -9, 9, -3.0, 3.0, 1))
    assert result.x.tolist() == [1.0, -1.0, 2.0]
    assert result.gap <= 1e-6
    vector = objectives.jax(lambda x: 2.0 * x)
    with pytest.raises(maskgap.InputError, match="one number"):
        vector(np.zeros(3))


def test_a_torch_function_that_leaves_its_argument_alone_is_constant():
    torch = pytest.importorskip("torch")
    held = torch.tensor(2.0, requires_grad=True)
    value, gradient = objectives.torch(lambda x: held * 1.5)(np.ones(3))
    assert value == 3.0
    assert gradient.tolist() == [0.0, 0.0, 0.0]
