"""Torch devices by name, tried before they are relied on."""

import torch

from maskgap.instances.errors import InputError


def usable_device(name: str) -> torch.device:
    """The device of a name, on which tensors can be made here. Raises InputError."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"device '{name}' cannot be used: {first}") from None
    if device.type == "meta":
        raise InputError("device 'meta' cannot be used: it holds no numbers")
    return device
