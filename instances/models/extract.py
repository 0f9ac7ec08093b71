"""Layers of any torch model: weight matrices (`models.linear`) and the Grams of their inputs.

A linear layer computes y = x W^T + b with W (d_out, d_in). While calibration batches run through
the model, hooks add its inputs to G = sum x x^T and to their mean (`instances.models.gram`); the
bias has no part in the pruning error. A matrix that is used several times, by a loop or by tied
layers, is one layer, whose Gram sums all uses. A second set of batches gives the held-out Gram.

The model is left as it was (`instances.models.collect`). What cannot be read rightly is skipped
with a reason, never guessed: layers that saw no token (a router sent none, or the weight is used
without calling the layer), classes that compute something else, packed or absent weights.

Whoever prunes the model between two layers that `extract_layers` yields can have later layers see
the inputs that the pruned model gives them, as Wanda and SparseGPT do (`propagate`): the inputs of
each block are then collected when it is reached, those of its layers in one pass.

Importing this module imports torch, so the command imports it only when it extracts.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import (
    GRAM,
    LAYER,
    layer_path,
    write_gram,
    write_layer,
    write_sharing_layer,
)
from maskgap.instances.formats.gram_file import digest_of, gram_name, shared_arrays
from maskgap.instances.formats.outputs import (
    Writes,
    check_file,
    replacing,
    try_directory,
    try_file,
)
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import Batch, load_calibration
from maskgap.instances.models.collect import Collector, Progress
from maskgap.instances.models.devices import usable_device
from maskgap.instances.models.few_tokens import few_tokens_told
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.load import load_model
from maskgap.instances.models.memory import shared_names
from maskgap.instances.models.passes import PassOptions, Running, as_list, collected

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
    propagate: bool = False,
    on_skip: Skip | None = None,
    progress: Progress | None = None,
    running: Running | None = None,
) -> Iterator[Layer]:
    """The layers whose name matches a glob, in the model's order, or that of use to propagate.

    batches: arguments of successive forwards; padding that a mapping tells of is left out of the
    Gram (see `instances.models.collect`). layers: a glob, or several separated by commas. held_out:
    the same as batches for `gram_eval`, or None for layers without one; a layer that no held-out
    token reached has none either. meta: keys added to each layer's own (layer, dtype, d_out, d_in,
    tokens, tokens_eval, shares_weight_with, shares_inputs_with). absent: names of parameters that
    the checkpoint did not have, whose layers are skipped. propagate: collect the inputs of a block
    when it is reached. on_skip: called with a layer's name and the reason it is left out.
    running: where data run. Weights come back in float64; `dtype` says what they were.

    Memory beside the model's own: 8 d_in^2 bytes a layer, twice that with held-out batches, up to
    `gram_bytes` at once (one layer at least), of one block at a time to propagate; and some copies
    of the layer being yielded. Beyond it all batches run again for the next share of the layers.

    Raises InputError when no layer matches or none can be extracted, when a Gram is not finite,
    and when a forward fails (the cause is chained).
    """
    skip = on_skip or (lambda name, reason: None)
    chosen = choose_linear(model, layers, absent, skip)
    made = 0
    for layer in extract_sites(
        model,
        chosen,
        batches,
        held_out=held_out,
        meta=meta,
        gram_bytes=gram_bytes,
        propagate=propagate,
        on_skip=skip,
        progress=progress,
        running=running,
    ):
        made += 1
        yield layer
    if not made:
        raise InputError(_no_inputs(layers))


def extract_sites(
    model: torch.nn.Module,
    chosen: list[Site],
    batches: Iterable[Batch],
    *,
    held_out: Iterable[Batch] | None = None,
    meta: Mapping[str, str] | None = None,
    gram_bytes: int = GRAM_BYTES,
    propagate: bool = False,
    on_skip: Skip | None = None,
    progress: Progress | None = None,
    running: Running | None = None,
) -> Iterator[Layer]:
    """The layers of chosen matrices, none if no input reaches them; else as `extract_layers`."""
    options = PassOptions(gram_bytes, propagate, progress, running or Running())
    data = {"calibration": as_list(batches)}
    if held_out is not None:
        data["held-out"] = as_list(held_out)
    skip = on_skip or (lambda name, reason: None)
    for share, sums in collected(model, chosen, data, options):
        for site in share:
            inputs, *evaluation = [side[site.name] for side in sums]
            reason = inputs.unaligned or next(
                (e.unaligned for e in evaluation if e.unaligned), None
            )
            if reason is None and not inputs.sum.tokens:
                reason = "0 tokens: no input reached it"
            if reason is not None:
                skip(site.name, reason)
                continue
            about = {**(meta or {})}
            alike = [s.name for s in share if sums[0][s.name].sum is inputs.sum and s is not site]
            if alike:
                about["shares_inputs_with"] = ", ".join(alike)
            yield _layer(model, site, inputs, evaluation, about)


def _layer(
    model: torch.nn.Module,
    site: Site,
    inputs: Collector,
    evaluation: Sequence[Collector],
    meta: Mapping[str, str],
) -> Layer:
    about = {
        "layer": site.name,
        "dtype": str(site.tensor.dtype).removeprefix("torch."),
        "d_out": str(site.d_out),
        "d_in": str(site.d_in),
        "tokens": str(inputs.sum.tokens),
    }
    if evaluation:
        about["tokens_eval"] = str(evaluation[0].sum.tokens)
    if others := shared_names(model).get(site.parameter):
        about["shares_weight_with"] = ", ".join(others)
    gram = _gram(inputs, site.name, "inputs")
    gram_eval = next(
        (_gram(e, site.name, "held-out inputs") for e in evaluation if e.sum.tokens), None
    )
    weight = site.matrix().to("cpu", torch.float64).numpy()
    return Layer.from_arrays(
        weight,
        gram,
        gram_eval,
        {**meta, **about},
        site.name,
        input_mean=inputs.sum.mean(),
    )


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


def batches_told(say: Callable[[str], None]) -> Progress:
    """Progress as a few lines for people."""

    def progress(done: int, total: int, what: str) -> None:
        if done == total or done % max(1, total // PROGRESS_LINES) == 0:
            say(f"{what}: {done} of {total} batches")

    return progress


def run_extract(
    model: str,
    out: Path,
    layers: str = "*",
    calibration: Sequence[Path] = (),
    samples: int = SAMPLES,
    *,
    sequence_length: int = SEQUENCE_LENGTH,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    trust: bool = False,
    held_out: bool = False,
) -> list[Path]:
    """Extract layers of a model into `<layer>.safetensors` files of a folder, each written whole.

    A Gram that several layers share is in one file beside them (`instances.formats.gram_file`).
    Weights are stored in float32 where the model has no more. A layer file with other contents that
    is there is set aside (`instances.formats.outputs`), any other file is left alone.

    model: `all-MiniLM-L6-v2`, a folder or cached name for transformers, or
    `package.module:callable` that returns a torch module. calibration: files of text or tensors
    (see `instances.models.calibration`); none means the docstrings of Python's standard library.
    Half of the data gives the Gram; held_out: the other half gives `gram_eval`. samples: sequences
    of each half, at most. sequence_length: tokens of a sequence, at most. device: of torch, where
    blocks run one at a time. progress: called with lines for people: how far it is, which layers
    are left out and why. trust: whether code of the checkpoint may run.

    Returns the files in the order of use. Raises InputError for every bad input.
    """
    say = progress or (lambda text: None)

    where = usable_device(device)
    loaded = load_model(model, "cpu", trust)
    data = load_calibration(loaded, calibration, samples, sequence_length)
    skip = _told_skip(say)
    chosen = choose_linear(loaded.module, layers, loaded.absent, skip)
    try_directory(out)
    for there in filter(Path.exists, (layer_path(out, site.name) for site in chosen)):
        try_file(there, LAYER, calibration)
    meta = {"model": model, "torch": torch.__version__.partition("+")[0], **data.meta}
    written: list[Path] = []
    writes, see = Writes(), few_tokens_told(say)
    for layer in extract_sites(
        loaded.module,
        chosen,
        data.batches,
        held_out=data.held_out if held_out else None,
        meta=meta,
        on_skip=skip,
        progress=batches_told(say),
        running=Running(where),
    ):
        path = layer_path(out, layer.name)
        see(layer)
        with writes.attempt():
            _write(path, layer, say)
            written.append(path)
    writes.close()
    if not written:
        raise InputError(_no_inputs(layers))
    return written


def _write(path: Path, layer: Layer, say: Callable[[str], None]) -> None:
    """Write one layer file, and the Gram beside it where others share that."""
    wide = layer.meta.get("dtype") == "float64"
    weight = np.float64 if wide else np.float32
    if "shares_inputs_with" not in layer.meta:
        with replacing(path, say) as part:
            write_layer(part, layer, weight=weight)
        return
    digest = digest_of(shared_arrays(layer))
    gram = path.with_name(gram_name(digest))
    check_file(gram, GRAM)
    with replacing(gram, say) as part:
        write_gram(part, layer)
    with replacing(path, say) as part:
        write_sharing_layer(part, layer, digest, weight)


def _told_skip(say: Callable[[str], None]) -> Skip:
    return lambda name, reason: say(f"{name} is left out: {reason}")


def _no_inputs(layers: str) -> str:
    return f"none of the layers that match '{layers}' saw inputs it can be judged by"
