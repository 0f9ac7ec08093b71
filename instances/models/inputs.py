"""Which argument of a model's forward each calibration tensor is.

A tensor with a name is the argument of that name, and one that the model does not take is an error:
under another name, or swallowed by `**kwargs`, it would give Grams of something else. A tensor
without a name is the first argument of a module of one's own; of a model of transformers it is the
input that the model calls its main one, or its token ids or their embeddings.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.load import LoadedModel

NAMES_SHOWN = 12


def named_inputs(
    model: LoadedModel, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """The tensors by argument; "" is the first one by position, and then the only tensor.

    source: of the tensors, for the error. Raises InputError naming what the model takes.
    """
    known, anything = _arguments(model.module)
    if model.pretrained:  # what its head does not name it hands to its body
        body: Any = getattr(model.module, "base_model", model.module)
        known += [name for name in _arguments(body)[0] if name not in known]
        anything = not known
    found = {}
    for given, tensor in tensors.items():
        name = given
        if not given and model.pretrained:
            name = _main(model, known, tensor)
        if name and not anything and name not in known:
            shown = ", ".join(known[:NAMES_SHOWN]) + (", ..." if len(known) > NAMES_SHOWN else "")
            what = f"no '{given}'" if given else f"no nameless {tensor.dtype} tensor"
            raise InputError(
                f"{source}: {model.name} takes {what}; name tensors of a .safetensors file as the "
                f"arguments of its forward: {shown}"
            )
        found[name] = tensor
    return found


def expect_token_ids(model: LoadedModel, ids: Sequence[int]) -> None:
    """Raise InputError in one line for a model that does not run on token ids alone.

    ids: a few tokens, which are tried.
    """
    module = model.module
    training = [part for part in module.modules() if part.training]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        module.eval()
        with torch.no_grad():
            module(input_ids=torch.tensor([list(ids)], device=device))
    except Exception as error:  # the model's own code may raise anything
        first = first_line(error)
        names = ", ".join(_arguments(module)[0][:NAMES_SHOWN])
        raise InputError(
            f"{model.name}: does not run on token ids alone ({first}); give its inputs as a "
            f".safetensors file of tensors named as the arguments of its forward: {names}"
        ) from error
    finally:
        for part in training:
            part.training = True


def takes(module: torch.nn.Module, argument: str) -> bool:
    """Whether the forward of a module can be given an argument by its name."""
    names, rest = _arguments(module)
    return rest or argument in names


def _arguments(module: torch.nn.Module) -> tuple[list[str], bool]:
    """Names of the arguments of a module's forward, and whether it takes any other as well."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # compiled: it does not say
        return [], True
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    rest = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return [p.name for p in parameters if p.kind in kinds], rest


def _main(model: LoadedModel, known: list[str], tensor: torch.Tensor) -> str:
    module: Any = model.module
    main = str(getattr(module, "main_input_name", "input_ids"))
    if not tensor.is_floating_point():
        return "input_ids" if "input_ids" in known else main
    return "inputs_embeds" if main == "input_ids" else main
