"""Forwards of calibration batches with a hook on each chosen linear layer.

Each hook hands the layer's inputs, without padding, to the running sums of `instances.gram`. The
model is left as it was: evaluation mode, no gradients and full float32 products hold inside only,
modes are restored and hooks removed even when a forward fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from instances.calibration import Batch
from instances.errors import InputError
from instances.gram import GramSum, real_tokens
from instances.linear import Named

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what they are."""


class Collector:
    """The Gram and mean input of one layer, or why there are none."""

    def __init__(self, module: torch.nn.Linear) -> None:
        self.sum = GramSum(module.in_features)
        self.unaligned: str | None = None

    def take(self, inputs: object, mask: torch.Tensor | None) -> None:
        """Add what a forward of the layer got; anything but a floating tensor is ignored."""
        if not isinstance(inputs, torch.Tensor) or not inputs.is_floating_point():
            return
        rows = real_tokens(inputs, mask)
        if rows is not None:
            self.sum.add(rows)
        elif self.unaligned is None and mask is not None:
            self.unaligned = (
                f"its inputs {tuple(inputs.shape)} do not fit the attention mask "
                f"{tuple(mask.shape)}, so padding cannot be told; use batches without padding"
            )


def accumulate(
    model: torch.nn.Module,
    share: Sequence[Named],
    batches: Iterable[Batch],
    what: str,
    progress: Progress | None,
) -> dict[str, Collector]:
    """Run the batches and collect the inputs of the layers in `share`."""
    collectors = {name: Collector(module) for name, module in share}
    mask: torch.Tensor | None = None

    def hook_for(collector: Collector) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            collector.take(args[0] if args else kwargs.get("input"), mask)

        return hook

    loaded = (p.device for p in model.parameters() if not p.is_meta)
    device = next(loaded, torch.device("cpu"))
    total = len(batches) if isinstance(batches, Sequence) else 0
    handles: list[torch.utils.hooks.RemovableHandle] = []
    with _calm(model):
        try:
            for name, module in share:
                hook = hook_for(collectors[name])
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            for number, batch in enumerate(batches, start=1):
                mask = _mask_of(batch, number)
                try:
                    _forward(model, batch, device)
                except Exception as error:  # the model's own code may raise anything
                    first = next(iter(str(error).splitlines()), "")
                    raise InputError(
                        f"the model failed on batch {number} of the {what} data: "
                        f"{type(error).__name__}: {first}"
                    ) from error
                if progress is not None:
                    progress(number, max(total, number), what)
        finally:
            for handle in handles:
                handle.remove()
    return collectors


def _mask_of(batch: Batch, number: int) -> torch.Tensor | None:
    """The attention mask of a batch as bool (batch, length), True = real; None when it has none."""
    if isinstance(batch, torch.Tensor):
        return None
    if not isinstance(batch, Mapping):
        raise InputError(
            f"batch {number} is a {type(batch).__name__}; expected a tensor or a mapping of "
            "keyword arguments"
        )
    mask = batch.get("attention_mask")
    if mask is None:
        return None
    real: torch.Tensor = mask != 0
    if real.all():
        return None
    if mask.ndim != 2 or bool((mask[real] != 1).any()):
        raise InputError(
            f"batch {number}: attention_mask must be (batch, length) of 0 and 1, but it is "
            f"{tuple(mask.shape)} with other values or axes"
        )
    if any(key.startswith("decoder_") for key in batch):
        raise InputError(
            f"batch {number}: which tokens of a decoder are padding does not follow from the "
            "attention_mask of its encoder; use batches without padding"
        )
    return real


def _forward(model: torch.nn.Module, batch: Batch, device: torch.device) -> None:
    if isinstance(batch, torch.Tensor):
        model(batch.to(device))
    else:
        moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        model(**moved)


@contextmanager
def _calm(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, float32 products in full precision; all restored."""
    modes = [(module, module.training) for module in model.modules()]
    precision = torch.get_float32_matmul_precision()
    try:
        model.eval()
        torch.set_float32_matmul_precision("highest")
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes:
            module.training = training
