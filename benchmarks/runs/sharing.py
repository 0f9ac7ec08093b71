"""Large layers in memory that all processes of a run share.

A layer of 14336 columns has a Gram of 1.6 GB. Pickled to each run it would take its time and exist
several times at once. So its arrays, the scaled Gram of `Layer.gram_unit` among them, are written
once to an anonymous file in memory; what a run is sent is the file's descriptor, and it maps the
file. The pages are those of all others until a process writes to one, which copies that page for
itself alone. The file goes when the last process lets go of it, however that ends.
"""

import mmap
import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from multiprocessing import reduction
from typing import Any

import numpy as np

from maskgap.instances.layer import Layer

LEAST_BYTES = 8 << 20
"""Layers with a smaller Gram are sent as they are: a descriptor each would be too many."""

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class _Block:
    """Where the arrays lie in the file. places: offset and shape of each array by name.

    exponent: of `Layer.gram_unit`, whose matrix is the Gram itself where it is 0.
    """

    descriptor: int
    size: int
    places: Mapping[str, tuple[int, tuple[int, ...]]]
    exponent: int


_blocks: "weakref.WeakKeyDictionary[Layer, _Block]" = weakref.WeakKeyDictionary()

_NOTHING = np.empty((0, 0))


def share(layer: Layer) -> Layer:
    """The layer with its arrays in shared memory; itself when it is small or shared already."""
    if layer.gram.nbytes < LEAST_BYTES or layer in _blocks:
        return layer
    unit, exponent = layer.gram_unit
    arrays = {"weight": layer.weight, "gram": layer.gram}
    if layer.gram_eval is not None:
        arrays["gram_eval"] = layer.gram_eval
    if exponent:
        arrays["gram_unit"] = unit
    places: dict[str, tuple[int, tuple[int, ...]]] = {}
    size = 0
    for name, array in arrays.items():
        places[name] = (size, array.shape)
        size = -(-(size + array.nbytes) // ALIGNMENT) * ALIGNMENT
    block = _Block(_anonymous_file(), size, places, exponent)
    with open(block.descriptor, "wb", closefd=False) as file:
        file.truncate(size)
        for name, array in arrays.items():
            file.seek(places[name][0])
            file.write(np.ascontiguousarray(array, dtype=np.float64).data)
    shared = _mapped(block, bare(layer))
    weakref.finalize(shared, os.close, block.descriptor)
    return shared


def shared_bytes(layer: Layer) -> int:
    """Bytes of the layer that are mapped from a shared file, 0 when it is not shared."""
    block = _blocks.get(layer)
    return 0 if block is None else block.size


def bare(layer: Layer) -> Layer:
    """All of a layer but its matrices."""
    return replace(layer, weight=_NOTHING, gram=_NOTHING, gram_eval=None)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("maskgap-layer")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(block: _Block, bare: Layer) -> Layer:
    memory = mmap.mmap(block.descriptor, block.size, access=mmap.ACCESS_COPY)
    arrays = {
        name: np.frombuffer(memory, np.float64, prod(shape), offset).reshape(shape)
        for name, (offset, shape) in block.places.items()
    }
    weight, gram = arrays["weight"], arrays["gram"]
    unit = arrays.get("gram_unit", gram)
    layer = replace(bare, weight=weight, gram=gram, gram_eval=arrays.get("gram_eval"))
    layer.__dict__["gram_unit"] = (unit, block.exponent)  # where cached_property keeps its value
    _blocks[layer] = block
    return layer


def _reduce(layer: Layer) -> Any:
    block = _blocks.get(layer)
    if block is None:
        return layer.__reduce_ex__(4)
    sent = reduction.DupFd(block.descriptor)
    return _received, (sent, block.size, block.places, block.exponent, bare(layer))


def _received(
    sent: Any,
    size: int,
    places: Mapping[str, tuple[int, tuple[int, ...]]],
    exponent: int,
    bare: Layer,
) -> Layer:
    descriptor = sent.detach()
    try:
        return _mapped(_Block(descriptor, size, places, exponent), bare)
    finally:
        os.close(descriptor)  # the map stays


reduction.register(Layer, _reduce)
