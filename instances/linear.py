"""The linear layers of a torch model that can be read as y = x W^T, and why others cannot.

Chosen are modules of class nn.Linear (or a subclass that keeps its forward) whose weight is a plain
floating matrix (out_features, in_features). A class with another forward or another layout of its
weight (Conv1D stores W^T, attention keeps several matrices in one parameter) would give wrong
results without an error, so it is named as skipped.
"""

from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase

import torch

from instances.errors import InputError

Named = tuple[str, torch.nn.Linear]

ROOT_NAME = "linear"
"""Name of the layer when the model itself is one nn.Linear."""

PLAIN_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Weights that hold the numbers used; others are packed or need a scale kept elsewhere."""

NAMES_SHOWN = 6


def choose_linear(
    model: torch.nn.Module,
    layers: str,
    absent: Collection[str],
    skip: Callable[[str, str], None],
) -> list[Named]:
    """The readable linear layers whose name matches a glob, in the model's order.

    A module used under two names is listed once, under its first. absent: names of parameters that
    have no value from a checkpoint. skip: called with the name of a matching module and the reason
    it is left out. Raises InputError when nothing matches, naming what could.
    """
    chosen: list[Named] = []
    skipped: list[str] = []
    for name, module in model.named_modules():
        shown = name or ROOT_NAME
        if not fnmatchcase(shown, layers):
            continue
        reason = _unreadable(module, name, absent)
        if reason is None and isinstance(module, torch.nn.Linear):
            chosen.append((shown, module))
        elif reason is not None:
            skipped.append(f"{shown}: {reason}")
            skip(shown, reason)
    if not chosen:
        raise InputError(_nothing(model, layers, skipped))
    return chosen


def _unreadable(module: torch.nn.Module, name: str, absent: Collection[str]) -> str | None:
    """Why a module with a matrix cannot be read; None when it can, or holds no matrix."""
    kind = type(module)
    if not isinstance(module, torch.nn.Linear):
        if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag):
            return None
        shapes = [p.shape for p in module.parameters(recurse=False) if not _is_lazy(p)]
        # A parameter with one axis in use (a norm, a class token) is no matrix.
        matrix = any(sum(length > 1 for length in shape) >= 2 for shape in shapes)
        return f"{kind.__name__} is not nn.Linear" if matrix else None
    if kind.forward is not torch.nn.Linear.forward or "forward" in vars(module):
        return f"the forward of {kind.__name__} is not nn.Linear's"
    if f"{name}.weight".lstrip(".") in absent:
        return "the checkpoint has no weight for it"
    weight = module.weight
    if _is_lazy(weight):
        return "its weight has no shape before a first forward; run one and extract again"
    if weight.dtype not in PLAIN_DTYPES or weight.shape != (
        module.out_features,
        module.in_features,
    ):
        return f"its weight is {weight.dtype} {tuple(weight.shape)}, not a plain floating matrix"
    if 0 in weight.shape:
        return f"its weight is empty, {tuple(weight.shape)}"
    if weight.is_meta:
        return "its weight is not loaded (device 'meta')"
    return None


def _is_lazy(parameter: torch.Tensor) -> bool:
    return isinstance(parameter, torch.nn.parameter.UninitializedParameter)


def _nothing(model: torch.nn.Module, layers: str, skipped: list[str]) -> str:
    if skipped:
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        return f"no layer that matches '{layers}' can be extracted: {skipped[0]}{more}"
    names = [
        name or ROOT_NAME for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)
    ]
    if not names:
        return f"no layer matches '{layers}': {type(model).__name__} has no nn.Linear at all"
    dots = ", ..." if len(names) > NAMES_SHOWN else ""
    return (
        f"no layer matches '{layers}'; the model's {len(names)} nn.Linear layers are "
        f"{', '.join(names[:NAMES_SHOWN])}{dots}"
    )


def weight_sharing(model: torch.nn.Module) -> Iterator[tuple[str, list[str]]]:
    """Each parameter name with the other names of the same parameter (tied weights)."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for group in names.values():
        for name in group:
            yield name, [other for other in group if other != name]
