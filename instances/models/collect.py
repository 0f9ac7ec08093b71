"""Forwards of calibration batches with hooks where the chosen matrices are used.

Each hook hands the inputs of a matrix, without padding, to the running sums of
`instances.models.gram`; all uses of one matrix go into one sum, and matrices that are given one
tensor (query, key and value) share one (`instances.models.sharing`). The model is left as it was:
evaluation mode, no gradients, full float32 products, no fused attention (which would run past the
hooks) and no cache of keys and values hold inside only, and modes, weights and hooks are as before
even when a forward fails.

Padding is where `attention_mask` (batch, length) is 0, or, for torch's own transformers, where
`src_key_padding_mask` or `key_padding_mask` is True.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.attention import Take, Watch
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.experts import ExpertWatch
from maskgap.instances.models.experts import Take as TakeRows
from maskgap.instances.models.gram import GramSum, real_tokens
from maskgap.instances.models.linear import Role, Site
from maskgap.instances.models.sharing import Parted, Sharing

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what they are."""

PADDING_MASKS = ("src_key_padding_mask", "key_padding_mask")
"""Arguments of torch's transformers that are True where there is padding."""

DECODER = ("decoder_", "tgt", "memory")
"""Beginnings of the names of a decoder's arguments."""


class Collector:
    """The Gram and mean input of one matrix, or why there are none."""

    def __init__(self, site: Site) -> None:
        self.name = site.name
        self._own = GramSum(site.d_in)
        self._leader: Collector | None = None
        self._unaligned: str | None = None

    @property
    def sum(self) -> GramSum:
        """The running sum, that of another collector where they share it."""
        return self._own if self._leader is None else self._leader.sum

    @property
    def unaligned(self) -> str | None:
        """Why padding cannot be told from tokens; None where it can."""
        return self._unaligned if self._leader is None else self._leader.unaligned

    def follow(self, leader: "Collector") -> None:
        """Take the sum of a collector that is given the same tensors."""
        self._leader = leader

    def take(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, length_first: bool = False
    ) -> None:
        """Add what the matrix was applied to."""
        rows = real_tokens(inputs, mask, length_first)
        if rows is not None:
            self.sum.add(rows)
        elif self._unaligned is None and mask is not None:
            self._unaligned = (
                f"its inputs {tuple(inputs.shape)} do not fit the attention mask "
                f"{tuple(mask.shape)}, so padding cannot be told; use batches without padding"
            )


class Collection:
    """The hooks of one pass over the data, on modules wherever they are run.

    mask: that of the batch under way, True = real. apart: names of matrices that share no Gram.
    """

    def __init__(
        self, model: nn.Module, share: Sequence[Site], apart: AbstractSet[str] = frozenset()
    ) -> None:  # fmt: skip
        self.collectors = {site.name: Collector(site) for site in share}
        self.mask: torch.Tensor | None = None
        self._sharing = Sharing(apart)
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
                    hook = self._hook(collector, argument_names(module)[:1])
                    self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        self._handles += [Watch(module, takes) for module, takes in attentions.items()]
        self._handles += [
            ExpertWatch(module, takes, lambda: self.mask) for module, takes in experts.items()
        ]

    def end_batch(self) -> None:
        """Between two batches. Raises Parted."""
        self._sharing.end_batch()

    def remove(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()

    def _take(self, collector: Collector, inputs: object, length_first: bool = False) -> None:
        """Hand inputs on; anything but a floating tensor is ignored."""
        if not isinstance(inputs, torch.Tensor) or not inputs.is_floating_point():
            return
        leader = self._sharing.leader(collector.name, inputs)
        if leader is None:
            collector.take(inputs, self.mask, length_first)
        else:
            collector.follow(self.collectors[leader])

    def _taking(self, collector: Collector) -> Take:
        return lambda inputs: self._take(collector, inputs)

    def _hook(self, collector: Collector, first: Sequence[str]) -> Callable[..., None]:
        """first: name of the argument that the matrix is applied to, where it is known."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            names = [name for name in (*first, "input", "x") if name in kwargs]
            inputs = args[0] if args else kwargs[names[0]] if names else None
            self._take(collector, inputs, self._length_first)

        return hook


Run = Callable[[Collection], None]
"""Runs all batches through what a collection has its hooks on, `end_batch` after each."""


def collect(model: nn.Module, share: Sequence[Site], run: Run) -> dict[str, Collector]:
    """What `run` gives the matrices in `share`, by name.

    Where two that share a Gram are given different tensors after all, all runs again without that.
    """
    apart: set[str] = set()
    while True:
        collection = Collection(model, share, apart)
        try:
            with calm(model):
                run(collection)
            return collection.collectors
        except Parted as error:
            apart.add(error.name)
        finally:
            collection.remove()


def accumulate(
    model: nn.Module,
    share: Sequence[Site],
    batches: Iterable[Batch],
    what: str,
    progress: Progress | None,
) -> dict[str, Collector]:
    """Run the batches through the whole model and collect the inputs of the matrices in `share`.

    batches: as often iterated as `collect` runs them.
    """
    total = len(batches) if isinstance(batches, Sequence) else 0

    def run(collection: Collection) -> None:
        for number, batch in enumerate(batches, start=1):
            collection.mask = padding_of(model, batch, number)
            forward(model, batch, f"batch {number} of the {what} data")
            collection.end_batch()
            if progress is not None:
                progress(number, max(total, number), what)

    return collect(model, share, run)


def padding_of(model: nn.Module, batch: Batch, number: int) -> torch.Tensor | None:
    """Which tokens of a batch are real, bool (batch, length); None when it has no padding.

    model: that will be given the batch, which is named by its number. Raises InputError for batches
    and masks of another kind.
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
    if any(key.startswith(DECODER) for key in batch) or _makes_decoder_inputs(model):
        raise InputError(
            f"batch {number}: which tokens of a decoder are padding does not follow from the "
            f"{name} of its encoder; use batches without padding"
        )
    return real


def _makes_decoder_inputs(model: nn.Module) -> bool:
    """Whether a model of transformers makes a decoder's tokens of its encoder's, or of labels."""
    both = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return both and any(name.startswith(DECODER[0]) for name in argument_names(model))


def argument_names(module: nn.Module) -> list[str]:
    """Names of the arguments of a module's forward, in order; none where it does not say."""
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # compiled
        return []


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
        raise failed(where, error) from error


def failed(where: str, error: Exception) -> InputError:
    """The error that says which batch failed, and how."""
    first = first_line(error)
    return InputError(f"the model failed on {where}: {type(error).__name__}: {first}")


@contextmanager
def calm(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, whole float32 products, no fused attention, no cache of keys.

    All is restored.
    """
    modes = [(module, module.training) for module in model.modules()]
    caching = [config for config in _settings(model) if getattr(config, "use_cache", None) is True]
    precision = torch.get_float32_matmul_precision()
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        for config in caching:
            config.use_cache = False
        torch.set_float32_matmul_precision("highest")
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch.set_float32_matmul_precision(precision)
        for config in caching:
            config.use_cache = True
        for module, training in modes:
            module.training = training


def _settings(model: nn.Module) -> list[Any]:
    """The settings of a model of transformers and of its parts, each once."""
    found = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    return list(found.values())
