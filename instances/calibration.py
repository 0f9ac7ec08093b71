"""Calibration data: texts or tensors, split into two disjoint halves, made into batches.

Each half of the texts (`instances.texts`) is tokenised in order into sequences of at most so many
tokens until there are enough. Sequences of equal length run together, so no padding is ever needed.

For perplexity the held-out half is one stream: its texts in order, joined by a blank line and
tokenised without special tokens, cut into windows of equal length that do not overlap.

Tensors come from `.npy` or `.safetensors` files, samples on the first axis: integers are token ids,
floats are inputs. The first half of the samples calibrates, the second half is held out.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from instances.errors import InputError
from instances.models import LoadedModel
from instances.tensors import read_tensors
from instances.texts import file_texts, split_texts, standard_library_docstrings

Batch = Mapping[str, Any] | torch.Tensor
"""Keyword arguments of a forward, or its one positional argument."""

BATCH = 8
DIGEST = "calibration_eval_digest"

TENSOR_SUFFIXES = (".npy", ".safetensors")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Batches for the Gram and for the held-out Gram, with metadata keys that say what they are."""

    batches: list[Batch]
    held_out: list[Batch]
    meta: dict[str, str]


def load_calibration(
    model: LoadedModel, files: Sequence[Path], samples: int, sequence_length: int
) -> Calibration:
    """Calibration for a model, from files or from the default texts.

    samples: of each half, at most; as many as there are when there are fewer (the metadata keys
    `samples` and `samples_eval` have the number used). sequence_length: tokens of a text's
    sequence, at most; tensors keep their own length. Raises InputError for every bad input.
    """
    tensors = _tensor_file(model, files, samples, sequence_length)
    if tensors is not None:
        return _from_tensors(model, tensors, samples)
    texts, source = _texts(files)
    halves = [
        _sequences(model.tokenizer, half, samples, sequence_length) for half in split_texts(texts)
    ]
    if not all(halves):
        raise InputError(f"calibration text {source} is too short: one of its halves has no token")
    meta = {"calibration": source, "sequence_length": str(sequence_length)}
    for half, suffix in zip(halves, ("", "_eval"), strict=True):
        meta[f"samples{suffix}"] = str(len(half))
        meta[f"calibration{suffix}_digest"] = hashlib.sha256(json.dumps(half).encode()).hexdigest()
    return Calibration(_token_batches(halves[0]), _token_batches(halves[1]), meta)


def load_windows(
    model: LoadedModel, files: Sequence[Path], samples: int, sequence_length: int
) -> tuple[list[Batch], dict[str, str]]:
    """Windows of the held-out half for a language model, and metadata that says what they are.

    samples: windows, at most. sequence_length: tokens of each; where the text has fewer, there is
    one shorter window. A tensor file gives its held-out half as it is. Raises InputError.
    """
    tensors = _tensor_file(model, files, samples, sequence_length)
    if tensors is not None:
        data = _from_tensors(model, tensors, samples)
        meta = {key: value for key, value in data.meta.items() if key in ("calibration", DIGEST)}
        return data.held_out, meta
    texts, source = _texts(files)
    held_out = split_texts(texts)[1]
    stream: list[int] = []
    tokenizer: Any = model.tokenizer
    for text in held_out:
        encoded = tokenizer(f"{text}\n\n", add_special_tokens=False, verbose=False)
        stream += encoded["input_ids"]
        if len(stream) >= samples * sequence_length:
            break
    length = min(sequence_length, len(stream))
    if length < 2:
        raise InputError(f"text {source} is too short: its held-out half has {length} tokens")
    starts = range(0, min(samples * length, len(stream) - length + 1), length)
    windows = [stream[start : start + length] for start in starts]
    digest = hashlib.sha256(json.dumps(windows).encode()).hexdigest()
    meta = {"calibration": source, "sequence_length": str(length), DIGEST: digest}
    return _token_batches(windows), meta


def _tensor_file(
    model: LoadedModel, files: Sequence[Path], samples: int, sequence_length: int
) -> Path | None:
    """The tensor file among the calibration files; None for texts, which the model can take.

    Raises InputError for what cannot be meant.
    """
    if samples < 1 or sequence_length < 1:
        raise InputError(
            f"samples ({samples}) and sequence length ({sequence_length}) must be at least 1"
        )
    tensors = [path for path in files if path.suffix in TENSOR_SUFFIXES]
    if len(files) > 1 and tensors:
        raise InputError(
            f"calibration by tensors takes one file, but there are {len(files)}, "
            f"{tensors[0]} among them"
        )
    if tensors:
        return tensors[0]
    if model.tokenizer is None:
        raise InputError(
            f"{model.name}: it has no tokenizer, so it needs calibration tensors "
            f"({' or '.join(TENSOR_SUFFIXES)}), not texts"
        )
    if model.max_length is not None and sequence_length > model.max_length:
        raise InputError(
            f"{model.name} takes sequences of at most {model.max_length} tokens, "
            f"not {sequence_length}"
        )
    return None


def _texts(files: Sequence[Path]) -> tuple[list[str], str]:
    """The texts to use, and what they are."""
    if files:
        return file_texts(files), ", ".join(path.name for path in files)
    source = f"docstrings of the standard library of Python {platform.python_version()}"
    return standard_library_docstrings(), source


def _sequences(tokenizer: Any, texts: list[str], samples: int, length: int) -> list[list[int]]:
    """Token ids of the first `samples` sequences; a long text gives several, none overlapping."""
    found: list[list[int]] = []
    for text in filter(str.strip, texts):
        encoded = tokenizer(
            text, truncation=True, max_length=length, return_overflowing_tokens=True
        )["input_ids"]
        # Tokenizers written in Python return one sequence and put the rest elsewhere.
        windows = encoded if encoded and isinstance(encoded[0], list) else [encoded]
        found += [window for window in windows if window]
        if len(found) >= samples:
            break
    return found[:samples]


def _token_batches(sequences: list[list[int]]) -> list[Batch]:
    by_length: dict[int, list[list[int]]] = {}
    for sequence in sequences:
        by_length.setdefault(len(sequence), []).append(sequence)
    return [
        {"input_ids": torch.tensor(group[start : start + BATCH])}
        for _, group in sorted(by_length.items())
        for start in range(0, len(group), BATCH)
    ]


def _from_tensors(model: LoadedModel, path: Path, samples: int) -> Calibration:
    arrays = _read_arrays(path)
    rows = {len(array) for array in arrays.values()}
    if len(rows) != 1 or min(rows) < 2:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(
            f"{path}: expected at least two samples on the first axis of each tensor, the same "
            f"number in all, but found {shapes}"
        )
    count = rows.pop()
    middle = (count + 1) // 2
    meta = {"calibration": path.name}
    halves = []
    for start, stop, suffix in ((0, middle, ""), (middle, count, "_eval")):
        part = {name: array[start : min(stop, start + samples)] for name, array in arrays.items()}
        digest = hashlib.sha256()
        for name, array in sorted(part.items()):
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        meta[f"samples{suffix}"] = str(len(next(iter(part.values()))))
        meta[f"calibration{suffix}_digest"] = digest.hexdigest()
        halves.append(list(_tensor_batches(model, part)))
    return Calibration(halves[0], halves[1], meta)


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    if path.suffix == ".safetensors":
        arrays = read_tensors(path)[0]
    else:
        try:
            arrays = {"": np.load(path, allow_pickle=False)}
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be read as a .npy array: {reason}") from None
    for name, array in arrays.items():
        if array.ndim < 1 or array.dtype.kind not in "fiub":
            raise InputError(
                f"{path}: tensor '{name}' is {array.dtype} {array.shape}, expected numbers with "
                "samples on the first axis"
            )
    if not arrays:
        raise InputError(f"{path}: holds no tensor")
    return arrays


def _tensor_batches(
    model: LoadedModel, arrays: Mapping[str, NDArray[np.generic]]
) -> Iterator[Batch]:
    """Batches by keyword; one tensor alone is the model's first argument, or transformers' own."""
    tensors = {}
    for name, array in arrays.items():
        tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
        kind = model.dtype if tensor.is_floating_point() else torch.int64
        tensors[name] = tensor.to(kind)
    alone = len(tensors) == 1
    if alone and model.pretrained:
        only = next(iter(tensors.values()))
        tensors = {"inputs_embeds" if only.is_floating_point() else "input_ids": only}
        alone = False
    for start in range(0, len(next(iter(tensors.values()))), BATCH):
        part = {name: tensor[start : start + BATCH] for name, tensor in tensors.items()}
        yield next(iter(part.values())) if alone else part
