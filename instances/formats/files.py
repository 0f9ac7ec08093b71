"""Layer and mask files: safetensors, read eagerly, checked whole, written atomically.

Layer file: a tensor for each array of `instances.layer_fields` that the layer has, in place of
`gram` perhaps its factor (`instances.formats.factor`); metadata `format = maskgap-layer/1` and free
keys, of which `tokens` (a count) must be there with `input_mean`; or `maskgap-layer/2`, whose Gram
lies in a file beside it (`instances.formats.gram_file`). The digest of a layer is that of weight
and gram. Mask file: bool `mask` (d_out, d_in), True = kept, and under the objective refit `weight`
(d_out, d_in), the re-optimised weights, 0 where pruned; metadata `format = maskgap-mask/1`,
pattern, objective, `ridge` of refit (a number that reads back exactly), solver, digest of the layer
and of its weights alone (`weight_digest`) and, where only some rows were solved, `rows = A:B` (the
rows outside are all kept and as they were). Any float dtype is read, bfloat16 too.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from maskgap.instances.arrays import Kept, Matrix, pruned_of
from maskgap.instances.errors import InputError
from maskgap.instances.formats.factor import FACTOR, UNITS, factored, gram_of
from maskgap.instances.formats.gram_file import (
    DIGEST,
    FILE,
    GRAM_FORMAT,
    SHARED,
    SHARED_FORMAT,
    gram_name,
    read_beside,
    shared_arrays,
)
from maskgap.instances.formats.outputs import stored_kind
from maskgap.instances.formats.tensors import ROUNDOFF, read_stored, read_tensors
from maskgap.instances.formats.unfinished import holding, unfinished_name
from maskgap.instances.layer import Layer, array_digest
from maskgap.instances.layer_fields import LAYER_FIELDS
from maskgap.instances.objective import MASK as MASK_LOSS
from maskgap.instances.objective import ObjectiveSpec

LAYER_FORMAT = "maskgap-layer/1"
MASK_FORMAT = "maskgap-mask/1"

LAYER_FORMATS = (LAYER_FORMAT, SHARED_FORMAT)

LAYER = stored_kind("layer file", *LAYER_FORMATS)
GRAM = stored_kind("file of a Gram", GRAM_FORMAT)
MASK = stored_kind("mask file", MASK_FORMAT)


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[np.generic]], meta: Mapping[str, str]
) -> None:
    """Write a safetensors file so that a reader sees the old file or the whole new one.

    The same contents are the same bytes.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_atomically(path, _in_order(save(contiguous, metadata=dict(meta))))


def _in_order(data: bytes) -> bytes:
    """The same file with its metadata sorted, which `safetensors` writes in an order of chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    meta = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items()))}
    text = json.dumps(meta | header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by one rename, after its data have reached the disk. Raises InputError.

    A link is written through. A new file has the permissions that the umask leaves, a replaced one
    keeps its own; a write that fails or is interrupted leaves no file behind.
    """
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(unfinished_name("part"))
        with holding(target.parent):
            _write_and_rename(part, target, data)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written: {reason}") from None


def _write_and_rename(part: Path, target: Path, data: bytes) -> None:
    # not tempfile: it gives every file the permissions 0600, whatever the umask says
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def layer_path(folder: Path, name: str) -> Path:
    """The file of a layer in a folder; a slash in a name must not lead out of it."""
    return folder / f"{name.replace('/', '%2F')}.safetensors"


def mask_path(folder: Path, name: str) -> Path:
    """The file of a layer's mask in a folder."""
    return layer_path(folder, name).with_suffix(".mask.safetensors")


def read_layer(path: Path) -> Layer:
    """Read and validate a layer file. Raises InputError naming the file and what was expected."""
    tensors, meta, dtypes = read_stored(path)
    if meta.get("format") == SHARED_FORMAT:
        beside, of_beside = read_beside(path, meta)
        tensors, dtypes = {**tensors, **beside}, {**dtypes, **of_beside}
        meta = {key: text for key, text in meta.items() if key not in (FILE, DIGEST)}
    else:
        _expect_format(path, meta, LAYER_FORMAT)
    if FACTOR in tensors and "gram" not in tensors:
        tensors["gram"] = gram_of(tensors[FACTOR], tensors.get(UNITS), str(path))
    required = [field.name for field in LAYER_FIELDS if not field.optional]
    for name in required:
        if name not in tensors:
            raise InputError(
                f"{path}: tensor '{name}' is missing; a layer file holds {' and '.join(required)}"
            )
    return Layer.of(tensors, meta, str(path), ROUNDOFF.get(dtypes.get("gram", "")))


def write_factored(path: Path, layer: Layer) -> None:
    """Write a layer file that has the Gram as a factor of whole numbers, which rounds it.

    Raises InputError for a Gram that has none (`instances.formats.factor`).
    """
    tensors = {name: array for name, array in layer.arrays().items() if name != "gram"}
    meta = {**layer.meta, "format": LAYER_FORMAT}
    write_tensors(path, {**tensors, **factored(layer.gram)}, meta)


def write_layer(
    path: Path,
    layer: Layer,
    dtype: type[np.floating] = np.float64,
    *,
    weight: type[np.floating] | None = None,
) -> None:
    """Write a layer file; `dtype` is the stored precision of all real tensors.

    weight: that of the weight alone; None: the same.
    """
    real = {field.name for field in LAYER_FIELDS if field.real}
    tensors = {
        name: array.astype(dtype) if name in real else array
        for name, array in layer.arrays().items()
    }
    if weight is not None:
        tensors["weight"] = layer.weight.astype(weight)
    write_tensors(path, tensors, {**layer.meta, "format": LAYER_FORMAT})


def write_sharing_layer(path: Path, layer: Layer, digest: str, dtype: type[np.floating]) -> None:
    """Write a layer file whose Gram, of a digest, is in a file beside it (`write_gram`).

    dtype: of the stored weight, one that holds it.
    """
    tensors = {name: array for name, array in layer.arrays().items() if name not in SHARED}
    tensors["weight"] = layer.weight.astype(dtype)
    about = {"format": SHARED_FORMAT, FILE: gram_name(digest), DIGEST: digest}
    write_tensors(path, tensors, {**layer.meta, **about})


def write_gram(path: Path, layer: Layer) -> None:
    """Write the file of a layer's Gram, which several layers share."""
    write_tensors(path, shared_arrays(layer), {"format": GRAM_FORMAT})


def read_mask(path: Path, layer: Layer) -> Kept:
    """The mask of a mask file, as `read_mask_file` has it."""
    return read_mask_file(path, layer).mask


@dataclass(frozen=True, eq=False)
class MaskFile:
    """What a mask file holds. mask: (d_out, d_in), True = kept.

    weights: (d_out, d_in) float64, what became of the weights that stay, 0 elsewhere; None where
    they are as they were. meta: its metadata.
    """

    mask: Kept
    weights: Matrix | None
    meta: Mapping[str, str]


def read_mask_file(path: Path, layer: Layer) -> MaskFile:
    """A mask file, checked to belong to the layer.

    Raises InputError when a shape, a dtype or the layer's digest differs, and for weights that are
    not finite or not 0 where the mask prunes. Whether it meets a pattern is for `Problem.of` to
    say.
    """
    tensors, meta = read_tensors(path)
    _expect_format(path, meta, MASK_FORMAT)
    found = mask_tensors(path, tensors, layer.weight.shape)
    if meta.get("digest", layer.digest) != layer.digest:
        raise InputError(f"{path}: this mask belongs to another layer than {layer.name}")
    return MaskFile(*found, meta)


def mask_tensors(
    path: Path, tensors: Mapping[str, NDArray[np.generic]], shape: tuple[int, ...]
) -> tuple[Kept, Matrix | None]:
    """Mask and weights of the tensors of a mask file. Raises InputError."""
    mask, weight = tensors.get("mask"), tensors.get("weight")
    if mask is None or mask.dtype != np.bool_ or mask.shape != shape:
        found = "none" if mask is None else f"{mask.dtype} {mask.shape}"
        raise InputError(f"{path}: expected a bool tensor 'mask' of shape {shape}, found {found}")
    kept = Kept(mask.astype(np.bool_))
    if weight is None:
        return kept, None
    if weight.dtype.kind != "f" or weight.shape != shape:
        raise InputError(
            f"{path}: expected a real tensor 'weight' of shape {shape}, found {weight.dtype} "
            f"{weight.shape}"
        )
    values: Matrix = weight.astype(np.float64)
    if not bool(np.isfinite(values).all()):
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InputError(f"{path}: weight row {row}, column {column} is {values[row, column]}")
    beside = pruned_of(kept) & (values != 0.0)
    if bool(beside.any()):
        row, column = (int(i) for i in np.argwhere(beside)[0])
        raise InputError(
            f"{path}: weight row {row}, column {column} is {values[row, column]:g}, and the mask "
            "prunes it: expected 0"
        )
    return kept, values


def write_mask(
    path: Path,
    mask: Kept,
    layer: Layer,
    pattern: str,
    solver: str,
    *,
    rows: range,
    objective: ObjectiveSpec = MASK_LOSS,
    weights: Matrix | None = None,
) -> None:
    """Write a mask file for a layer, of which the half-open range `rows` was solved.

    weights: (d_out, d_in), under refit, 0 where pruned; None where those that stay do not change.
    """
    meta = {
        "format": MASK_FORMAT,
        "pattern": pattern,
        "objective": str(objective.name),
        "solver": solver,
        "digest": layer.digest,
        "weight_digest": array_digest(layer.weight),
    }
    if objective.refits:
        meta["ridge"] = repr(objective.ridge)
    if len(rows) < layer.d_out:
        meta["rows"] = f"{rows.start}:{rows.stop}"
    tensors: dict[str, NDArray[np.generic]] = {"mask": mask}
    if weights is not None:
        tensors["weight"] = weights
    write_tensors(path, tensors, meta)


def _expect_format(path: Path, meta: Mapping[str, str], wanted: str) -> None:
    if meta.get("format") != wanted:
        found = meta.get("format", "none")
        raise InputError(f"{path}: metadata 'format' is {found}, expected {wanted}")
