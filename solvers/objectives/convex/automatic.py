"""Objectives written in torch or jax, differentiated there, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused


def torch(function: Callable[[Any], Any]) -> Callable[[Vector], tuple[float, Vector]]:
    """An objective from a function of a torch tensor (n,) float64 that returns a scalar tensor.

    Raises InputError where it is none, or returns something else.
    """
    _check(function)
    import torch as library

    def evaluate(x: Vector) -> tuple[float, Vector]:
        point = library.tensor(x, dtype=library.float64, requires_grad=True)
        value = function(point)
        if not isinstance(value, library.Tensor) or value.numel() != 1:
            raise InputError("f: expected a function of a tensor that returns one number")
        if not value.requires_grad:
            return float(value), np.zeros(len(x))
        (gradient,) = library.autograd.grad(value, point, materialize_grads=True)
        return float(value.detach()), gradient.numpy()

    return evaluate


def jax(function: Callable[[Any], Any]) -> Callable[[Vector], tuple[float, Vector]]:
    """An objective from a function of a jax array (n,) that returns a scalar.

    Raises Refused where jax is absent, or has its 64-bit numbers switched off; InputError where the
    argument is no function, or returns something else.
    """
    _check(function)
    try:
        import jax as library
    except ImportError:
        raise Refused("jax is not installed: pip install jax") from None
    if not library.config.jax_enable_x64:
        raise Refused("jax computes in 32 bits: jax.config.update('jax_enable_x64', True) first")
    differentiated: Any = library.value_and_grad(function)

    def evaluate(x: Vector) -> tuple[float, Vector]:
        try:
            value, gradient = differentiated(x)
        except TypeError as error:
            raise InputError(f"f: expected a jax function of one number: {error}") from error
        return float(value), np.asarray(gradient, dtype=np.float64)

    return evaluate


def _check(function: object) -> None:
    if not callable(function):
        raise InputError(f"function: expected a callable, not {type(function).__name__}")
