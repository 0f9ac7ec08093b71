"""Layers of any torch model: the weights of its nn.Linear modules and the Grams of their inputs.

A linear layer computes y = x W^T + b with W (d_out, d_in) as stored. While calibration batches run
through the model, a hook on each chosen layer adds its inputs to G = sum x x^T and to their mean
(`instances.gram`); the bias has no part in the pruning error. A second set of batches gives the
held-out Gram.

The model is left as it was: evaluation mode, no gradients and full float32 products hold inside
only, modes are restored and hooks removed even when a forward fails. What cannot be read rightly is
skipped with a reason, never guessed: layers that saw no token (a router sent none, or the weight is
used without calling the layer), classes that compute something else, packed or absent weights.

Importing this module imports torch, so the command imports it only when it extracts.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from instances.calibration import Batch, load_calibration
from instances.collect import Collector, Progress, accumulate
from instances.errors import InputError
from instances.files import write_layer
from instances.groups import Matrix
from instances.layer import Layer
from instances.linear import Named, choose_linear, weight_sharing
from instances.models import load_model

Skip = Callable[[str, str], None]
"""Called with the name of a layer left out, and why."""

SAMPLES = 128
SEQUENCE_LENGTH = 128

PROGRESS_LINES = 4
"""About so many progress lines for each pass over the data."""

GRAM_BYTES = 4 << 30
"""Default limit of the Grams held at once; the calibration runs once for each share of layers."""


def extract_layers(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    layers: str = "*",
    *,
    held_out: Iterable[Batch] | None = None,
    meta: Mapping[str, str] | None = None,
    absent: Collection[str] = (),
    gram_bytes: int = GRAM_BYTES,
    on_skip: Skip | None = None,
    progress: Progress | None = None,
) -> Iterator[Layer]:
    """The nn.Linear layers whose name matches a glob, in the model's order.

    batches: arguments of successive forwards; a mapping may hold `attention_mask` (batch, length),
    1 = real token, whose zeros are left out of the Gram. held_out: the same for `gram_eval`, or
    None for layers without one; a layer that no held-out token reached has none either.
    meta: keys added to each layer's own (layer, dtype, d_out, d_in, tokens, tokens_eval,
    shares_weight_with). absent: names of parameters that the checkpoint did not have, whose layers
    are skipped. on_skip: called with a layer's name and the reason it is left out. Weights come
    back in float64; `dtype` says what they were.

    Memory beside the model's own: 8 d_in^2 bytes a layer, twice that with held-out batches, up to
    `gram_bytes` at once (one layer at least), and some copies of the layer being yielded. Beyond
    it all batches run again for the next share of the layers.

    Raises InputError when no layer matches or none can be extracted, when a Gram is not finite,
    and when a forward fails (the cause is chained).
    """
    skip = on_skip or (lambda name, reason: None)
    chosen = choose_linear(model, layers, absent, skip)
    sides = [_repeatable(batches)] + ([] if held_out is None else [_repeatable(held_out)])
    shared = dict(weight_sharing(model))
    made = 0
    shares = _shares(chosen, gram_bytes // (8 * len(sides)))
    for number, share in enumerate(shares, start=1):
        where = f"pass {number} of {len(shares)}, " if len(shares) > 1 else ""
        sums = [
            accumulate(model, share, side, f"{where}{what}", progress)
            for side, what in zip(sides, ("calibration", "held-out"), strict=False)
        ]
        for name, module in share:
            inputs, *evaluation = [side.pop(name) for side in sums]
            reason = inputs.unaligned or next((e.unaligned for e in evaluation), None)
            if reason is None and not inputs.sum.tokens:
                reason = "0 tokens: no input reached it"
            if reason is not None:
                skip(name, reason)
                continue
            about = {
                "layer": name,
                "dtype": str(module.weight.dtype).removeprefix("torch."),
                "d_out": str(module.out_features),
                "d_in": str(module.in_features),
                "tokens": str(inputs.sum.tokens),
            }
            if evaluation:
                about["tokens_eval"] = str(evaluation[0].sum.tokens)
            if others := shared.get(f"{name}.weight"):
                about["shares_weight_with"] = ", ".join(others)
            gram = _gram(inputs, name, "inputs")
            gram_eval = next(
                (_gram(e, name, "held-out inputs") for e in evaluation if e.sum.tokens), None
            )
            weight = module.weight.detach().to("cpu", torch.float64).numpy()
            made += 1
            yield Layer.from_arrays(
                weight, gram, gram_eval, {**(meta or {}), **about}, name, inputs.sum.mean()
            )
    if not made:
        raise InputError(f"none of the layers that match '{layers}' saw inputs it can be judged by")


def _repeatable(batches: Iterable[Batch]) -> Iterable[Batch]:
    return list(batches) if isinstance(batches, Iterator) else batches


def _shares(chosen: list[Named], entries: int) -> list[list[Named]]:
    """The layers in consecutive shares whose Grams have at most so many entries in all."""
    shares: list[list[Named]] = []
    left = 0
    for name, module in chosen:
        size = module.in_features**2
        if not shares or size > left:
            shares.append([])
            left = entries
        shares[-1].append((name, module))
        left -= size
    return shares


def _gram(collector: Collector, name: str, what: str) -> Matrix:
    gram = collector.sum.matrix()
    # By Cauchy-Schwarz a Gram with a finite diagonal is finite.
    bad = np.flatnonzero(~np.isfinite(gram.diagonal()))
    if bad.size:
        raise InputError(
            f"{name}: the {what} of column {bad[0]} are not finite (NaN or infinity); "
            "run the model in float32 or leave out the texts that overflow it"
        )
    return gram


def run_extract(
    model: str,
    out: Path,
    layers: str = "*",
    calibration: Sequence[Path] = (),
    samples: int = SAMPLES,
    sequence_length: int = SEQUENCE_LENGTH,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Extract layers of a model into `<layer>.safetensors` files of a folder, each written whole.

    model: `all-MiniLM-L6-v2`, a folder or cached name for transformers, or
    `package.module:callable` that returns a torch module. calibration: files of text or tensors
    (see `instances.calibration`); none means the docstrings of Python's standard library. Half of
    the data gives the Gram, the other half the held-out one. samples: sequences of each half, at
    most. sequence_length: tokens of a sequence, at most. device: of torch. progress: called with
    lines for people: how far it is, which layers are left out and why.

    Returns the files in the model's order. Raises InputError for every bad input.
    """
    say = progress or (lambda text: None)

    def say_batch(done: int, total: int, what: str) -> None:
        if done == total or done % max(1, total // PROGRESS_LINES) == 0:
            say(f"{what}: {done} of {total} batches")

    loaded = load_model(model, device)
    data = load_calibration(loaded, calibration, samples, sequence_length)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be made a folder for layer files: {error.strerror or error}"
        ) from None
    meta = {"model": model, "torch": torch.__version__.partition("+")[0], **data.meta}
    written: list[Path] = []
    for layer in extract_layers(
        loaded.module,
        data.batches,
        layers,
        held_out=data.held_out,
        meta=meta,
        absent=loaded.absent,
        on_skip=lambda name, reason: say(f"{name} is left out: {reason}"),
        progress=say_batch,
    ):
        # A slash in a name must not lead out of the folder.
        path = out / f"{layer.name.replace('/', '%2F')}.safetensors"
        write_layer(path, layer)
        written.append(path)
    return written
