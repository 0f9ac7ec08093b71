"""Adapters (LoRA and its kin): merged into the model that they are for, and never layers.

A layer under an adapter computes (W + s B A) x. Neither B and A, which are linear layers by
themselves, nor W alone are the matrix that the model applies, so masks for them would be judged by
the wrong error. Merged, W + s B A in the dtype of W, they are gone and the model is an ordinary
one. That is done to a folder that peft saved when peft is installed and the base model is here;
adapters that are no change of weights (prompts), adapters beside whole weights, and models that
come with adapters in them are refused.
"""

import json
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from maskgap.instances.errors import InputError, first_line

SETTINGS = "adapter_config.json"
"""What peft keeps beside an adapter's weights."""

WEIGHTS = "adapter_model.safetensors"

MERGE = "merge it into the weights and save the model again (merge_and_unload of peft)"


def base_of(name: str, folder: Path) -> str | None:
    """The model that the adapter of a folder is for; None when the folder holds none.

    A path, as it is or from the folder on, or a name. Raises InputError for adapters that cannot be
    merged here.
    """
    if not (folder / SETTINGS).is_file():
        return None
    if (folder / "config.json").exists():
        refuse_adapter_file(name, folder)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        base = settings["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    # What a checkpoint says must not name a callable, which would be run.
    runs = isinstance(base, str) and ":" in base and not Path(base).exists()
    if not isinstance(base, str) or not base or runs:
        raise InputError(f"{name}: its {SETTINGS} names no base model; {MERGE}")
    if find_spec("peft") is None:
        raise InputError(
            f"{name}: holds an adapter for {base}; to merge it here: pip install peft; or {MERGE}"
        )
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{name}: an adapter without {WEIGHTS}; save it again with peft")
    beside = folder / base
    found = str(beside) if not Path(base).exists() and beside.exists() else base
    if (Path(found) / SETTINGS).exists():
        raise InputError(f"{name}: its base model {found} holds an adapter itself; {MERGE}")
    return found


def merged(name: str, folder: Path, model: nn.Module) -> nn.Module:
    """The model with the adapter of a folder in its weights.

    Raises InputError when it has no such form or does not fit.
    """
    peft: Any = import_module("peft")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # keys of the adapter that found no place
            wrapped = peft.PeftModel.from_pretrained(model, folder)
            if not hasattr(wrapped.base_model, "merge_and_unload"):
                kind = wrapped.peft_config["default"].peft_type
                raise InputError(f"{name}: an adapter of kind {kind} is no change of weights")
            found: nn.Module = wrapped.base_model.merge_and_unload(safe_merge=True)
    except InputError:
        raise
    except Exception as error:  # a damaged adapter can make the loader raise anything
        first = first_line(error)
        raise InputError(f"{name}: its adapter does not fit its base model ({first})") from error
    refuse_adapters(found)
    return found.eval()


def refuse_adapter_file(name: str, folder: Path) -> None:
    """Raise InputError when the folder of a whole model holds an adapter too."""
    if (folder / SETTINGS).exists():
        raise InputError(
            f"{name}: holds an adapter ({SETTINGS}) beside full weights, which alone are another "
            f"model; {MERGE}"
        )


def refuse_adapters(model: nn.Module) -> None:
    """Raise InputError when modules of a model are an adapter's.

    Those are a layer of peft, known by what it calls its own layer and its adapters' names, and
    modules called lora_A, lora_B and so on, as other libraries call them too.
    """
    for name, module in model.named_modules():
        last = name.rpartition(".")[2].lower()
        wrapped = hasattr(module, "base_layer") and hasattr(module, "adapter_layer_names")
        if wrapped or last.startswith("lora_"):
            raise InputError(f"{name} is part of an adapter, whose matrices are no layers; {MERGE}")
