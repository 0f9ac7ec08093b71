"""The weight matrices of a torch model that are used as y = x W^T, and why others cannot be read.

A site is one matrix W (d_out, d_in) and every use the model makes of it. Known are

    nn.Linear                 weight is W; its input is the argument of its forward
    Conv1D of transformers    weight is W^T
    nn.MultiheadAttention     q_proj, k_proj, v_proj: thirds of in_proj_weight, or matrices of their
                              own, applied to query, key and value; out_proj is used by the forward
                              of the attention without being called (`instances.models.attention`)

    fused experts             U_e and D_e of each expert, slices of one tensor (`models.fused`)
    any other class           that holds one matrix `weight` and acts as a linear layer does when it
                              is tried (`models.probe`)

and subclasses that keep the forward. Modules that share one parameter, or its memory, are one site
under the name of the first. A class that fails the trial would give wrong results without an
error, so it is named as skipped; so are routers, which choose and do not project.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.adapters import refuse_adapters
from maskgap.instances.models.fused import DOWN, ROUTER, Fused, fused_of, routers
from maskgap.instances.models.globs import matches, unmatched
from maskgap.instances.models.memory import Place, place
from maskgap.instances.models.probe import layout
from maskgap.instances.models.readable import Readable, unknown

ROOT_NAME = "linear"
"""Name of the layer when the model itself is one nn.Linear."""

NAMES_SHOWN = 6


class Role(StrEnum):
    """What of a module's forward a matrix is applied to."""

    INPUT = "input"
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    HEADS = "heads"
    """The heads' joined outputs inside an attention."""
    EXPERT_UP = "expert up"
    """Tokens that a router sends to an expert."""
    EXPERT_DOWN = "expert down"
    """What an expert's gate makes of them."""


@dataclass(frozen=True, eq=False)
class Site:
    """One matrix of a model and its uses.

    names: one for each use, in the model's order; the first that was asked for is `name`.
    parameter: name of the parameter that holds it. tensor: that parameter. rows: which of its rows,
    the number of an expert's slice, or None for all. transposed: whether it holds W^T. uses:
    modules, with what they apply W to.
    """

    name: str
    parameter: str
    tensor: torch.Tensor
    rows: slice | int | None
    transposed: bool
    uses: list[tuple[nn.Module, Role]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def matrix(self) -> torch.Tensor:
        """W (d_out, d_in) as a view: what is written to it is in the model."""
        return self.of(self.tensor.detach())

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The view of W in a tensor of the parameter's shape, as a checkpoint holds it."""
        part = tensor if self.rows is None else tensor[self.rows]
        return part.T if self.transposed else part

    @property
    def d_out(self) -> int:
        """Rows of W."""
        return int(self.matrix().shape[0])

    @property
    def d_in(self) -> int:
        """Columns of W."""
        return int(self.matrix().shape[1])


@dataclass(frozen=True, eq=False)
class _Use:
    """A matrix as one module has it. owner: the module that holds the parameter `attribute`."""

    name: str
    owner: nn.Module
    prefix: str
    attribute: str
    uses: Sequence[tuple[nn.Module, Role]]
    rows: slice | int | None = None
    transposed: bool = False

    @property
    def start(self) -> int:
        """First row or slice."""
        return int(self.rows.start if isinstance(self.rows, slice) else self.rows or 0)

    @property
    def parameter(self) -> str:
        return f"{self.prefix}.{self.attribute}".lstrip(".")

    @property
    def tensor(self) -> torch.Tensor:
        tensor: torch.Tensor = getattr(self.owner, self.attribute)
        return tensor


def choose_linear(
    model: nn.Module,
    layers: str,
    absent: Collection[str],
    skip: Callable[[str, str], None],
    also: Sequence[str] = (),
) -> list[Site]:
    """The readable matrices one of whose names matches a glob, in the model's order.

    layers: a glob, or several separated by commas. absent: names of parameters that have no value
    from a checkpoint. skip: called with a matching name and the reason it is left out. also: globs
    that are said of the same layers. Raises InputError when no layer, readable or not, matches one
    of all these globs, naming what could, and for a model with an adapter.
    """
    refuse_adapters(model)
    sites: dict[tuple[Place, int, bool], Site] = {}
    seen: set[tuple[int, Role, str, int]] = set()
    skipped: dict[str, str] = {}
    known: list[str] = []
    every: list[str] = []
    for use, reason in _uses(model, absent):
        every.append(use.name)
        if reason is not None:
            if matches(use.name, layers):
                skipped.setdefault(use.name, reason)
            continue
        key = (place(use.tensor), use.start, use.transposed)
        if key not in sites:
            sites[key] = Site(
                use.name, use.parameter, use.tensor, use.rows, use.transposed
            )  # fmt: skip
        site = sites[key]
        site.names.append(use.name)
        known.append(use.name)
        for module, role in use.uses:
            own = (id(module), role, use.attribute, use.start)
            if own not in seen:  # a module may have several names
                seen.add(own)
                site.uses.append((module, role))
    chosen = []
    twofold = _twofold(sites.values())
    for site in sites.values():
        name = next((n for n in site.names if matches(n, layers)), None)
        if name is None:
            continue
        reason = twofold.get(site.name)
        if reason is None:
            chosen.append(
                Site(name, site.parameter, site.tensor, site.rows, site.transposed, site.uses,
                     site.names)
            )  # fmt: skip
        else:
            skipped[name] = reason
    for name, reason in skipped.items():
        skip(name, reason)
    wrong = next((g for globs in (layers, *also) if (g := unmatched(globs, every))), None)
    if wrong is not None:
        raise InputError(_no_layer(model, wrong, list(dict.fromkeys(known))))
    if not chosen and not skipped:
        raise InputError(_no_layer(model, layers, list(dict.fromkeys(known))))
    if not chosen:
        raise InputError(_none_readable(layers, skipped))
    return chosen


def _twofold(sites: Collection[Site]) -> dict[str, str]:
    """Why parameters read in two ways, as W and as W^T or in parts, are no one matrix, by site."""
    places: dict[Place, list[Site]] = {}
    for site in sites:
        places.setdefault(place(site.tensor), []).append(site)
    found = {}
    for readings in places.values():
        for site in readings:
            kind = (site.transposed, site.rows is None)
            other = next((o for o in readings if (o.transposed, o.rows is None) != kind), None)
            if other is not None:
                found[site.name] = f"its parameter is used in another layout by {other.name}"
    return found


def _uses(
    model: nn.Module, absent: Collection[str]
) -> Iterator[tuple[_Use, str | None]]:  # fmt: skip
    """Every use of a matrix with the reason it cannot be read, if any."""
    inside: set[int] = set()
    routing = routers(model)
    readable = Readable(model, absent)
    for prefix, module in model.named_modules(remove_duplicate=False):
        if id(module) in inside:
            continue
        name = prefix or ROOT_NAME
        if isinstance(module, nn.MultiheadAttention) and _keeps_forward(
            module, nn.MultiheadAttention
        ):
            inside.add(id(module.out_proj))
            uses = _attention(prefix, module)
        elif isinstance(module, nn.Linear) and _keeps_forward(module, nn.Linear):
            uses = [_Use(name, module, prefix, "weight", [(module, Role.INPUT)])]
        elif _is_conv1d(module):
            uses = [
                _Use(name, module, prefix, "weight", [(module, Role.INPUT)], transposed=True)
            ]  # fmt: skip
        elif (fused := fused_of(module)) is not None:
            uses = _experts(prefix, module, fused)
        else:
            reason = unknown(module)
            if reason is None:
                continue
            chooses = id(module) in routing
            turned = None if chooses else layout(module)
            if turned is None:
                reason = ROUTER if chooses else reason
                yield _Use(name, module, prefix, "", []), reason
                continue
            uses = [_Use(name, module, prefix, "weight", [(module, Role.INPUT)], None, turned)]
        for use in uses:
            axes = 3 if isinstance(use.rows, int) else 2
            yield use, readable.reason(use.owner, use.attribute, use.parameter, axes)


def _attention(prefix: str, module: nn.MultiheadAttention) -> list[_Use]:
    dot = f"{prefix}." if prefix else ""
    roles = (Role.QUERY, Role.KEY, Role.VALUE)
    found = []
    for third, (letter, role) in enumerate(zip("qkv", roles, strict=True)):
        name, use = f"{dot}{letter}_proj", [(module, role)]
        if module.in_proj_weight is None:
            found.append(_Use(name, module, prefix, f"{letter}_proj_weight", use))
        else:
            size = module.embed_dim
            part = slice(third * size, (third + 1) * size)
            found.append(_Use(name, module, prefix, "in_proj_weight", use, part))
    out = module.out_proj  # a model's own code may call it too
    found.append(
        _Use(f"{dot}out_proj", out, f"{dot}out_proj", "weight",
             [(module, Role.HEADS), (out, Role.INPUT)])
    )  # fmt: skip
    return found


def _experts(prefix: str, module: nn.Module, fused: Fused) -> list[_Use]:
    dot = f"{prefix}." if prefix else ""
    return [
        _Use(f"{dot}{expert}.{attribute}", module, prefix, attribute, [(module, role)], expert,
             fused.transposed)
        for expert in range(fused.count)
        for attribute, role in ((fused.up, Role.EXPERT_UP), (DOWN, Role.EXPERT_DOWN))
    ]  # fmt: skip


def _keeps_forward(module: nn.Module, base: type[nn.Module]) -> bool:
    return type(module).forward is base.forward and "forward" not in vars(module)


def _is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' Conv1D; if transformers is not loaded, no module is."""
    kind = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
    return kind is not None and isinstance(module, kind) and _keeps_forward(module, kind)


def _none_readable(layers: str, skipped: dict[str, str]) -> str:
    name, reason = next(iter(skipped.items()))
    more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return f"no layer that matches '{layers}' can be extracted: {name}: {reason}{more}"


def _no_layer(model: nn.Module, glob: str, known: Sequence[str]) -> str:
    if not known:
        return f"no layer matches '{glob}': {type(model).__name__} has no linear layer at all"
    dots = ", ..." if len(known) > NAMES_SHOWN else ""
    return (
        f"no layer matches '{glob}'; the model's {len(known)} linear layers are "
        f"{', '.join(known[:NAMES_SHOWN])}{dots}"
    )
