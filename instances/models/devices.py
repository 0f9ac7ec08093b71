"""Torch devices by name, tried before they are relied on."""

import torch

from maskgap.instances.errors import InputError


def usable_device(name: str) -> torch.device:
    """The device of a name, on which tensors can be made here. Raises InputError."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(_reason(name, error)) from None
    if device.type == "meta":
        raise InputError("device 'meta' cannot be used: it holds no numbers")
    return device


def _reason(name: str, error: Exception) -> str:
    """One line: torch has pages of advice, and a list of all devices that it ever heard of."""
    kind = name.partition(":")[0]
    try:
        torch.device(kind)
    except RuntimeError:
        return f"device '{name}' cannot be used: there is none of that name; cpu and cuda are"
    is_available = getattr(getattr(torch, kind, None), "is_available", None)
    if is_available is not None and not is_available():
        return f"device '{name}' cannot be used: torch finds no {kind} device here"
    first = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
    return f"device '{name}' cannot be used: {first}"
