"""The state dict of a torch module of one's own as a safetensors file.

Names of one tensor (ties) are stored once, as `safetensors.torch.save_model` does it, and each of
them gets it when the file is read. Tensors that are parts of one, which that function refuses, are
stored each by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.memory import Place, has_memory, place


def tensors_of(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Everything that is saved of a model, by name, without a copy.

    name: of the model, for the error. Raises InputError for what no file of tensors can hold: lazy
    or meta parameters, packed weights and other objects.
    """
    state = _state_of(model, name)
    for key, value in state.items():
        kind = _not_saved(value)
        if kind is not None:
            raise InputError(
                f"{name}: its {key} is {kind}, which cannot be saved as a plain tensor; "
                "load or convert the model to plain floating weights first"
            )
    return state


def _state_of(model: nn.Module, name: str) -> dict[str, Any]:
    try:
        return dict(model.state_dict())
    except Exception as error:  # the model's own code may raise anything
        raise InputError(
            f"{name}: its state_dict fails: {type(error).__name__}: {first_line(error)}"
        ) from error


def _not_saved(value: object) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    if nn.parameter.is_lazy(value):
        return "without a shape before a first forward"
    if value.is_meta:
        return "not loaded (device 'meta')"
    if value.numel() and (value.is_quantized or not has_memory(value)):
        return f"a {type(value).__name__} ({value.layout})"
    return None


def write_state(model: nn.Module, path: Path, name: str) -> None:
    """Write all tensors of a model, tied ones once. Raises InputError as `tensors_of`, OSError."""
    from safetensors.torch import save_file

    first: dict[Place, str] = {}
    stored: dict[str, torch.Tensor] = {}
    meta: dict[str, str] = {}
    for key, tensor in sorted(tensors_of(model, name).items()):
        kept = first.setdefault(place(tensor), key)
        if kept == key:
            own = tensor.detach()
            whole = own.untyped_storage().nbytes() == own.numel() * own.element_size()
            stored[key] = own.contiguous() if whole else own.contiguous().clone()
        else:
            meta[key] = kept
    save_file(stored, path, metadata=meta or None)


def read_state(model: nn.Module, path: Path, name: str) -> None:
    """Take all weights of a model from a file. name: of the model, for the error.

    A tied tensor may be there under any of its names. Raises InputError when the file is none,
    lacks a tensor, holds another one or other shapes, or has two values for one tensor.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{name}: {path} is no file; expected a safetensors state dict")
    state = _state_of(model, name)
    try:
        given = load_file(path)
        reason = _differs(state, given)
        if reason is None:
            model.load_state_dict(given, strict=False)
            return
    except Exception as error:  # its own errors for torn files, torch's for modules of one's own
        reason = first_line(error)
    raise InputError(f"{name}: {path} does not hold the state dict of this model: {reason}")


def _differs(state: Mapping[str, Any], given: Mapping[str, torch.Tensor]) -> str | None:
    """Why a file is not that of a state; None when each tensor has one value there."""
    values: dict[Place, str] = {}
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    for key, tensor in given.items():
        if key not in tensors:
            return f"the model has no tensor {key}"
        lazy = nn.parameter.is_lazy(tensors[key])
        if not lazy and tensors[key].shape != tensor.shape:
            return f"{key} is {tuple(tensor.shape)}, and {tuple(tensors[key].shape)} in the model"
        other = values.setdefault(place(tensors[key]), key)
        if other != key and not torch.equal(given[other], tensor):
            return f"{other} and {key} are one tensor of the model, but have two values"
    return next((f"it lacks {k}" for k, v in tensors.items() if place(v) not in values), None)
