"""Files that are none of ours, that claim much, never end, or take long: refused in words, soon."""

import contextlib
import json
import os
import tracemalloc

import numpy as np
import pytest

from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.hostile import STEEP, asked, of_file, row_of, tree
from tests.helpers.tiny import random_layer


def header_file(path, header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def claims(shape, dtype="F64", end=None):
    size = end if end is not None else 8 * int(np.prod(shape, dtype=object))
    return {"part0.u0": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


FILES = {
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(b"\x01"),
    "no header": lambda path: path.write_bytes(b"\xff" * 64),
    "text": lambda path: path.write_text("a proof"),
    "claims much": lambda path: header_file(path, claims([10**12])),
    "claims much of nothing": lambda path: header_file(path, claims([0, 10**18], end=0)),
    "claims more than integers": lambda path: header_file(path, claims([2**62, 4], end=16)),
    "claims less than nothing": lambda path: header_file(path, claims([-1], end=0)),
    "deep": lambda path: header_file(path, b"[" * 200_000),
    "deep object": lambda path: header_file(path, b'{"a":' * 100_000),
    "long header": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    "no layer, no format": lambda path: header_file(path, {"__metadata__": {}}),
    "metadata of numbers": lambda path: header_file(path, {"__metadata__": {"format": 1}}),
    "metadata no object": lambda path: header_file(path, {"__metadata__": []}),
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "holes": lambda path: sparse(path, 50 << 30),
    "link to itself": lambda path: path.symlink_to(path),
}  # fmt: skip


def sparse(path, size):
    header_file(path, claims([size // 8]))
    os.truncate(path, size)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("role", ["proof", "layer"])
def test_what_is_no_file_of_ours_is_refused_at_once(tmp_path, name, role):
    write_layer(tmp_path / "layer.safetensors", STEEP)
    path = tmp_path / "it.safetensors"
    FILES[name](path)
    tracemalloc.start()
    try:
        if role == "layer":
            with pytest.raises(InputError):
                read_layer(path)
        else:
            with contextlib.suppress(InputError):  # of a path that leads nowhere
                assert of_file(tmp_path, path, "50%")[0] == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def sized(leaves, columns, pattern):
    """A tree that splits the first columns wholly, and names one point everywhere."""
    depth = leaves.bit_length() - 1
    branch = []

    def grow(level):
        if level == depth:
            branch.append(-1)
            return
        branch.append(level)
        grow(level + 1)
        grow(level + 1)

    grow(0)
    rng = np.random.default_rng(0)
    plain = random_layer(7, columns)
    layer = Layer.from_arrays(
        plain.weight, plain.gram, column_cost=rng.integers(100, 3000, columns)
    )
    part = row_of(layer, pattern)
    function = ConvexFunction(np.full(columns, -1.0), np.zeros((1, columns)))
    leaf = Leaves(
        (function,),
        np.array(branch, np.int32),
        np.zeros(leaves, np.int16),
        np.zeros(leaves, np.int32),
        np.full((1, columns), 0.5, np.float32),
    )
    return layer, tree(part, leaf)


@pytest.mark.parametrize("pattern", ["50%;cost=45%", "50%;cap=5/8+4"])
def test_a_check_that_takes_longer_than_asked_is_ended_in_words(tmp_path, pattern):
    layer, proof = sized(1 << 13, 64, pattern)
    code, lines = asked(tmp_path, layer, pattern, [proof], limit_s=0.2)
    assert code == 1
    assert "0.2 s" in lines[-1]["reason"]


@pytest.mark.parametrize("pattern", ["keep=16", "2:4", "layer:50%", "50%;block=2", "4:8^T"])
def test_lists_of_too_many_masks_are_refused(tmp_path, pattern):
    layer = random_layer(8, 48, rows=8)
    problem = Problem.of(layer, parse_pattern(pattern))
    proofs = [
        PartProof(part.row, part.digest, 0.0, None, Enumeration(), height=part.height)
        for part in problem
    ]
    assert asked(tmp_path, layer, pattern, proofs, limit_s=2.0)[0] == 1
