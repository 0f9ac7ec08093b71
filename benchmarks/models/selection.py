"""Which layers of a model are pruned.

Left out, unless named literally: layers that share their weight with something that is no linear
layer (an embedding), the output head of a language model and heads of other kinds, which Wanda and
SparseGPT leave alone too, and routers of experts. A glob that means no layer of the model is an
error: what it was to include, to leave out or to give a pattern would silently not be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from maskgap.benchmarks.models.masks import Masks
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.models.fused import ROUTER, routers
from maskgap.instances.models.globs import matches
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.memory import shared_names
from maskgap.instances.problem import Problem

Skip = Callable[[str, str], None]
"""Called with the name of a layer left out, and why."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which layers: globs over names, separated by commas. exclude: "" for none."""

    layers: str = "*"
    exclude: str = ""


def chosen_sites(loaded: LoadedModel, masks: Masks, chosen: Selection, skip: Skip) -> list[Site]:
    """The layers to prune, in the model's order.

    Raises InputError when there are none, when one cannot meet the pattern, and for a glob that
    means no layer of the model.
    """
    literal = {part.strip() for part in chosen.layers.split(",")}
    sites = []
    special = _Special(loaded.module)
    met: set[tuple[int, int, str]] = set()
    also = (chosen.exclude, *masks.globs())
    for site in choose_linear(loaded.module, chosen.layers, loaded.absent, skip, also):
        reason = None if site.name in literal else special.reason(site)
        if any(matches(name, chosen.exclude) for name in site.names):
            reason = "--exclude names it"
        if reason is None and not masks.has(site.name):
            reason = "there is no mask for it"
        if reason is not None:
            skip(site.name, reason)
            continue
        sites.append(site)
        pattern = masks.pattern_of(site.name)
        if pattern is not None and (site.d_out, site.d_in, pattern) not in met:
            _can_meet(site, pattern)
            met.add((site.d_out, site.d_in, pattern))
    if not sites:
        raise InputError(f"no layer that matches '{chosen.layers}' is left to be pruned")
    _expect_heard(masks.globs(), [site.name for site in sites])
    return sites


def _expect_heard(globs: Sequence[str], names: Sequence[str]) -> None:
    """Raise InputError for a glob whose layers all have the pattern of one before it."""
    for number, glob in enumerate(globs):
        own = [name for name in names if matches(name, glob)]
        first = next((g for g in globs[:number] if any(matches(name, g) for name in own)), None)
        if own and all(any(matches(name, g) for g in globs[:number]) for name in own):
            raise InputError(
                f"the pattern for '{glob}' is no layer's: '{first}' comes before it, and the first "
                "that matches counts; put the narrower glob first"
            )


class _Special:
    """Which layers of a model are pruned only by their own names."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tied = shared_names(model)
        self._routers = routers(model)
        self._head = getattr(model, "get_output_embeddings", lambda: None)()
        body = getattr(model, "base_model", None)  # of a model of transformers; itself, if bare
        modules = body.modules() if isinstance(body, nn.Module) else model.modules()
        self._body = {id(module) for module in modules}

    def reason(self, site: Site) -> str | None:
        """Why a layer is one of them; None when it is none."""
        own = {id(module) for module, _ in site.uses}
        for other in self._tied.get(site.parameter, []):
            owner = other.rpartition(".")[0]
            if id(self._model.get_submodule(owner)) not in own:
                return f"it shares its weight with {owner}; name it in --layers to prune both"
        if self._head is not None and id(self._head) in own:
            return "it is the output head; name it in --layers to prune it"
        if own & self._routers:
            return f"{ROUTER}; name it in --layers to prune it"
        if not own & self._body:
            return "it is in the head, behind the model's body; name it in --layers to prune it"
        return None


def _can_meet(site: Site, pattern: str) -> None:
    """Raise InputError before any data are run when a layer's shape does not fit the pattern."""
    weight = np.broadcast_to(np.zeros(1), (site.d_out, site.d_in))
    gram = np.broadcast_to(np.zeros(1), (site.d_in, site.d_in))
    Problem.of(Layer(weight, gram, name=site.name), parse_pattern(pattern))
