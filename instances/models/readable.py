"""Why a matrix of a known layout cannot be read from a model and written back to it.

Read is what lies in memory as a plain floating matrix under the name of a parameter or buffer, for
that is what a checkpoint holds. A weight that is computed in each forward is none (pruning masks,
weight and spectral norm, any parametrization of torch): what is written to it is lost at the next.
"""

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from maskgap.instances.models.memory import has_memory, overlapping, place

PLAIN_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Weights that hold the numbers used; others are packed or need a scale kept elsewhere."""


class Readable:
    """What can be read of one model. absent: parameters that the checkpoint did not have."""

    def __init__(self, model: nn.Module, absent: Collection[str]) -> None:
        self._absent = absent
        self._overlapping = overlapping(model)

    def reason(self, owner: nn.Module, attribute: str, parameter: str, axes: int = 2) -> str | None:
        """Why a matrix cannot be read; None when it can.

        owner: the module that has it as `attribute`. parameter: its name in the whole model. axes:
        of the tensor; three for the matrices of experts.
        """
        if parameter in self._absent:
            return "the checkpoint has no weight for it"
        if attribute not in owner._parameters and attribute not in owner._buffers:
            return _computed(owner, attribute)
        weight = getattr(owner, attribute)
        if is_lazy(weight):
            return "its weight has no shape before a first forward; run one and extract again"
        stated = (owner.out_features, owner.in_features) if isinstance(owner, nn.Linear) else None
        shape = tuple(weight.shape)
        if weight.dtype not in PLAIN_DTYPES or len(shape) != axes or stated not in (None, shape):
            return f"its weight is {weight.dtype} {shape}, not a plain floating matrix"
        if 0 in shape:
            return f"its weight is empty, {shape}"
        if weight.is_meta:
            return "its weight is not loaded (device 'meta')"
        if not has_memory(weight):
            return f"its weight is a {type(weight).__name__} ({weight.layout}), not a plain tensor"
        other = self._overlapping.get(place(weight))
        if other is not None:
            return f"its weight shares part of its memory with {other}, so that both would change"
        return None


def _computed(owner: nn.Module, attribute: str) -> str:
    """Why a weight that is neither parameter nor buffer is not read."""
    names = [n for n in (*owner._parameters, *owner._buffers) if n.startswith(f"{attribute}_")]
    steps = getattr(getattr(owner, "parametrizations", None), "_modules", {}).get(attribute)
    if steps is not None:
        names = [type(step).__name__ for step in steps.children()]
        names = [f"the parametrization {name.lstrip('_')}" for name in names]
    source = f" from {' and '.join(names)}" if names else ""
    return (
        f"its weight is computed{source} in each forward and never saved; make it a parameter "
        "first (remove_parametrizations, prune.remove or remove_weight_norm of torch.nn.utils)"
    )


def unknown(module: nn.Module) -> str | None:
    """Why a module of another kind with a matrix is left out; None when it holds no matrix."""
    kind = type(module)
    if isinstance(module, nn.Linear | nn.MultiheadAttention):
        base = "nn.Linear" if isinstance(module, nn.Linear) else "nn.MultiheadAttention"
        return f"the forward of {kind.__name__} is not {base}'s"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag | ParametrizationList):
        return None
    shapes = [p.shape for p in module.parameters(recurse=False) if not is_lazy(p)]
    # A parameter with one axis in use (a norm, a class token) is no matrix.
    matrix = any(sum(length > 1 for length in shape) >= 2 for shape in shapes)
    # Packed weights are buffers or objects, but such a class still says its sizes.
    if not any(True for _ in module.parameters()):
        sizes = [getattr(module, name, None) for name in ("in_features", "out_features")]
        matrix = all(isinstance(size, int) for size in sizes)
    known = kind.__name__ in ("Linear", "Conv1D")  # another one of that name
    name = f"{kind.__module__}.{kind.__name__}" if known else kind.__name__
    if any(len(shape) == 3 for shape in shapes) and "xperts" in name:
        return f"{name} keeps its matrices fused in a way that is not known here"
    return f"{name} is not a linear layer known here" if matrix else None
