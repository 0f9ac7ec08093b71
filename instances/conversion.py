"""Arrays as callers have them: numpy, lists, torch tensors anywhere.

A tensor may require gradients, lie on any device, and be of a dtype that numpy lacks (bfloat16,
float8): it is detached, brought to the processor and widened where it must be, which changes no
number.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept
from maskgap.instances.definite import UNIT
from maskgap.instances.errors import InputError, first_line


def as_array(values: object, what: str) -> NDArray[np.generic]:
    """Real numbers as a numpy array of any real dtype. Raises InputError naming what they are."""
    tensor = _tensor(values, what)
    try:
        array = np.asarray(values) if tensor is None else _numpy(tensor)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{what}: cannot be made an array: {first_line(error)}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} must hold real numbers, but its dtype is {array.dtype}")
    return array


def as_mask(values: object, shape: tuple[int, ...]) -> Kept:
    """A mask (True = kept) of a shape; numbers 0 and 1 are taken too. Raises InputError."""
    array = as_array(values, "mask")
    if array.shape != shape:
        raise InputError(
            f"mask must have the shape of weight, {shape}, but its shape is {array.shape}"
        )
    kept = Kept(array == 1)
    if array.dtype != np.bool_ and not bool((kept | (array == 0)).all()):
        raise InputError(
            f"mask must hold booleans (True = kept) or 0 and 1, but its dtype is {array.dtype} and "
            "it holds other numbers"
        )
    return kept


def _tensor(values: object, what: str) -> Any | None:
    """The values if they are a torch tensor; torch is not loaded for what cannot be one."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return None
    if values.is_meta:
        raise InputError(f"{what}: a tensor on the meta device has a shape and no numbers")
    return values


def _numpy(tensor: Any) -> NDArray[np.generic]:
    import torch

    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    plain = plain.cpu()
    known = (torch.float16, torch.float32, torch.float64)
    if plain.is_floating_point() and plain.dtype not in known:
        plain = plain.float()  # holds every bfloat16 and float8
    array: NDArray[np.generic] = plain.resolve_conj().resolve_neg().numpy()
    return array


def roundoff_of(values: object) -> float:
    """Unit roundoff of the dtype that numbers are given in; that of float64 for whole numbers."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        real = values.is_floating_point() and values.dtype != torch.float64
        return float(torch.finfo(values.dtype).eps) / 2.0 if real else UNIT
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype).eps) / 2.0 if dtype.kind == "f" and dtype.itemsize < 8 else UNIT
