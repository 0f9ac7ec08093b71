"""Which argument of a model's forward each calibration tensor is.

A tensor with a name is the argument of that name, and one that the model does not take is an error:
under another name, or swallowed by `**kwargs`, it would give Grams of something else. A tensor
without a name is the first argument of a module of one's own; of a model of transformers it is the
input that the model calls its main one, or its token ids or their embeddings.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from instances.errors import InputError
from instances.models import LoadedModel

NAMES_SHOWN = 12


def named_inputs(
    model: LoadedModel, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """The tensors by argument; "" is the first one by position, and then the only tensor.

    source: of the tensors, for the error. Raises InputError naming what the model takes.
    """
    takes, anything = _arguments(model)
    found = {}
    for given, tensor in tensors.items():
        name = given
        if not given and model.pretrained:
            name = _main(model, takes, tensor)
        if name and not anything and name not in takes:
            shown = ", ".join(takes[:NAMES_SHOWN]) + (", ..." if len(takes) > NAMES_SHOWN else "")
            what = f"no '{given}'" if given else f"no {tensor.dtype} tensor without a name"
            raise InputError(f"{source}: {model.name} takes {what}; its arguments are {shown}")
        found[name] = tensor
    return found


def _arguments(model: LoadedModel) -> tuple[list[str], bool]:
    """Names of the arguments of a model's forward, and whether it takes any other as well.

    A model of transformers hands what its head does not name to its body.
    """
    module: Any = model.module
    modules = [module, getattr(module, "base_model", module)] if model.pretrained else [module]
    names: dict[str, None] = {}
    anything = False
    for each in modules:
        try:
            parameters = inspect.signature(each.forward).parameters.values()
        except (TypeError, ValueError):  # compiled: it does not say
            return [], True
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names.update(dict.fromkeys(p.name for p in parameters if p.kind in kinds))
        rest = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        anything = anything or (rest and not model.pretrained)
    return list(names), anything or not names


def _main(model: LoadedModel, takes: list[str], tensor: torch.Tensor) -> str:
    module: Any = model.module
    main = str(getattr(module, "main_input_name", "input_ids"))
    if not tensor.is_floating_point():
        return "input_ids" if "input_ids" in takes else main
    return "inputs_embeds" if main == "input_ids" else main
