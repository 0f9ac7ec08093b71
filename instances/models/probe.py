"""Whether a module acts as a linear layer, by trying it: y = x W^T + b or y = x W + b.

Many classes hold a matrix and apply it as nn.Linear does, under another name or in a forward of
their own; others look the same and scale, clip or route as well. Which of the two a class is shows
in what it returns: for inputs x of several sizes and shapes, f(x) - f(0) must be x W^T (or x W) to
the precision of its dtype, and the same again when asked twice. What was tried is all that is
known: a module that turns into something else under conditions of its own is not told from a
linear one.

A trial runs the module as a forward of the model does, in evaluation mode and without gradients,
and what it changes in its own buffers is put back. A class that takes no single tensor or returns
something else fails, and so does a matrix for which both readings agree (all zero, or symmetric).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

ROWS = 4
SCALES = (1e-2, 1.0, 30.0)
"""Sizes of the inputs tried; a clip or a saturation shows at one of them."""

OUTPUTS = 256
"""About so many outputs, spread over all, are compared: float64 copies of a head would not fit."""

ROUNDINGS = 64.0
"""Tolerance in units of rounding of the dtype, relative to |x| |W|."""


def layout(module: nn.Module) -> bool | None:
    """Whether `weight` holds W^T (True) or W (False) of a linear map; None when it acts as none.

    Only a module whose one parameter beside a bias is a floating matrix `weight` is tried.
    """
    weight = _matrix(module)
    if weight is None:
        return None
    found = {turned for turned in (False, True) if _fits(weight, turned)}
    with left_alone(module):
        for scale in SCALES:
            found = {turned for turned in found if _agrees(module, weight, turned, scale)}
    return found.pop() if len(found) == 1 else None


def _matrix(module: nn.Module) -> torch.Tensor | None:
    weight = module._parameters.get("weight")
    own = {name for name, value in module._parameters.items() if value is not None}
    deep = sum(1 for _ in module.parameters())
    if weight is None or not own <= {"weight", "bias"} or deep != len(own) or is_lazy(weight):
        return None
    plain = weight.ndim == 2 and weight.is_floating_point() and not weight.is_meta
    return weight.detach() if plain and 0 not in weight.shape else None


def _fits(weight: torch.Tensor, turned: bool) -> bool:
    """Whether the reading can be told from the other."""
    square = weight.shape[0] == weight.shape[1]
    return not square or not torch.equal(weight, weight.T)


def _agrees(module: nn.Module, weight: torch.Tensor, turned: bool, scale: float) -> bool:
    matrix = weight.T if turned else weight
    draw = torch.Generator().manual_seed(0)
    x = scale * torch.randn(ROWS, matrix.shape[1], generator=draw, dtype=torch.float64)
    x = x.to(weight.device, weight.dtype)
    try:
        flat, deep, still = module(x), module(x[None]), module(torch.zeros_like(x))
    except Exception:  # the class may raise anything where it is no such layer
        return False
    shape = (ROWS, matrix.shape[0])
    for out, expected in ((flat, shape), (deep, (1, *shape)), (still, shape)):
        if not isinstance(out, torch.Tensor) or tuple(out.shape) != expected:
            return False
    if not torch.equal(flat, deep[0]):  # products of other shapes may round otherwise
        close = torch.allclose(flat.double(), deep[0].double(), rtol=1e-2, atol=1e-2 * scale)
        if not close:
            return False
    step = max(1, matrix.shape[0] // OUTPUTS)
    some = matrix[::step].double()
    flat, still = flat[:, ::step].double(), still[:, ::step].double()
    exact = x.double() @ some.T
    size = x.double().abs() @ some.abs().T + still.abs()
    rounding = ROUNDINGS * torch.finfo(weight.dtype).eps
    return bool(((flat - still - exact).abs() <= rounding * size).all())


@contextmanager
def left_alone(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients and the module's own dtype inside.

    Modes, buffers and random numbers are as before in the end.
    """
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers() if not buffer.is_meta]
    try:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        own = torch.autocast(device.type, enabled=False)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), own:
            module.eval()
            yield
    finally:
        for part, training in modes:
            part.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
