"""Where the tensors of a model lie in memory: which are one (tied), and which overlap otherwise.

Two names may hold one parameter, or two parameters that are views of the same memory (`.data` of an
embedding given to a head). Both are ties: to write to one is to write to the other. Parameters may
also be parts of one tensor (the chunks of a fused projection, the views that
`vector_to_parameters` makes); parts without a common entry are as good as tensors of their own, but
to prune one of two that share some entries would change the other.
"""

from collections.abc import Iterator, Mapping
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Place = tuple[object, ...]
"""Of tensors with memory: storage, offset, shape, strides and dtype. Equal if and only if tied."""


def place(tensor: torch.Tensor) -> Place:
    """Where a tensor lies; that of a tensor without memory of its own is the tensor itself."""
    if not has_memory(tensor):
        return (id(tensor),)
    storage = tensor.untyped_storage().data_ptr()
    shape, strides = tuple(tensor.shape), tensor.stride()
    # The stride along an axis of one entry says nothing.
    used = tuple(s for s, length in zip(strides, shape, strict=True) if length > 1)
    return (tensor.device, storage, tensor.storage_offset(), shape, used, tensor.dtype)


def has_memory(tensor: torch.Tensor) -> bool:
    """Whether its numbers lie in memory as its strides say: not if lazy, meta, sparse or packed."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter)
    return plain and not tensor.is_meta and tensor.layout is torch.strided and tensor.numel() > 0


def shared_names(model: nn.Module) -> dict[str, list[str]]:
    """Each name of a parameter or buffer with the other names of the same one (tied weights)."""
    names: dict[Place, list[str]] = {}
    for name, tensor in named_tensors(model):
        names.setdefault(place(tensor), []).append(name)
    return {
        name: [other for other in group if other != name]
        for group in names.values()
        for name in group
    }


def tied_by_memory_alone(model: nn.Module) -> bool:
    """Whether tensors share memory without being one object, which a move would take apart."""
    tensors = dict(named_tensors(model))
    tied = shared_names(model).items()
    loose = any(tensors[name] is not tensors[other] for name, others in tied for other in others)
    return loose or bool(overlapping(model))


def overlapping(model: nn.Module) -> dict[Place, str]:
    """Places that share entries with another place, each with the name of a tensor there.

    Parameters and buffers are looked at. A tensor with entries that share their memory, as
    `expand` makes them, overlaps itself.
    """
    storages: dict[object, dict[Place, tuple[str, torch.Tensor]]] = {}
    for name, tensor in named_tensors(model):
        if has_memory(tensor):
            storage = (tensor.device, tensor.untyped_storage().data_ptr())
            storages.setdefault(storage, {}).setdefault(place(tensor), (name, tensor))
    found: dict[Place, str] = {}
    for places in storages.values():
        if len(places) > 1 or not _is_dense(next(iter(places.values()))[1]):
            found.update(_overlaps(places))
    return found


def named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers under all their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 2 and tensor.T.is_contiguous())


def _overlaps(places: Mapping[Place, tuple[str, torch.Tensor]]) -> dict[Place, str]:
    """The overlaps within one storage: who covers each of its units was written down before."""
    tensors = [tensor for _, tensor in places.values()]
    unit = gcd(*(tensor.element_size() for tensor in tensors))
    owner = np.zeros(max(_end(t) * t.element_size() // unit for t in tensors), dtype=np.int32)
    keys = list(places)
    found: dict[Place, str] = {}
    for number, (key, (name, tensor)) in enumerate(places.items(), start=1):
        covered = _covered(owner, tensor, unit)
        for other in np.flatnonzero(np.bincount(covered.ravel())):
            if other:
                found.setdefault(keys[other - 1], name)
                found.setdefault(key, places[keys[other - 1]][0])
        covered[...] = number
        if not _is_dense(tensor) and int((owner == number).sum()) < covered.size:
            found.setdefault(key, name)
    return found


def _end(tensor: torch.Tensor) -> int:
    """Entries of the storage up to the last that the tensor covers."""
    last = sum(s * (n - 1) for s, n in zip(tensor.stride(), tensor.shape, strict=True))
    return int(tensor.storage_offset()) + last + 1


def _covered(owner: NDArray[np.int32], tensor: torch.Tensor, unit: int) -> NDArray[np.int32]:
    """The units that a tensor covers, as a view that can be written to."""
    width = tensor.element_size() // unit
    step = width * owner.itemsize
    view: NDArray[np.int32] = np.lib.stride_tricks.as_strided(
        owner[tensor.storage_offset() * width :],
        (*tensor.shape, width),
        (*(stride * step for stride in tensor.stride()), owner.itemsize),
    )
    return view
