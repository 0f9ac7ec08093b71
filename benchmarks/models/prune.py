"""Prune a model: layers with their Grams, a mask for each, and a checkpoint that holds them.

Layers come from calibration data that runs through the model, or from files that `maskgap extract`
wrote. Each mask is found or read when its layer is there, so that with `propagate` later layers see
the inputs of the model pruned so far; without, all masks are applied at the end. Left out, unless
named literally: layers that share their weight with something that is no linear layer (an
embedding), and the output head of a language model, which Wanda and SparseGPT leave alone too.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path

import numpy as np
from torch import nn

from maskgap.benchmarks.models.checkpoint import check_free, save, try_save
from maskgap.benchmarks.models.ledger import Ledger, in_dtype_of
from maskgap.benchmarks.models.masks import Choice, Masks, Report, ratio, report
from maskgap.benchmarks.models.sampling import DEFAULT_SAMPLING, Sampling
from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import layer_path, read_layer, write_atomically
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.extract import batches_told, extract_sites
from maskgap.instances.models.fused import ROUTER, routers
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.memory import shared_names
from maskgap.instances.problem import Problem

MASKS = "masks"
SUMMARY = "pruning.json"
FORMAT = "maskgap-pruning/1"

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Source:
    """Where the layers' Grams come from.

    extracted: folder of layer files, or None: the data run through the model. propagate: inputs
    are those of the model pruned so far.
    """

    extracted: Path | None = None
    data: Sampling = DEFAULT_SAMPLING
    propagate: bool = False


def prune_model(
    loaded: LoadedModel,
    masks: Masks,
    out: Path,
    layers: str = "*",
    *,
    source: Source | None = None,
    say: Say = lambda text: None,
) -> list[Report]:
    """Prune a loaded model in place, save it to a folder and verify what was saved.

    Saving is tried with the dense model before any layer is run. The folder gets the checkpoint,
    the masks (`masks/`) as they are found, and `pruning.json`. Returns what pruning did to each
    layer. Raises InputError, Refused, Unsolved; then there is no checkpoint.
    """
    source = source or Source()
    check_free(out)
    sites = chosen_sites(loaded, masks, layers, say)
    if source.extracted is not None:
        sites = _with_files(sites, source, say)
    ledger = Ledger(loaded, sites)
    found = _layers(loaded, sites, source, say)
    try_save(loaded, ledger, out)
    by_name = {site.name: site for site in sites}
    reports: list[Report] = []
    waiting: list[tuple[Site, Choice]] = []
    for layer in found:
        begun = time.perf_counter()
        choice = masks.of(layer)
        choice.write(out / MASKS, layer)
        choice = _as_stored(choice, by_name[layer.name])
        reports.append(report(layer, choice, time.perf_counter() - begun))
        say(_progress(reports[-1], len(reports), len(sites)))
        if source.propagate:
            ledger.apply(by_name[layer.name], choice.mask, choice.weights)
        else:
            waiting.append((by_name[layer.name], choice))
    if not reports:
        raise InputError(f"none of the layers that match '{layers}' saw inputs it can be judged by")
    for site, choice in waiting:
        ledger.apply(site, choice.mask, choice.weights)
    save(loaded, ledger, out)
    summary = {
        "format": FORMAT,
        "model": loaded.name,
        "layers": [one.line() for one in reports],
        "total": total(reports),
    }
    text = json.dumps(summary, indent=1, allow_nan=False)
    write_atomically(out / SUMMARY, text.encode())
    return reports


def _as_stored(choice: Choice, site: Site) -> Choice:
    """A choice with the weights that the model can hold: rounded to the dtype of its matrix."""
    if choice.weights is None:
        return choice
    rounded = in_dtype_of(site, choice.weights).double().numpy()
    return replace(choice, weights=rounded)


def total(reports: Sequence[Report]) -> dict[str, float | int | None]:
    """Sums over layers. relative_error: sum of errors / sum of energies."""
    error, energy = (fsum(getattr(r, name) for r in reports) for name in ("error", "energy"))
    held_out = [r.error_eval for r in reports if r.error_eval is not None]
    weights = sum(r.d_out * r.d_in for r in reports)
    pruned = sum(r.pruned for r in reports)
    return {
        "layers": len(reports),
        "weights": weights,
        "pruned": pruned,
        "sparsity": pruned / weights,
        "error": error,
        "energy": energy,
        "relative_error": ratio(error, energy),
        "error_eval": fsum(held_out) if len(held_out) == len(reports) else None,
    }


def render(reports: Sequence[Report]) -> str:
    """A table for people: a line a layer, and one for all."""
    sums = total(reports)
    lines = [
        {
            "layer": one.layer,
            "shape": f"{one.d_out} x {one.d_in}",
            "pattern": one.pattern,
            "solver": one.solver,
            "pruned": f"{one.sparsity:.2%}",
            "error": f"{one.error:.6g}",
            "relative error": f"{one.relative_error:.3%}",
        }
        for one in reports
    ]
    last = {
        "layer": f"all {len(reports)}",
        "shape": str(sums["weights"]),
        "pattern": "",
        "solver": "",
        "pruned": f"{sums['sparsity']:.2%}",
        "error": f"{sums['error']:.6g}",
        "relative error": f"{sums['relative_error']:.3%}",
    }
    return markdown([*lines, last])


def chosen_sites(loaded: LoadedModel, masks: Masks, layers: str, say: Say) -> list[Site]:
    """The layers to prune, in the model's order.

    Raises InputError when there are none, or when one cannot meet the pattern.
    """
    literal = {part.strip() for part in layers.split(",")}
    sites = []
    for site in choose_linear(loaded.module, layers, loaded.absent, _left_out(say)):
        reason = None if site.name in literal else _special(loaded.module, site)
        if reason is None and not masks.has(site.name):
            reason = "there is no mask for it"
        if reason is not None:
            _left_out(say)(site.name, reason)
            continue
        sites.append(site)
        if masks.pattern is not None:
            _can_meet(site, masks.pattern)
    if not sites:
        raise InputError(f"no layer that matches '{layers}' is left to be pruned")
    return sites


def _special(model: nn.Module, site: Site) -> str | None:
    """Why a layer is pruned only by its own name."""
    own = {id(module) for module, _ in site.uses}
    for other in shared_names(model).get(site.parameter, []):
        owner = other.rpartition(".")[0]
        if id(model.get_submodule(owner)) not in own:
            return f"it shares its weight with {owner}; name it in --layers to prune both"
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None and id(head) in own:
        return "it is the output head; name it in --layers to prune it"
    if own & routers(model):
        return f"{ROUTER}; name it in --layers to prune it"
    return None


def _can_meet(site: Site, pattern: str) -> None:
    """Raise InputError before any data are run when a layer's shape does not fit the pattern."""
    weight = np.broadcast_to(np.zeros(1), (site.d_out, site.d_in))
    gram = np.broadcast_to(np.zeros(1), (site.d_in, site.d_in))
    Problem.of(Layer(weight, gram, name=site.name), parse_pattern(pattern))


def _layers(loaded: LoadedModel, sites: list[Site], source: Source, say: Say) -> Iterator[Layer]:
    if source.extracted is not None:
        return _stored(sites, source.extracted)
    wanted = source.data
    data = load_calibration(loaded, wanted.calibration, wanted.samples, wanted.sequence_length)
    return extract_sites(
        loaded.module,
        sites,
        data.batches,
        held_out=data.held_out,
        meta={"model": loaded.name, **data.meta},
        propagate=source.propagate,
        on_skip=_left_out(say),
        progress=batches_told(say),
    )


def _with_files(sites: list[Site], source: Source, say: Say) -> list[Site]:
    """The layers that were extracted. Raises InputError when there are none."""
    folder = source.extracted or Path()
    if source.propagate:
        raise InputError("--propagate collects inputs anew, so it takes no --extracted layers")
    found = []
    for site in sites:
        path = layer_path(folder, site.name)
        if path.exists():
            found.append(site)
        else:
            _left_out(say)(site.name, f"there is no {path}")
    if not found:
        raise InputError(f"{folder}: holds no layer file of this model (<layer>.safetensors)")
    return found


def _stored(sites: list[Site], folder: Path) -> Iterator[Layer]:
    """Layers from files, checked to hold the model's weights."""
    for site in sites:
        path = layer_path(folder, site.name)
        layer = read_layer(path)
        weight = site.matrix().cpu().double().numpy()
        if not np.array_equal(layer.weight, weight):
            raise InputError(
                f"{path}: its weights are not those of {site.name} in this model; extract again"
            )
        yield replace(layer, name=site.name)


def _left_out(say: Say) -> Callable[[str, str], None]:
    return lambda name, reason: say(f"{name} is left out: {reason}")


def _progress(one: Report, done: int, of: int) -> str:
    return (
        f"{done} of {of}: {one.layer}: error {one.error:.6g}, relative {one.relative_error:.3%}, "
        f"{one.sparsity:.2%} pruned, {one.seconds:.1f} s"
    )
