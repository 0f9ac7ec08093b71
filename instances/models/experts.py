"""The inputs of each expert's matrices, where a model keeps its experts fused (`models.fused`).

The module is given tokens (t, d_in) and the experts of each (t, k). Those of expert e, without
padding, are the inputs of U_e; the gate's outputs for them, computed again here, those of D_e. An
expert that no token was sent to has none.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from maskgap.instances.models.fused import Fused, after_gate, fused_of
from maskgap.instances.models.linear import Role

Take = Callable[[torch.Tensor, torch.Tensor | None], None]
"""Takes inputs (tokens, d_in) of one matrix, and which of them are real, None for all."""

Mask = Callable[[], torch.Tensor | None]
"""Which tokens of the batch under way are real, bool (batch, length); None for all."""


class ExpertWatch:
    """A hook on fused experts that hands on the inputs of chosen matrices until `remove`."""

    def __init__(
        self, module: nn.Module, takes: Sequence[tuple[Role, int, Take]], mask: Mask
    ) -> None:
        """takes: whether U or D, the expert, and what takes its inputs."""
        self._takes = takes
        self._mask = mask
        self._fused = fused_of(module)
        self._signature = inspect.signature(module.forward)
        self._handle = module.register_forward_pre_hook(self._before, with_kwargs=True)

    def remove(self) -> None:
        """Take the hook away."""
        self._handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens, chosen = list(self._signature.bind(*args, **kwargs).arguments.values())[:2]
        if self._fused is None or tokens.ndim != 2 or chosen.ndim != 2:
            return  # no input is seen, so the layers are left out
        mask = self._mask()
        if mask is not None and mask.numel() != len(tokens):
            for _, _, take in self._takes:
                take(tokens, mask)
            return
        real = None if mask is None else mask.reshape(-1).to(tokens.device)
        self._hand_on(module, self._fused, tokens, chosen if real is None else chosen[real], real)

    def _hand_on(
        self,
        module: nn.Module,
        fused: Fused,
        tokens: torch.Tensor,
        chosen: torch.Tensor,
        real: torch.Tensor | None,
    ) -> None:
        if real is not None:
            tokens = tokens[real]
        inputs: dict[int, torch.Tensor] = {}
        for role, expert, take in self._takes:
            if expert not in inputs:
                inputs[expert] = tokens[(chosen == expert).any(dim=1)]
            mine = inputs[expert]
            if len(mine):
                up = role is Role.EXPERT_UP
                take(mine if up else after_gate(module, fused, expert, mine), None)
