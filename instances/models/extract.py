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

Importing this module imports torch.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.collect import Collector, Progress
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.memory import shared_names
from maskgap.instances.models.passes import PassOptions, Running, as_list, collected

Skip = Callable[[str, str], None]
"""Called with the name of a layer left out, and why."""

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
        raise InputError(no_inputs(layers))


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
        sums.clear()  # not held beside those of the next share
        del inputs, evaluation


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


def work_of(sites: Iterable[Site]) -> dict[str, float]:
    """The work of extracting each layer, by name: operations a token, up to a factor."""
    return {site.name: float(site.d_in * (site.d_out + site.d_in)) for site in sites}


def no_inputs(layers: str) -> str:
    """The error of an extraction that no layer came of."""
    return f"none of the layers that match '{layers}' saw inputs it can be judged by"
