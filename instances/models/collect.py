"""Forwards of calibration batches with hooks where the chosen matrices are used.

Each hook hands the inputs of a matrix, without padding, to the running sums of
`instances.models.gram`; all uses of one matrix go into one sum. The model is left as it was:
evaluation mode, no gradients, full float32 products and no fused attention (which would run past
the hooks) hold inside only, and modes, weights and hooks are as before even when a forward fails.

Padding is where `attention_mask` (batch, length) is 0, or, for torch's own transformers, where
`src_key_padding_mask` or `key_padding_mask` is True.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.attention import Take, Watch
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.experts import ExpertWatch
from maskgap.instances.models.experts import Take as TakeRows
from maskgap.instances.models.gram import GramSum, real_tokens
from maskgap.instances.models.linear import Role, Site

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what they are."""

PADDING_MASKS = ("src_key_padding_mask", "key_padding_mask")
"""Arguments of torch's transformers that are True where there is padding."""

DECODER = ("decoder_", "tgt", "memory")
"""Beginnings of the names of a decoder's arguments."""


class Collector:
    """The Gram and mean input of one matrix, or why there are none."""

    def __init__(self, site: Site) -> None:
        self.sum = GramSum(site.d_in)
        self.unaligned: str | None = None

    def take(
        self, inputs: object, mask: torch.Tensor | None, length_first: bool = False
    ) -> None:  # fmt: skip
        """Add what the matrix was applied to; anything but a floating tensor is ignored."""
        if not isinstance(inputs, torch.Tensor) or not inputs.is_floating_point():
            return
        rows = real_tokens(inputs, mask, length_first)
        if rows is not None:
            self.sum.add(rows)
        elif self.unaligned is None and mask is not None:
            self.unaligned = (
                f"its inputs {tuple(inputs.shape)} do not fit the attention mask "
                f"{tuple(mask.shape)}, so padding cannot be told; use batches without padding"
            )


class _Hooks:
    """The hooks of one pass. mask: that of the batch under way, True = real."""

    def __init__(self, model: nn.Module, share: Sequence[Site]) -> None:
        self.collectors = {site.name: Collector(site) for site in share}
        self.mask: torch.Tensor | None = None
        self._length_first = any(getattr(m, "batch_first", True) is False for m in model.modules())
        self._handles: list[torch.utils.hooks.RemovableHandle | Watch | ExpertWatch] = []
        attentions: dict[nn.MultiheadAttention, list[tuple[Role, Take]]] = {}
        experts: dict[nn.Module, list[tuple[Role, int, TakeRows]]] = {}
        for site in share:
            collector = self.collectors[site.name]
            for module, role in site.uses:
                if isinstance(module, nn.MultiheadAttention):
                    attentions.setdefault(module, []).append((role, self._taking(collector)))
                elif isinstance(site.rows, int):
                    experts.setdefault(module, []).append((role, site.rows, collector.take))
                else:
                    hook = self._hook(collector)
                    self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        self._handles += [Watch(module, takes) for module, takes in attentions.items()]
        self._handles += [
            ExpertWatch(module, takes, lambda: self.mask) for module, takes in experts.items()
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _taking(self, collector: Collector) -> Take:
        return lambda inputs: collector.take(inputs, self.mask)

    def _hook(self, collector: Collector) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs = args[0] if args else kwargs.get("input", kwargs.get("x"))
            collector.take(inputs, self.mask, self._length_first)

        return hook


def accumulate(
    model: nn.Module,
    share: Sequence[Site],
    batches: Iterable[Batch],
    what: str,
    progress: Progress | None,
) -> dict[str, Collector]:
    """Run the batches and collect the inputs of the matrices in `share`, by name."""
    total = len(batches) if isinstance(batches, Sequence) else 0
    with calm(model):
        hooks = _Hooks(model, share)
        try:
            for number, batch in enumerate(batches, start=1):
                hooks.mask = padding_of(batch, number)
                forward(model, batch, f"batch {number} of the {what} data")
                if progress is not None:
                    progress(number, max(total, number), what)
        finally:
            hooks.remove()
    return hooks.collectors


def order_of_use(model: nn.Module, sites: Sequence[Site], batch: Batch) -> list[Site]:
    """The sites in the order in which a forward of a batch first uses them, unused ones last."""
    order: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda module, args: order.append(module))
        for module in dict.fromkeys(module for site in sites for module, _ in site.uses)
    ]
    with calm(model):
        try:
            forward(model, batch, "the first batch of the calibration data")
        finally:
            for handle in handles:
                handle.remove()
    places = {module: place for place, module in reversed(list(enumerate(order)))}
    return sorted(
        sites, key=lambda site: min(places.get(module, len(order)) for module, _ in site.uses)
    )


def padding_of(batch: Batch, number: int) -> torch.Tensor | None:
    """Which tokens of a batch are real, bool (batch, length); None when it has no padding.

    Raises InputError for batches and masks of another kind.
    """
    if isinstance(batch, torch.Tensor):
        return None
    if not isinstance(batch, Mapping):
        raise InputError(
            f"batch {number} is a {type(batch).__name__}; expected a tensor or a mapping of "
            "keyword arguments"
        )
    names = [n for n in ("attention_mask", *PADDING_MASKS) if batch.get(n) is not None]
    if not names:
        return None
    name, mask = names[0], batch[names[0]]
    if name in PADDING_MASKS:
        if mask.dtype != torch.bool:
            raise InputError(
                f"batch {number}: {name} is {mask.dtype}, expected bool, True = padding"
            )  # fmt: skip
        mask = ~mask
    real: torch.Tensor = mask != 0
    if real.all():
        return None
    if mask.ndim != 2 or bool((mask[real] != 1).any()):
        raise InputError(
            f"batch {number}: {name} must be (batch, length) of 0 and 1, but it is "
            f"{tuple(mask.shape)} with other values or axes"
        )
    if any(key.startswith(DECODER) for key in batch):
        raise InputError(
            f"batch {number}: which tokens of a decoder are padding does not follow from the "
            f"{name} of its encoder; use batches without padding"
        )
    return real


def forward(model: nn.Module, batch: Batch, where: str) -> Any:
    """The model's output on a batch, which is moved to where the model is.

    Raises InputError that says which batch failed; the cause is chained.
    """
    device = next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))
    try:
        if isinstance(batch, torch.Tensor):
            return model(batch.to(device))
        return model(
            **{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        )
    except Exception as error:  # the model's own code may raise anything
        first = next(iter(str(error).splitlines()), "")
        raise InputError(f"the model failed on {where}: {type(error).__name__}: {first}") from error


@contextmanager
def calm(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, whole float32 products, no fused attention; all restored."""
    modes = [(module, module.training) for module in model.modules()]
    precision = torch.get_float32_matmul_precision()
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.set_float32_matmul_precision("highest")
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch.set_float32_matmul_precision(precision)
        for module, training in modes:
            module.training = training
