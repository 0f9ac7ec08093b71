"""Adapters (LoRA and its kin), which are refused: no layer of a model with one is its whole matrix.

A layer under an adapter computes (W + s B A) x. Neither B and A, which are linear layers by
themselves, nor W alone are the matrix that the model applies, so masks for them would be judged by
the wrong error. Merged into W they are gone, and the model is an ordinary one.
"""

from pathlib import Path

from torch import nn

from maskgap.instances.errors import InputError

SETTINGS = "adapter_config.json"
"""What peft keeps beside an adapter's weights."""

MERGE = "merge it into the weights and save the model again (merge_and_unload of peft)"


def refuse_adapter_file(name: str, folder: Path) -> None:
    """Raise InputError when the folder of a checkpoint holds an adapter."""
    if not (folder / SETTINGS).exists():
        return
    beside = "beside full weights, which alone are another model"
    what = beside if (folder / "config.json").exists() else "and no whole model"
    raise InputError(f"{name}: holds an adapter ({SETTINGS}) {what}; {MERGE}")


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
