"""Makes the shipped data: `python -m maskgap.instances.sources.ship [FOLDER]`.

Layers of all-MiniLM-L6-v2 are extracted with the default calibration, exactly as
`maskgap extract all-MiniLM-L6-v2` does it, and blocks of them are cut (`instances.sources.cut`):
rows and columns are drawn by a seed and recorded. A file whose contents are unchanged is left
alone. Their entries of the manifest come out without best known masks, which
`instances.sources.best_known` adds; those of other models (`instances.sources.ship_llm`) stay.

The forwards run in float32, so the last bits of the Grams depend on the processor and on the Python
version that the texts come from. One thread is used, so that they do not depend on the threads too.
A file that holds the same weights and, up to that rounding, Grams of the same texts keeps them, and
with them the digest that records name; only a mean of the inputs that it lacks is added.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_atomically, write_layer
from maskgap.instances.layer import Layer, array_digest
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.load import MINILM
from maskgap.instances.sources.best_known import write_manifest
from maskgap.instances.sources.cut import Block
from maskgap.instances.sources.shipped import MANIFEST, SUFFIX, Entry, folder, manifest

SOURCE = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
LICENCE = "Apache-2.0"

KINDS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
"""Short names of the linear layers of a BERT block, and their names in it."""

BLOCKS = (
    # kind, depth, columns, rows
    ("query", 0, 12, 4),
    ("key", 1, 16, 4),
    ("output", 5, 16, 4),
    ("value", 2, 24, 4),
    ("intermediate", 3, 24, 4),
    ("attention", 4, 32, 4),
    ("query", 5, 32, 4),
    ("value", 4, 48, 3),
    ("intermediate", 0, 48, 3),
    ("key", 3, 64, 3),
    ("output", 2, 64, 3),
    ("attention", 1, 96, 3),
    ("query", 2, 96, 3),
    ("value", 5, 128, 2),
    ("output", 0, 128, 2),
    ("intermediate", 4, 160, 2),
    ("key", 0, 160, 2),
    ("value", 1, 384, 16),
    ("intermediate", 2, 384, 16),
)

PATTERNS = ("50%", "2:4")

FORWARD_ROUNDING = 1e-6
"""Grams that differ by no more, as a share of their largest entry, come from the same inputs."""

NOTICE = f"""\
The *.safetensors files in this folder, but for llm-*, of which NOTICE-llm tells, hold blocks (some
rows, some columns) of weight matrices of the model all-MiniLM-L6-v2,

    {SOURCE}

published by the sentence-transformers project under the Apache License, Version 2.0, and second
moments of that model's activations. LICENSE-APACHE-2.0.txt beside this file is a copy of the
licence.

Changes: the weights were cut to blocks and converted from float32 to float64; the matrices `gram`
and `gram_eval` and the vector `input_mean` were computed by maskgap from docstrings of Python's
standard library, none of which are contained. Each file's metadata and manifest.json name the
layer, the rows and the columns.
"""


def blocks() -> list[Block]:
    """The blocks to cut, each with a seed of its own."""
    return [
        Block(f"{kind}{depth}-n{n}", f"encoder.layer.{depth}.{KINDS[kind]}", rows, n, seed)
        for seed, (kind, depth, n, rows) in enumerate(BLOCKS)
    ]


def ship(directory: Path) -> list[Path]:
    """Write the shipped layers, their manifest and the notice; returns the layer files.

    Leaves torch at one thread.

    Raises InputError when the model or the calibration texts are not installed.
    """
    entries: list[Entry] = []
    paths: list[Path] = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as extracted:
        run_extract(MINILM, Path(extracted), "encoder.*", progress=_say, held_out=True)
        for block in blocks():
            path = directory / f"{block.name}{SUFFIX}"
            layer = settle(path, block.cut(read_layer(Path(extracted) / f"{block.layer}{SUFFIX}")))
            if not _unchanged(path, layer):
                write_layer(path, layer)
            paths.append(path)
            entries.append(_entry(path, layer))
    if (directory / MANIFEST).exists():
        entries += [entry for entry in manifest(directory) if entry["model"] != MINILM]
    write_manifest(directory, entries)
    write_atomically(directory / "NOTICE", NOTICE.encode())
    return paths


def settle(path: Path, layer: Layer) -> Layer:
    """The layer to store in a file: what it holds, when that is `layer` up to forward rounding.

    A file that holds no mean gets the mean of `layer`; the rest of it stays to the last bit.
    """
    try:
        old = read_layer(path)
    except InputError:
        return layer
    # `cut_from` is a digest of the extracted Gram, so it goes with the bits.
    free = ("format", "cut_from", "shares_inputs_with")
    old_meta, meta = (
        {key: value for key, value in one.meta.items() if key not in free} for one in (old, layer)
    )
    same = (
        old_meta == meta
        and np.array_equal(old.weight, layer.weight)
        and _close(old.gram, layer.gram)
        and _close(old.gram_eval, layer.gram_eval)
    )
    if not same:
        return layer
    return old if old.input_mean is not None else replace(old, input_mean=layer.input_mean)


def _close(old: Matrix | None, new: Matrix | None) -> bool:
    if old is None or new is None:
        return old is new
    return old.shape == new.shape and bool(
        np.abs(old - new).max() <= FORWARD_ROUNDING * np.abs(new).max()
    )


def _unchanged(path: Path, layer: Layer) -> bool:
    """Whether the file holds this layer; rewriting it would only reorder its metadata."""
    try:
        old = read_layer(path)
    except InputError:
        return False
    meta = {key: value for key, value in old.meta.items() if key != "format"}
    return (
        old.digest == layer.digest
        and _digest(old.gram_eval) == _digest(layer.gram_eval)
        and _digest(old.input_mean) == _digest(layer.input_mean)
        and (meta == {key: value for key, value in layer.meta.items() if key != "format"})
    )


def _digest(array: NDArray[np.float64] | None) -> str:
    return "" if array is None else array_digest(array)


def _entry(path: Path, layer: Layer) -> Entry:
    meta = layer.meta
    return {
        "name": path.stem,
        "file": path.name,
        "model": meta["model"],
        "source": SOURCE,
        "licence": LICENCE,
        "notice": "NOTICE",
        "layer": meta["layer"],
        "n": layer.d_in,
        "rows": [int(i) for i in meta["rows"].split()],
        "columns": [int(i) for i in meta["columns"].split()],
        "tokens": int(meta["tokens"]),
        "tokens_eval": int(meta["tokens_eval"]),
        "digest": layer.digest,
        "gram_eval_digest": _digest(layer.gram_eval),
        "patterns": list(PATTERNS),
        "best_known": [],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Write into the folder named on the command line, by default the package's own."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else folder()
    try:
        paths = ship(directory)
    except InputError as error:
        sys.exit(f"error: {error}")
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} layers, {size / 1e6:.1f} MB, in {directory}")


if __name__ == "__main__":
    main()
