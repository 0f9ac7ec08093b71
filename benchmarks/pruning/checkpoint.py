"""A pruned model as a checkpoint that its own library loads.

A model of transformers is saved by `save_pretrained` of its class, with its tokenizer; what
sentence-transformers keeps beside it (`modules.json` and what that names) is copied, so that it
loads there too. Any other torch module becomes `model.safetensors`, its state dict, which
`safetensors.torch.load_model` reads, and `maskgap` as `module:callable@model.safetensors`.
The folder appears when it is complete and has been read back.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.pruning.ledger import Ledger
from instances.errors import InputError
from instances.models import LoadedModel, load_model, quiet

STATE = "model.safetensors"
MODULES = "modules.json"
BESIDE = ("config_sentence_transformers.json", "sentence_bert_config.json", "LICENSE")


def check_free(out: Path) -> None:
    """Raise InputError unless a checkpoint can be written there without replacing anything."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; move it away or choose another --out")


def save(loaded: LoadedModel, ledger: Ledger, out: Path) -> None:
    """Save a pruned model, read it back and compare it with what it should be.

    Raises InputError when it cannot be written or read, or holds anything else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as name:
            folder = Path(name)
            _write(loaded, folder)
            ledger.verify(_read(loaded, folder), str(out))
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    path.chmod(0o644)  # safetensors writes for the owner alone
                os.rename(path, out / path.name)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None


def _write(loaded: LoadedModel, folder: Path) -> None:
    if not loaded.pretrained:
        from safetensors.torch import save_model

        save_model(loaded.module, str(folder / STATE))
        return
    with quiet():
        loaded.module.save_pretrained(folder)  # type: ignore[operator]
        if loaded.tokenizer is not None:
            loaded.tokenizer.save_pretrained(folder)
    if loaded.folder is not None:
        _copy_beside(loaded.folder, folder)


def _copy_beside(source: Path, folder: Path) -> None:
    """What sentence-transformers reads beside a model, where there is any."""
    try:
        modules = json.loads((source / MODULES).read_text(encoding="utf-8"))
        paths = [str(module.get("path", "")) for module in modules]
    except (OSError, ValueError, AttributeError, TypeError):
        return
    for name in (MODULES, *BESIDE, *paths):
        here = source / name
        inside = name and here.resolve().is_relative_to(source.resolve())
        if inside and here.is_dir():
            shutil.copytree(here, folder / name, dirs_exist_ok=True)
        elif inside and here.is_file():
            shutil.copyfile(here, folder / name)


def _read(loaded: LoadedModel, folder: Path) -> Mapping[str, torch.Tensor]:
    name = str(folder) if loaded.pretrained else f"{loaded.name.partition('@')[0]}@{folder / STATE}"
    return load_model(name).module.state_dict()
