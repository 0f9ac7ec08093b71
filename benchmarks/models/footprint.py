"""What extracting and pruning a language model take: processor time, memory, disk.

    python -m maskgap.benchmarks.models.footprint --out DIR

Models of the Llama architecture with random weights, of the shapes of real ones, go through
`extract` (all layers of the blocks) and `prune --propagate` (wanda, 50 %), each in a process of its
own. For a model too large to be run here the table has what follows:

    disk of extract    4 bytes a weight of a layer, 8 d_in^2 bytes a Gram, four Grams a block
    disk of prune      the checkpoint, twice while it is saved, and a byte a weight for the masks
    time               that of the largest model measured, times the ratio of operations: 2 a weight
                       and token for a forward, of which propagating takes two, d_in^2 for a Gram
    memory             weights in the model's dtype, the four Grams of a block, six copies of the
                       largest Gram or weight while a layer is made (float64), states of all tokens,
                       and for prune a byte a weight for the masks
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.formats.files import write_atomically

LENGTH = 128
"""Tokens of a sequence."""

COPIES = 6
"""Of the largest matrix of a layer, in float64, while a layer is made and written."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model of the Llama architecture. kv: width of keys and values. width_bytes: a weight."""

    name: str
    hidden: int
    inner: int
    blocks: int
    heads: int
    kv_heads: int
    vocabulary: int
    weight_bytes: int = 4

    @property
    def block(self) -> int:
        """Weights of the layers of a block."""
        kv = self.hidden // self.heads * self.kv_heads
        return 2 * self.hidden * (self.hidden + kv) + 3 * self.hidden * self.inner

    @property
    def weights(self) -> int:
        """Weights of layers and embedding."""
        return self.blocks * self.block + self.hidden * self.vocabulary

    @property
    def squares(self) -> int:
        """Entries of the Grams of a block: of q, k and v, of o, of gate and up, of down."""
        return 3 * self.hidden**2 + self.inner**2

    def operations(self, forwards: int) -> float:
        """Of blocks and Grams, for each token."""
        return self.blocks * (2.0 * forwards * self.block + self.squares)


SHAPES = (
    Shape("135M", 576, 1536, 30, 9, 3, 49152),
    Shape("500M", 896, 4864, 24, 14, 2, 151936),
)
LARGE = Shape("8B", 4096, 14336, 32, 32, 8, 128256, weight_bytes=2)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took. cpu_s: processor time of the process. tokens: of calibration."""

    model: str
    command: str
    tokens: int
    cpu_s: float
    peak_bytes: int
    disk_bytes: int


def run_one(shape: Shape, command: str, samples: int) -> Cost:
    """Make a model of a shape, and run a command on it in this process."""
    import torch

    from maskgap.benchmarks.models.masks import Solved
    from maskgap.benchmarks.models.prune import Source, prune_model
    from maskgap.benchmarks.models.sampling import Sampling
    from maskgap.instances.models.extract_files import run_extract
    from maskgap.instances.models.load import load_model
    from maskgap.instances.peak_memory import peak_bytes

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.blocks,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "vocab_size": shape.vocabulary,
            "tie_word_embeddings": True,
        }
        made = subprocess.run(  # its memory is not this process's
            [sys.executable, "-m", __spec__.name, "--make", name, "--shape", json.dumps(settings)],
            check=False,
        )
        if made.returncode:
            raise SystemExit(made.returncode)
        torch.set_num_threads(1)
        draw = np.random.default_rng(0)
        ids = folder / "ids.npy"
        np.save(ids, draw.integers(0, shape.vocabulary, size=(2 * samples, LENGTH)))
        out, begun = folder / "out", time.process_time()
        if command == "extract":
            run_extract(str(folder / "model"), out, "model.layers.*", [ids], samples)
        else:
            source = Source(data=Sampling([ids], samples), propagate=True)
            loaded = load_model(str(folder / "model"))
            prune_model(loaded, Solved("wanda", "50%", {}), out, source=source)
        spent = time.process_time() - begun
        peak = peak_bytes()
        disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Cost(shape.name, command, samples * LENGTH, spent, peak, disk)


def make(folder: Path, settings: dict[str, Any]) -> None:
    """Save a model with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(**settings)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")


def extrapolated(measured: Cost, shape: Shape, tokens: int) -> Cost:
    """What a command takes on a larger model, by the arithmetic of this module."""
    model = next(one for one in SHAPES if one.name == measured.model)
    forwards = 1 if measured.command == "extract" else 2
    ratio = shape.operations(forwards) * tokens / (model.operations(forwards) * measured.tokens)
    layers = shape.blocks * shape.block
    if measured.command == "extract":
        disk = 4 * layers + 8 * shape.blocks * shape.squares
    else:
        disk = 2 * shape.weights * shape.weight_bytes + layers
    largest = max(shape.inner**2, shape.hidden * shape.inner)
    states = tokens * shape.hidden * shape.weight_bytes
    memory = shape.weights * shape.weight_bytes + 8 * (shape.squares + COPIES * largest) + states
    if measured.command == "prune":
        memory += layers
    return Cost(shape.name, measured.command, tokens, measured.cpu_s * ratio, memory, disk)


def page(costs: Sequence[Cost], tokens: int) -> str:
    """The table, measured rows first."""
    largest = {cost.command: cost for cost in costs}.values()
    more = [extrapolated(cost, LARGE, tokens) for cost in largest]
    lines = [
        {
            "model": cost.model,
            "command": cost.command,
            "tokens": str(cost.tokens),
            "processor time": f"{cost.cpu_s / 60:.1f} min",
            "peak memory": f"{cost.peak_bytes / 2**30:.1f} GiB",
            "disk": f"{cost.disk_bytes / 2**30:.2f} GiB",
            "": "extrapolated" if cost in more else "measured",
        }
        for cost in (*costs, *more)
    ]
    return markdown(lines) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and write the table into the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m maskgap.benchmarks.models.footprint")
    parser.add_argument("--out", type=Path, help="folder of footprint.md")
    parser.add_argument("--samples", type=int, default=128, help=f"sequences of {LENGTH} tokens")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.make is not None:
        make(chosen.make, json.loads(chosen.shape))
        return
    if chosen.one is not None:
        shape = next(one for one in SHAPES if one.name == chosen.shape)
        print(json.dumps(asdict(run_one(shape, chosen.one, chosen.samples))))
        return
    if chosen.out is None:
        parser.error("--out is needed")
    if chosen.samples < 1:
        parser.error("--samples: expected a whole number, 1 or more")
    costs = []
    for shape in SHAPES:
        for command in ("extract", "prune"):
            one = [sys.executable, "-m", __spec__.name, "--one", command, "--shape", shape.name]
            done = subprocess.run(
                [*one, "--samples", str(chosen.samples)],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            costs.append(Cost(**json.loads(done.stdout.splitlines()[-1])))
            print(costs[-1], file=sys.stderr, flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = page(costs, chosen.samples * LENGTH)
    write_atomically(chosen.out / "footprint.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
