"""Reading tensor files (safetensors) that anybody may have made.

A file is eight bytes n, n bytes of JSON that name each tensor's dtype, shape and place, and the
tensors' bytes. The sizes that the header states are compared with the file before anything is
allocated, so that a header which claims 10^12 entries, a file with holes, or one that is no regular
file (a pipe never ends) costs nothing but a line.
"""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from maskgap.instances.errors import InputError

LARGEST_HEADER = 100 << 20
"""Bytes of a header beyond which the format itself forbids a file."""

COPIES = 2
"""How often a file is in memory while it is read: its bytes, and the arrays made of them."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

Tensors = dict[str, NDArray[np.generic]]


ROUNDOFF = {"F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}
"""Unit roundoff of the dtypes of less precision than float64."""


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """All tensors and the metadata of a safetensors file; bfloat16 comes back as float32.

    Raises InputError as `read_stored` does.
    """
    tensors, meta, _ = read_stored(path)
    return tensors, meta


def read_stored(path: Path) -> tuple[Tensors, dict[str, str], dict[str, str]]:
    """The same, and the name of the dtype that each tensor is stored in (F64, BF16, ...).

    Raises InputError when the file is missing, no regular file, larger than the memory that is
    free, truncated or not safetensors.
    """
    try:
        raw = _bytes_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(raw)  # type: ignore[no-untyped-call]
        tensors = {name: _decode(**entry) for name, entry in entries}
        header = json.loads(raw[8 : 8 + _header_bytes(raw)])
        return tensors, _metadata(header), {name: entry["dtype"] for name, entry in entries}
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a complete safetensors file ({error}); write it again"
        ) from None


def require_regular(path: Path) -> None:
    """Raise InputError for what is there and no regular file: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        what = "a directory" if path.is_dir() else "no regular file"
        raise InputError(f"{path}: cannot be read: it is {what}")


def _bytes_of(path: Path) -> bytes:
    """The bytes of a regular file that fits into memory. Raises InputError, OSError."""
    # a pipe without a writer would block in open
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a directory; expected a safetensors file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is no regular file; copy what it gives into one first")
        if status.st_size < 8:
            raise InputError(f"{path}: not a complete safetensors file: {status.st_size} bytes")
        stated = _header_bytes(file.read(8))
        if stated > min(LARGEST_HEADER, status.st_size - 8):
            raise InputError(
                f"{path}: not a complete safetensors file: its header is said to have {stated} of "
                f"{status.st_size} bytes"
            )
        free = psutil.virtual_memory().available
        if COPIES * status.st_size > free:
            raise InputError(
                f"{path}: reading its {status.st_size / 2**30:.1f} GiB takes {COPIES} times as "
                f"much memory, and {free / 2**30:.1f} GiB are free"
            )
        file.seek(0)
        return file.read()


def _header_bytes(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


def _metadata(header: object) -> dict[str, str]:
    """The free keys of a header. Raises TypeError for anything but text."""
    found = header.get("__metadata__", {}) if isinstance(header, Mapping) else None
    if not isinstance(found, dict) or not all(
        isinstance(text, str) for pair in found.items() for text in pair
    ):
        raise TypeError("its metadata are not text")
    return dict(found)


def _decode(data: bytes, shape: list[int], dtype: str) -> NDArray[np.generic]:
    if dtype == "BF16":  # numpy has no bfloat16: it is the upper half of a float32
        upper = np.frombuffer(data, dtype="<u2").astype(np.uint32) << np.uint32(16)
        return upper.view(np.float32).reshape(shape)
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype} is not supported")
    array: NDArray[np.generic] = np.frombuffer(data, dtype=_DTYPES[dtype]).reshape(shape).copy()
    return array
