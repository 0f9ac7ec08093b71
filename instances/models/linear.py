"""The weight matrices of a torch model that are used as y = x W^T, and why others cannot be read.

A site is one matrix W (d_out, d_in) and every use the model makes of it. Known are

    nn.Linear                 weight is W; its input is the argument of its forward
    Conv1D of transformers    weight is W^T
    nn.MultiheadAttention     q_proj, k_proj, v_proj: thirds of in_proj_weight, or matrices of their
                              own, applied to query, key and value; out_proj is used by the forward
                              of the attention without being called (`instances.models.attention`)

and subclasses that keep the forward. Modules that share one parameter, or its memory, are one site
under the name of the first. A class with another forward or another layout of its weight would give
wrong results without an error, so it is named as skipped.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from maskgap.instances.errors import InputError
from maskgap.instances.models.adapters import refuse_adapters
from maskgap.instances.models.memory import Place, place
from maskgap.instances.models.readable import Readable

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


@dataclass(frozen=True, eq=False)
class Site:
    """One matrix of a model and its uses.

    names: one for each use, in the model's order; the first that was asked for is `name`.
    parameter: name of the parameter that holds it. tensor: that parameter. rows: which of its rows,
    or None for all. transposed: whether it holds W^T. uses: modules, with what they apply W to.
    """

    name: str
    parameter: str
    tensor: torch.Tensor
    rows: slice | None
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
    rows: slice | None = None
    transposed: bool = False

    @property
    def parameter(self) -> str:
        return f"{self.prefix}.{self.attribute}".lstrip(".")

    @property
    def tensor(self) -> torch.Tensor:
        tensor: torch.Tensor = getattr(self.owner, self.attribute)
        return tensor


def matches(name: str, layers: str) -> bool:
    """Whether a name matches a glob, or one of several separated by commas."""
    return any(fnmatchcase(name, glob.strip()) for glob in layers.split(","))


def choose_linear(
    model: nn.Module,
    layers: str,
    absent: Collection[str],
    skip: Callable[[str, str], None],
) -> list[Site]:
    """The readable matrices one of whose names matches a glob, in the model's order.

    layers: a glob, or several separated by commas. absent: names of parameters that have no value
    from a checkpoint. skip: called with a matching name and the reason it is left out. Raises
    InputError when nothing matches, naming what could, and for a model with an adapter.
    """
    refuse_adapters(model)
    sites: dict[tuple[Place, int, bool], Site] = {}
    seen: set[tuple[int, Role, str, int]] = set()
    skipped: dict[str, str] = {}
    known: list[str] = []
    for use, reason in _uses(model, absent):
        if reason is not None:
            if matches(use.name, layers):
                skipped.setdefault(use.name, reason)
            continue
        start = 0 if use.rows is None else int(use.rows.start)
        key = (place(use.tensor), start, use.transposed)
        if key not in sites:
            sites[key] = Site(
                use.name, use.parameter, use.tensor, use.rows, use.transposed
            )  # fmt: skip
        site = sites[key]
        site.names.append(use.name)
        known.append(use.name)
        for module, role in use.uses:
            own = (id(module), role, use.attribute, start)
            if own not in seen:  # a module may have several names
                seen.add(own)
                site.uses.append((module, role))
    chosen = []
    for site in sites.values():
        name = next((n for n in site.names if matches(n, layers)), None)
        if name is None:
            continue
        reason = _twofold(site, sites.values())
        if reason is None:
            chosen.append(
                Site(name, site.parameter, site.tensor, site.rows, site.transposed, site.uses,
                     site.names)
            )  # fmt: skip
        else:
            skipped[name] = reason
    for name, reason in skipped.items():
        skip(name, reason)
    if not chosen:
        raise InputError(_nothing(model, layers, skipped, list(dict.fromkeys(known))))
    return chosen


def _twofold(site: Site, sites: Collection[Site]) -> str | None:
    """Why a parameter that is read in two ways, as W and as W^T or in parts, is no one matrix."""
    for other in sites:
        if place(other.tensor) == place(site.tensor) and (
            other.transposed != site.transposed or (other.rows is None) != (site.rows is None)
        ):
            return f"its parameter is used in another layout by {other.name}"
    return None


def _uses(
    model: nn.Module, absent: Collection[str]
) -> Iterator[tuple[_Use, str | None]]:  # fmt: skip
    """Every use of a matrix with the reason it cannot be read, if any."""
    inside: set[int] = set()
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
        else:
            reason = _unknown(module)
            if reason is not None:
                yield _Use(name, module, prefix, "", []), reason
            continue
        for use in uses:
            yield use, readable.reason(use.owner, use.attribute, use.parameter)


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


def _keeps_forward(module: nn.Module, base: type[nn.Module]) -> bool:
    return type(module).forward is base.forward and "forward" not in vars(module)


def _is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' Conv1D; if transformers is not loaded, no module is."""
    kind = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
    return kind is not None and isinstance(module, kind) and _keeps_forward(module, kind)


def _unknown(module: nn.Module) -> str | None:
    """Why a module of another kind with a matrix is left out; None when it holds no matrix."""
    kind = type(module)
    if isinstance(module, nn.Linear | nn.MultiheadAttention):
        base = "nn.Linear" if isinstance(module, nn.Linear) else "nn.MultiheadAttention"
        return f"the forward of {kind.__name__} is not {base}'s"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag | ParametrizationList):
        return None
    shapes = [p.shape for p in module.parameters(recurse=False) if not is_lazy(p)]
    # A parameter with one axis in use (a norm, a class token) is no matrix.
    matrix = any(sum(length > 1 for length in shape) >= 2 for shape in shapes)
    # Packed weights are buffers or objects, but such a class still says its sizes.
    if not any(True for _ in module.parameters()):
        sizes = [getattr(module, name, None) for name in ("in_features", "out_features")]
        matrix = all(isinstance(size, int) for size in sizes)
    known = kind.__name__ in ("Linear", "Conv1D")  # another one of that name
    name = f"{kind.__module__}.{kind.__name__}" if known else kind.__name__
    return f"{name} is not a linear layer known here" if matrix else None


def _nothing(
    model: nn.Module, layers: str, skipped: dict[str, str], known: Sequence[str]
) -> str:  # fmt: skip
    if skipped:
        name, reason = next(iter(skipped.items()))
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        return f"no layer that matches '{layers}' can be extracted: {name}: {reason}{more}"
    if not known:
        return f"no layer matches '{layers}': {type(model).__name__} has no linear layer at all"
    dots = ", ..." if len(known) > NAMES_SHOWN else ""
    return (
        f"no layer matches '{layers}'; the model's {len(known)} linear layers are "
        f"{', '.join(known[:NAMES_SHOWN])}{dots}"
    )
