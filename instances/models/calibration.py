"""Calibration data: texts or tensors, split into two disjoint halves, made into batches.

A causal language model gets windows of equal length, drawn at random over all texts of a half
(`instances.models.texts`) and without overlap, each beginning with the special tokens that
sequences begin with (`instances.models.tokens`): of one half to calibrate with, of the other for
perplexity. For any other model each half is tokenised in order into sequences of at most so many
tokens until there are enough. Sequences of equal length run together, so no padding is ever needed.

Tensors come from `.npy` or `.safetensors` files, samples on the first axis, and are arguments of
the model's forward by their names (`instances.models.inputs`). The first half of the samples
calibrates, the second half is held out.
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

from maskgap.instances.errors import InputError
from maskgap.instances.formats.tensors import read_tensors, require_regular
from maskgap.instances.models.inputs import expect_token_ids, named_inputs
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.named_texts import is_named
from maskgap.instances.models.texts import file_texts, split_texts, standard_library_docstrings
from maskgap.instances.models.tokens import PROBE, Encoder

Batch = Mapping[str, Any] | torch.Tensor
"""Keyword arguments of a forward, or its one positional argument."""

BATCH = 8
BATCH_TOKENS = 8192
"""A batch has at most so many sequences, and tokens unless one sequence has more."""

DIGEST = "calibration_eval_digest"

TENSOR_SUFFIXES = (".npy", ".safetensors")


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of text: how many, of how many tokens, and the special tokens that begin each.

    stride: tokens of text in each. No text is in two windows, so that is also how far it is from
    the beginning of a window to that of the next, where they follow each other.
    """

    count: int
    tokens: int
    begin: tuple[str, ...]
    stride: int

    def __str__(self) -> str:
        begun = f"each beginning with {' '.join(self.begin)}" if self.begin else "no special token"
        return f"{self.count} of {self.tokens} tokens, stride {self.stride}, {begun}"


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
    encoder = _encoder(model, sequence_length)
    texts, source = _texts(files)
    cut = encoder.windows if model.causal else encoder.sequences
    halves = [cut(half, samples, sequence_length) for half in split_texts(texts)]
    if not all(halves):
        raise InputError(f"calibration text {source} is too short: one of its halves has no token")
    encoder.expect_known(f"calibration text {source}")
    meta = {"calibration": source, "sequence_length": str(sequence_length)}
    for half, suffix in zip(halves, ("", "_eval"), strict=True):
        meta[f"samples{suffix}"] = str(len(half))
        meta[f"calibration{suffix}_digest"] = hashlib.sha256(json.dumps(half).encode()).hexdigest()
    return Calibration(_token_batches(halves[0]), _token_batches(halves[1]), meta)


def text_batches(
    model: LoadedModel, texts: Sequence[str], samples: int, sequence_length: int
) -> list[Batch]:
    """Texts as batches for a model, none of them held out. Raises InputError.

    samples: sequences, at most. sequence_length: tokens of each, at most.
    """
    _expect_amounts(samples, sequence_length)
    encoder = _encoder(model, sequence_length)
    cut = encoder.windows if model.causal else encoder.sequences
    found = cut(texts, samples, sequence_length)
    if not found:
        raise InputError("the calibration texts are too short: they have no token")
    encoder.expect_known("the calibration texts")
    return _token_batches(found)


def load_windows(
    model: LoadedModel, files: Sequence[Path], samples: int, sequence_length: int
) -> tuple[list[Batch], Windows | None, dict[str, str]]:
    """Windows of the held-out half for a language model, what they are, and metadata.

    samples: windows, at most. sequence_length: tokens of each; where the text has fewer, there is
    one shorter window. A tensor file gives its held-out half as it is, which is no windows: None.
    Raises InputError.
    """
    tensors = _tensor_file(model, files, samples, sequence_length)
    if tensors is not None:
        data = _from_tensors(model, tensors, samples)
        meta = {key: value for key, value in data.meta.items() if key in ("calibration", DIGEST)}
        return data.held_out, None, meta
    encoder = _encoder(model, sequence_length)
    texts, source = _texts(files)
    windows = encoder.windows(split_texts(texts)[1], samples, sequence_length)
    if not windows:
        raise InputError(
            f"text {source} is too short: windows of {sequence_length} tokens of its held-out half "
            "have no token to predict"
        )
    encoder.expect_known(f"text {source}")
    length = len(windows[0])
    digest = hashlib.sha256(json.dumps(windows).encode()).hexdigest()
    meta = {"calibration": source, "sequence_length": str(length), DIGEST: digest}
    begins = tuple(encoder.names(encoder.prefix))
    told = Windows(len(windows), length, begins, length - len(begins))
    return _token_batches(windows), told, meta


def _tensor_file(
    model: LoadedModel, files: Sequence[Path], samples: int, sequence_length: int
) -> Path | None:
    """The tensor file among the calibration files; None for texts, which the model can take.

    Raises InputError for what cannot be meant.
    """
    _expect_amounts(samples, sequence_length)
    tensors = [path for path in files if path.suffix.lower() in TENSOR_SUFFIXES]
    if len(files) > 1 and tensors:
        raise InputError(
            f"calibration by tensors takes one file, but there are {len(files)}, "
            f"{tensors[0]} among them"
        )
    return tensors[0] if tensors else None


def _expect_amounts(samples: int, sequence_length: int) -> None:
    if samples < 1 or sequence_length < 1:
        raise InputError(
            f"samples ({samples}) and sequence length ({sequence_length}) must be at least 1"
        )


def _encoder(model: LoadedModel, sequence_length: int) -> Encoder:
    """The tokenizer for sequences of a length. Raises InputError when it or the model has none."""
    encoder = Encoder(model)
    if model.max_length is not None and sequence_length > model.max_length:
        raise InputError(
            f"{model.name} takes sequences of at most {model.max_length} tokens, "
            f"not {sequence_length}"
        )
    if model.pretrained and not model.causal:
        expect_token_ids(model, encoder.first(PROBE, 1))
    return encoder


def _texts(files: Sequence[Path]) -> tuple[list[str], str]:
    """The texts to use, and what they are."""
    if files:
        told = [str(path) if is_named(path) else path.name for path in files]
        return file_texts(files), ", ".join(told)
    source = f"docstrings of the standard library of Python {platform.python_version()}"
    return standard_library_docstrings(), source


def _token_batches(sequences: list[list[int]]) -> list[Batch]:
    by_length: dict[int, list[list[int]]] = {}
    for sequence in sequences:
        by_length.setdefault(len(sequence), []).append(sequence)
    return [
        {"input_ids": torch.tensor(group[start : start + count])}
        for length, group in sorted(by_length.items())
        for count in [max(1, min(BATCH, BATCH_TOKENS // length))]
        for start in range(0, len(group), count)
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
    tensors = {name: _tensor(model, name, array) for name, array in arrays.items()}
    named = named_inputs(model, tensors, str(path))
    halves = []
    for start, stop, suffix in ((0, middle, ""), (middle, count, "_eval")):
        part = {name: array[start : min(stop, start + samples)] for name, array in arrays.items()}
        digest = hashlib.sha256()
        for name, array in sorted(part.items()):
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        count_used = len(next(iter(part.values())))
        meta[f"samples{suffix}"] = str(count_used)
        meta[f"calibration{suffix}_digest"] = digest.hexdigest()
        taken = {name: tensor[start : start + count_used] for name, tensor in named.items()}
        halves.append(list(_tensor_batches(taken)))
    return Calibration(halves[0], halves[1], meta)


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    if path.suffix.lower() == ".safetensors":
        arrays = read_tensors(path)[0]
    else:
        try:
            require_regular(path)
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


def _tensor_batches(tensors: Mapping[str, torch.Tensor]) -> Iterator[Batch]:
    """Batches by keyword, or of one tensor by position (`instances.models.inputs`)."""
    for start in range(0, len(next(iter(tensors.values()))), BATCH):
        part = {name: tensor[start : start + BATCH] for name, tensor in tensors.items()}
        yield part.get("", part)


def _tensor(model: LoadedModel, name: str, array: NDArray[np.generic]) -> torch.Tensor:
    """A tensor in the dtype that the model takes; what is true or false stays so."""
    tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
    if tensor.dtype is torch.bool and name != "attention_mask":
        return tensor
    return tensor.to(model.dtype if tensor.is_floating_point() else torch.int64)
