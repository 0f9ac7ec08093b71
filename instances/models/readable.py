"""Why a matrix of a known layout cannot be read from a model and written back to it.

Read is what lies in memory as a plain floating matrix under the name of a parameter or buffer, for
that is what a checkpoint holds. A weight that is computed in each forward is none (pruning masks,
weight and spectral norm, any parametrization of torch): what is written to it is lost at the next.
"""

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from maskgap.instances.models.memory import has_memory, overlapping, place

PLAIN_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Weights that hold the numbers used; others are packed or need a scale kept elsewhere."""


class Readable:
    """What can be read of one model. absent: parameters that the checkpoint did not have."""

    def __init__(self, model: nn.Module, absent: Collection[str]) -> None:
        self._absent = absent
        self._overlapping = overlapping(model)

    def reason(self, owner: nn.Module, attribute: str, parameter: str) -> str | None:
        """Why a matrix cannot be read; None when it can.

        owner: the module that has it as `attribute`. parameter: its name in the whole model.
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
        if weight.dtype not in PLAIN_DTYPES or len(shape) != 2 or stated not in (None, shape):
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
