"""The inputs of the projections inside nn.MultiheadAttention.

    q = query Wq^T,  k = key Wk^T,  v = value Wv^T,   heads = softmax(q k^T / sqrt(d)) v (per head),
    output = heads Wo^T + bo

Its forward applies all four matrices without calling a module. Query, key and value are its
arguments. To see the heads, Wo is replaced by the identity and bo by none while the forward runs,
so that what it returns are the heads, and the hook then applies Wo and bo to them. A product with
the identity rounds nothing, so they are the inputs of Wo to the last bit.

Where the forward takes its padding from `key_padding_mask` alone, the caller knows it from the
batch. Arguments with the length first are handed on with the batch first.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from maskgap.instances.models.linear import Role

Take = Callable[[object], None]
"""Takes the inputs (batch, length, d_in) or (length, d_in) that one matrix is applied to."""

ARGUMENTS = (Role.QUERY, Role.KEY, Role.VALUE)


class Watch:
    """Hooks on one attention that hand on the inputs of chosen projections until `remove`."""

    def __init__(self, module: nn.MultiheadAttention, takes: Sequence[tuple[Role, Take]]) -> None:
        self._module = module
        self._takes = takes
        self._own: tuple[Any, Any] | None = None  # weight and bias of out_proj, while replaced
        self._handles = [module.register_forward_pre_hook(self._before, with_kwargs=True)]
        if any(role is Role.HEADS for role, _ in takes):
            self._handles.append(module.register_forward_hook(self._after))

    def remove(self) -> None:
        """Leave the module as it was, also in the middle of a forward."""
        self._restore()
        for handle in self._handles:
            handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        turned: dict[int, object] = {}  # one tensor for one argument: those given it share a Gram
        for role, take in self._takes:
            if role in ARGUMENTS:
                place = ARGUMENTS.index(role)
                given = args[place] if place < len(args) else kwargs.get(role)
                take(turned.setdefault(id(given), self._batch_first(given)))
        self._restore()  # of a forward that failed, if the model's own code went on
        if len(self._handles) > 1:
            out: Any = self._module.out_proj
            weight = out.weight
            self._own = (weight, out.bias)
            identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
            out.weight = nn.Parameter(identity, requires_grad=False)
            out.bias = None

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        self._restore()
        heads, *rest = output
        for role, take in self._takes:
            if role is Role.HEADS:
                take(self._batch_first(heads))
        out = self._module.out_proj
        return (linear(heads, out.weight, out.bias), *rest)

    def _restore(self) -> None:
        if self._own is not None:
            self._module.out_proj.weight, self._module.out_proj.bias = self._own
            self._own = None

    def _batch_first(self, inputs: object) -> object:
        if self._module.batch_first or not isinstance(inputs, torch.Tensor) or inputs.ndim != 3:
            return inputs
        return inputs.transpose(0, 1)
