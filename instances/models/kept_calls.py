"""What blocks are given beside their states, kept to be given again.

Masks and positions of one batch are mostly those of the next, to the last bit. A mask of a batch of
sequences has batch x length x length entries, so that one for each batch would soon be more than
the states themselves: tensors that are alike are kept once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from maskgap.instances.models.chain import Call

LOOKED_AT = 8
"""Tensors of one shape and dtype that a new one is compared with, latest first."""


class Known:
    """Tensors that were kept so far, by shape and dtype."""

    def __init__(self) -> None:
        self._kept: dict[object, list[torch.Tensor]] = {}

    def call(self, call: Call) -> Call:
        """The call, with tensors that are here already in place of its own where they are alike."""
        args, kwargs = self._taken(call.args), self._taken(dict(call.kwargs))
        return Call(args, kwargs)

    def _taken(self, value: Any) -> Any:
        return mapped(value, self._one)

    def _one(self, tensor: torch.Tensor) -> torch.Tensor:
        key = (tensor.shape, tensor.dtype, tensor.device)
        kept = self._kept.setdefault(key, [])
        for other in reversed(kept[-LOOKED_AT:]):
            if other is tensor or torch.equal(other, tensor):
                return other
        kept.append(tensor)
        return tensor


def tensors_of(call: Call) -> Iterator[torch.Tensor]:
    """All tensors among the arguments of a call."""
    found: list[torch.Tensor] = []

    def see(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    mapped((call.args, dict(call.kwargs)), see)
    yield from found


def moved(value: Any, device: torch.device) -> Any:
    """A value with its tensors on a device."""
    return mapped(value, lambda tensor: tensor.to(device))


def mapped(value: Any, change: Any) -> Any:
    """A value with each tensor in it replaced; tuples, lists and mappings are looked into.

    change: from a tensor to a tensor. What holds no tensor that changes is the same object.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        parts = [mapped(part, change) for part in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        named = hasattr(value, "_make")  # a named tuple takes its parts one by one
        return type(value)(*parts) if named else type(value)(parts)
    if isinstance(value, Mapping):
        found = {key: mapped(part, change) for key, part in value.items()}
        return value if all(found[key] is part for key, part in value.items()) else found
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two arguments are alike to the last bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(one.to("cpu"), other.to("cpu"))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)
