"""A Gram that several layer files of a folder share, in a file beside them.

Matrices that are given the same inputs (query, key and value) have one Gram, which is most of a
layer file. `gram-DIGEST.safetensors` holds what goes with columns alone (`gram`, and where there
are any `gram_eval` and `input_mean`), metadata `format = maskgap-gram/1`. A layer file of format
`maskgap-layer/2` has all else, and in its metadata `gram_file`, the name of that file in the same
folder, and `gram_digest`, of the arrays there, which must agree. A name that is more than a name,
or a link that leads out of the folder, is refused.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.errors import InputError
from maskgap.instances.formats.tensors import read_stored
from maskgap.instances.layer import Layer
from maskgap.instances.layer_fields import LAYER_FIELDS, Axis

GRAM_FORMAT = "maskgap-gram/1"
SHARED_FORMAT = "maskgap-layer/2"

FILE, DIGEST = "gram_file", "gram_digest"
"""Keys of the metadata of a layer file whose Gram lies beside it."""

DIGITS = 16
"""Of the digest, in the file's name."""

Arrays = dict[str, NDArray[np.generic]]

SHARED = frozenset(f.name for f in LAYER_FIELDS if set(f.axes) == {Axis.COLUMNS} and f.real)


def shared_arrays(layer: Layer) -> Arrays:
    """What of a layer a Gram file holds."""
    return {name: array for name, array in layer.arrays().items() if name in SHARED}


def digest_of(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """sha256 of arrays by name, as little-endian float64."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f8").data)
    return digest.hexdigest()


def gram_name(digest: str) -> str:
    """The name of the file of arrays with a digest."""
    return f"gram-{digest[:DIGITS]}.safetensors"


def is_gram_name(name: str) -> bool:
    """Whether a file of a folder is called as Grams are, and is no layer."""
    return name.startswith("gram-")


def read_beside(path: Path, meta: Mapping[str, str]) -> tuple[Arrays, dict[str, str]]:
    """The arrays that a layer file refers to, and the names of their stored dtypes.

    path: of the layer file. meta: its metadata. Raises InputError naming both files.
    """
    name = meta.get(FILE, "")
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise InputError(f"{path}: metadata '{FILE}' must be the name of a file beside it")
    folder = Path(os.path.realpath(path)).parent
    beside = folder / name
    if not beside.exists():
        raise InputError(f"{path}: its Gram is in {name}, which is not beside it; copy both")
    if Path(os.path.realpath(beside)).parent != folder:
        raise InputError(f"{path}: its Gram file {name} is a link that leads out of the folder")
    tensors, about, dtypes = read_stored(beside)
    if about.get("format") != GRAM_FORMAT:
        found = about.get("format", "none")
        raise InputError(f"{beside}: metadata 'format' is {found}, expected {GRAM_FORMAT}")
    arrays = {key: array for key, array in tensors.items() if key in SHARED}
    if any(array.dtype.kind != "f" for array in arrays.values()):
        raise InputError(f"{beside}: expected real numbers in all tensors")
    if digest_of(arrays) != meta.get(DIGEST):
        raise InputError(f"{path}: {name} holds another Gram than the one that belongs to it")
    return arrays, dtypes
