"""Experts that a model keeps fused: all their matrices in one tensor with three axes.

A token x that the router sends to expert e with weight r adds to the output

    r D_e g(U_e x + b_e) + r c_e

where U_e (gate_up_proj or up_proj) and D_e (down_proj) are slices of tensors (experts, d_out, d_in)
or (experts, d_in, d_out), and g is the gate. transformers marks such a class with what it needs to
know of it (`is_transposed`, `has_gate`, `has_bias`) and gives it the tokens (t, d_in), the experts
of each (t, k) and their weights (t, k). Whether a module keeps to that is tried on a few tokens
before a layer is read from it; the classes of other libraries, and those that do anything else, are
left out with that reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from maskgap.instances.models.probe import left_alone

DOWN = "down_proj"

ROUTER = "it is a router of experts, which stays dense"

TOLERANCE_ROUNDINGS = 256.0
"""Of a trial, in units of rounding of the dtype, relative to the largest output."""


@dataclass(frozen=True, slots=True)
class Fused:
    """How a module keeps its experts. up: name of the tensor of U. count: experts."""

    up: str
    count: int
    transposed: bool


def fused_of(module: nn.Module) -> Fused | None:
    """How a module keeps experts in tensors; None when it says nothing of the kind or acts else."""
    found = _stated(module)
    return found if found is not None and _acts_so(module, found) else None


def after_gate(module: Any, fused: Fused, expert: int, tokens: torch.Tensor) -> torch.Tensor:
    """What D of an expert is applied to, (t, d_in of D), for its tokens (t, d_in of U)."""
    product = _apply(module, fused.up, fused, expert, tokens)
    gated: torch.Tensor = module._apply_gate(product) if module.has_gate else module.act_fn(product)
    return gated


def routers(model: nn.Module) -> set[int]:
    """Ids of modules beside experts that choose among them.

    Such a module has a row of its weight for each expert, or one row (the gate of an expert that
    all tokens see). Experts are known by how they are kept, or by the name of their module.
    """
    found = set()
    for owner in model.modules():
        counts = set(_counts(owner))
        for child in owner.children() if counts else ():
            weight = getattr(child, "weight", None)
            if not isinstance(weight, torch.Tensor) or is_lazy(weight):
                continue
            if weight.ndim == 2 and int(weight.shape[0]) in {1, *counts}:
                found.add(id(child))
    return found


def _counts(owner: nn.Module) -> Iterator[int]:
    """Numbers of experts that a module has directly."""
    for name, child in owner.named_children():
        stated = _stated(child)
        if stated is not None:
            yield stated.count
        elif "experts" in name:
            count = len(child) if isinstance(child, nn.ModuleList) else None
            count = count or getattr(child, "num_experts", None)
            if isinstance(count, int):
                yield count


def _stated(module: Any) -> Fused | None:
    flags = [getattr(module, name, None) for name in ("is_transposed", "has_gate", "has_bias")]
    if not all(isinstance(flag, bool) for flag in flags):
        return None
    up = "gate_up_proj" if module.has_gate else "up_proj"
    tensors = [module._parameters.get(name) for name in (up, DOWN)]
    if any(t is None or is_lazy(t) or t.ndim != 3 or t.numel() == 0 for t in tensors):
        return None
    counts = {int(t.shape[0]) for t in tensors}
    return Fused(up, counts.pop(), module.is_transposed) if len(counts) == 1 else None


def _apply(module: Any, name: str, fused: Fused, expert: int, x: torch.Tensor) -> torch.Tensor:
    matrix = getattr(module, name)[expert]
    product: torch.Tensor = x @ (matrix if fused.transposed else matrix.T)
    if module.has_bias:
        product = product + getattr(module, f"{name}_bias")[expert]
    return product


def _acts_so(module: nn.Module, fused: Fused) -> bool:
    """Whether the module computes the sum above, for tokens that two experts share."""
    tensor = getattr(module, fused.up)
    if tensor.is_meta or not tensor.is_floating_point():
        return False
    width = int(tensor.shape[1 if fused.transposed else 2])
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, width, generator=draw, dtype=torch.float64).to(tensor.device, tensor.dtype)
    first, last = 0, fused.count - 1
    chosen = torch.tensor([[first, last], [last, first], [first, last]], device=tensor.device)
    shares = torch.rand(3, 2, generator=draw, dtype=torch.float64).to(tensor.device, tensor.dtype)
    if first == last:
        chosen, shares = chosen[:, :1], shares[:, :1]
    try:
        with left_alone(module):
            out = module(x, chosen, shares)
            ours = torch.zeros_like(x).double()
            for expert in {first, last}:
                share = (shares * (chosen == expert)).sum(dim=1, keepdim=True)
                inner = after_gate(module, fused, expert, x)
                ours += (share * _apply(module, DOWN, fused, expert, inner)).double()
    except Exception:  # the class may raise anything where it is no such module
        return False
    if not isinstance(out, torch.Tensor) or out.shape != ours.shape:
        return False
    rounding = TOLERANCE_ROUNDINGS * torch.finfo(tensor.dtype).eps
    return bool((out.double() - ours).abs().max() <= rounding * ours.abs().max())
