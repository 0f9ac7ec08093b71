"""A pruned model as a checkpoint that its own library loads.

A model of transformers is saved by `save_pretrained` of its class, with its tokenizer; what
sentence-transformers keeps beside it (`modules.json` and what that names) is copied, so that it
loads there too. Any other torch module becomes `model.safetensors`, its state dict, which
`safetensors.torch.load_model` reads, and `maskgap` as `module:callable@model.safetensors`.
Saving is tried with the dense model before masks are looked for: it takes the room and the seconds
of one checkpoint, and what could not be saved is known before the work and not after it. Files
appear in the folder when all are complete and have been read back.
"""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from maskgap.benchmarks.models.ledger import Ledger
from maskgap.instances.errors import InputError, first_line
from maskgap.instances.formats.outputs import try_directory
from maskgap.instances.models.load import LoadedModel, load_model, quiet
from maskgap.instances.models.state import write_state
from maskgap.instances.models.vocabulary import tokenizer_files

STATE = "model.safetensors"
MODULES = "modules.json"
UNFINISHED = ".unfinished-"
"""Begins the name of the folder of a checkpoint that is not complete."""

BESIDE = ("config_sentence_transformers.json", "sentence_bert_config.json", "LICENSE")


def check_free(out: Path, remedy: str = "") -> None:
    """Raise InputError unless a checkpoint can be written there without replacing anything.

    remedy: another one, for the message.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; move it away or choose another --out{remedy}")


def try_save(loaded: LoadedModel, ledger: Ledger, out: Path) -> None:
    """Save a model as it is, read it back and compare it, and leave nothing but the folder.

    Raises InputError as `save`.
    """
    with _saved(loaded, ledger, out):
        pass


def save(loaded: LoadedModel, ledger: Ledger, out: Path) -> None:
    """Save a pruned model, read it back and compare it with what it should be.

    Raises InputError when it cannot be written or read, or holds anything else.
    """
    with _saved(loaded, ledger, out) as folder:
        for path in sorted(folder.iterdir()):
            there = out / path.name
            if there.is_dir() and not there.is_symlink():  # of a call that was killed right here
                shutil.rmtree(there)
            os.rename(path, there)


@contextmanager
def _saved(loaded: LoadedModel, ledger: Ledger, out: Path) -> Iterator[Path]:
    """A folder inside `out` with the complete checkpoint, for as long as the context lasts."""
    try:
        try_directory(out)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=out) as name:
            folder = Path(name)
            try:
                _write(loaded, folder)
            except (InputError, OSError):
                raise
            except Exception as error:  # a library that saves may raise anything
                raise InputError(
                    f"{out}: {loaded.name} cannot be saved: {type(error).__name__}: "
                    f"{first_line(error)}"
                ) from error
            _permit(folder)
            ledger.verify(_read(loaded, folder), str(out))
            yield folder
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None


def _permit(folder: Path) -> None:
    """Give files the permissions of the umask: safetensors writes for the owner alone."""
    made = folder / ".mode"
    os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    mode = stat.S_IMODE(made.stat().st_mode)
    made.unlink()
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(mode)


def _write(loaded: LoadedModel, folder: Path) -> None:
    if not loaded.pretrained:
        write_state(loaded.module, folder / STATE, loaded.name)
        return
    with quiet():
        loaded.module.save_pretrained(folder)  # type: ignore[operator]
        if loaded.tokenizer is not None:
            loaded.tokenizer.save_pretrained(folder)
    if loaded.folder is not None:
        if loaded.tokenizer is None:  # one that cannot be used is kept as it is
            for path in tokenizer_files(loaded.folder):
                shutil.copyfile(path, folder / path.name)
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
    return load_model(name, trust=loaded.trusted).module.state_dict()
