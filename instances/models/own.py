"""A torch module of one's own: made by a callable, and put on a device with the ties it has."""

import contextlib
import sys

import torch

from maskgap.instances import own_modules
from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.memory import named_tensors, overlapping, shared_names


def made(name: str, module: str, attribute: str) -> torch.nn.Module:
    """What a callable without arguments returns. Raises InputError unless it is a torch module."""
    own = own_modules.load(module, f"model '{name}'")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            found = getattr(own, attribute)()
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise InputError(
            f"{name}: cannot be called without arguments: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(found, torch.nn.Module):
        raise InputError(f"{name}: returned a {type(found).__name__}, expected a torch module")
    return found


def moved(name: str, module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """A module of one's own on a device, with the ties it had.

    Raises InputError for weights that are not loaded, and for ties by memory alone, which a move
    to another device loosens without a word.
    """
    meta = next((n for n, tensor in named_tensors(module) if tensor.is_meta), None)
    if meta is not None:
        raise InputError(f"{name}: its {meta} is not loaded (device 'meta')")
    before, parts = shared_names(module), overlapping(module)
    module.to(device)
    after = shared_names(module)
    apart = next((n for n, others in before.items() if others != after[n]), None)
    if apart is None and parts and set(overlapping(module).values()) != set(parts.values()):
        apart = next(iter(parts.values()))
    if apart is not None:
        raise InputError(
            f"{name}: tensors that share memory ({', '.join([apart, *before[apart]])}) would be "
            f"taken apart on {device}; tie them as one parameter, or use --device cpu"
        )
    return module
