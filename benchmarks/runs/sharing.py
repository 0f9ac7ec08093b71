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

UNIT = "gram_unit"
"""The name of the scaled Gram in the file, beside those of the layer's own arrays."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Block:
    """Where the arrays lie in the file, by name.

    exponent: of `Layer.gram_unit`, whose matrix is the Gram itself where it is 0. digest: of the
    Gram, which takes a while too.
    """

    descriptor: int
    size: int
    places: Mapping[str, _Place]
    exponent: int
    digest: str


_blocks: "weakref.WeakKeyDictionary[Layer, _Block]" = weakref.WeakKeyDictionary()


def share(layer: Layer) -> Layer:
    """The layer with its arrays in shared memory; itself when it is small or shared already."""
    if layer.gram.nbytes < LEAST_BYTES or layer in _blocks:
        return layer
    unit, exponent = layer.gram_unit
    arrays = layer.arrays()
    if exponent:
        arrays[UNIT] = unit
    places: dict[str, _Place] = {}
    size = 0
    for name, array in arrays.items():
        places[name] = _Place(size, array.shape, array.dtype)
        size = -(-(size + array.nbytes) // ALIGNMENT) * ALIGNMENT
    block = _Block(_anonymous_file(), size, places, exponent, layer.gram_digest)
    with open(block.descriptor, "wb", closefd=False) as file:
        file.truncate(size)
        for name, array in arrays.items():
            file.seek(places[name].offset)
            file.write(np.ascontiguousarray(array).data)
    shared = _mapped(block, bare(layer))
    weakref.finalize(shared, os.close, block.descriptor)
    return shared


def shared_bytes(layer: Layer) -> int:
    """Bytes of the layer that are mapped from a shared file, 0 when it is not shared."""
    block = _blocks.get(layer)
    return 0 if block is None else block.size


def bare(layer: Layer) -> Layer:
    """All of a layer but its arrays."""
    return layer.with_arrays({})


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("maskgap-layer")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(block: _Block, bare: Layer) -> Layer:
    memory = mmap.mmap(block.descriptor, block.size, access=mmap.ACCESS_COPY)
    arrays = {
        name: np.frombuffer(memory, at.dtype, prod(at.shape), at.offset).reshape(at.shape)
        for name, at in block.places.items()
    }
    layer = bare.with_arrays(arrays)
    unit = arrays.get(UNIT, layer.gram)
    layer.__dict__["gram_unit"] = (unit, block.exponent)  # where cached_property keeps its value
    layer.__dict__["gram_digest"] = block.digest
    _blocks[layer] = block
    return layer


def _reduce(layer: Layer) -> Any:
    block = _blocks.get(layer)
    if block is None:
        return layer.__reduce_ex__(4)
    sent = reduction.DupFd(block.descriptor)
    return _received, (sent, replace(block, descriptor=-1), bare(layer))


def _received(sent: Any, block: _Block, bare: Layer) -> Layer:
    descriptor = sent.detach()
    try:
        return _mapped(replace(block, descriptor=descriptor), bare)
    finally:
        os.close(descriptor)  # the map stays


reduction.register(Layer, _reduce)
