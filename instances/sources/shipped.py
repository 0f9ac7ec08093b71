"""The real layers that ship with the package, and their manifest.

`data/manifest.json` has one entry a file: where it was cut from, its licence, its digests, patterns
worth solving, and for each row and pattern the best mask known: its loss, who found it, and by what
it was proved to be the least, if it was. A loss in the manifest is always recomputed from the mask.
"""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import TypedDict, cast

from maskgap.instances.errors import InputError
from maskgap.instances.suggestions import did_you_mean

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "maskgap-manifest/1"
SUFFIX = ".safetensors"


class BestKnown(TypedDict):
    """The best mask known of one row under one pattern.

    row: 0-based in the file. objective: loss in float64. pruned: sorted columns. solver: who found
    it. proved_by: who proved that no legal mask has a lower loss, or None.
    """

    row: int
    pattern: str
    objective: float
    pruned: list[int]
    solver: str
    proved_by: str | None


class Entry(TypedDict):
    """One shipped layer.

    rows, columns: their numbers in the layer it was cut from. tokens, tokens_eval: inputs summed in
    its Grams. digest: of weight and Gram (`Layer.digest`). gram_eval_digest: of the held-out Gram.
    """

    name: str
    file: str
    model: str
    source: str
    licence: str
    notice: str
    layer: str
    n: int
    rows: list[int]
    columns: list[int]
    tokens: int
    tokens_eval: int
    digest: str
    gram_eval_digest: str
    patterns: list[str]
    best_known: list[BestKnown]


def folder() -> Path:
    """The folder of the shipped files, in a source tree or where the package is installed."""
    return Path(str(files("maskgap.instances.sources"))) / "data"


def manifest(directory: Path | None = None) -> list[Entry]:
    """The entries of a manifest, the shipped one by default. Raises InputError."""
    path = (directory or folder()) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != MANIFEST_FORMAT:
        raise InputError(f"{path}: 'format' is not {MANIFEST_FORMAT}")
    return cast("list[Entry]", content["instances"])


def names() -> list[str]:
    """Names of the shipped layers, smallest first."""
    return [entry["name"] for entry in manifest()]


def path(name: str) -> Path:
    """The layer file of a shipped layer. Raises InputError that lists the names."""
    have = names()
    if name not in have:
        meant = did_you_mean(name, have)
        raise InputError(f"no shipped layer '{name}'; there are {', '.join(have)}{meant}")
    return folder() / f"{name}{SUFFIX}"


def find(file: Path) -> Path:
    """The file itself, or the shipped layer of that name; a file of that name wins.

    Raises InputError when there is neither.
    """
    if os.path.lexists(file):
        return file
    if str(file) in names():
        return path(str(file))
    raise InputError(
        f"{file}: cannot be read: there is no such file, nor a shipped layer of this name (maskgap "
        f"instances lists them){did_you_mean(str(file), names())}"
    )
