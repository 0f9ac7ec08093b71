"""Alterations of proof files that know their structure, drawn by a random generator, and signed.

A file is a dict of tensors and one of metadata. `signed` makes the digest fit, as anybody can.
"""

import hashlib
import json

import numpy as np
from safetensors.numpy import save

from tests.fuzz.structure import (
    cut_tree,
    more_dropped,
    more_triangles,
    no_functions,
    other_bound,
    other_head,
    other_kind,
    other_parts,
    other_question,
    other_subtrees,
    spliced,
    split_leaf,
)
from tests.fuzz.tensors import (
    added,
    exchanged,
    higher_multipliers,
    missing,
    noisy_numbers,
    of_another,
    other_dtype,
    other_shape,
    scaled_numbers,
    shuffled,
    special_numbers,
    whole_numbers,
)

MUTATIONS = (
    special_numbers, scaled_numbers, noisy_numbers, higher_multipliers, whole_numbers, shuffled,
    other_dtype, other_shape, missing, exchanged, added, of_another, spliced, other_head,
    other_bound, other_kind, other_parts, other_question, split_leaf, cut_tree, no_functions,
    more_triangles, more_dropped, other_subtrees,
)  # fmt: skip
FREQUENT = (
    special_numbers, scaled_numbers, noisy_numbers, higher_multipliers, whole_numbers, split_leaf,
    cut_tree, more_triangles, no_functions, more_dropped, other_subtrees,
)  # fmt: skip
"""Those after which a file may well be read and judged by its numbers."""


def signed(tensors, meta):
    """The metadata with a digest that fits the tensors and all else."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.data)
    return {**meta, "digest": digest.hexdigest()}


def file_bytes(tensors, meta):
    """The file of these tensors and metadata."""
    texts = {key: text.encode("utf-8", "replace").decode() for key, text in meta.items()}
    return save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata=texts)


def mutate(rng, tensors, meta, pool):
    """One to three mutations; their names."""
    names = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        among = FREQUENT if rng.random() < 0.5 else MUTATIONS
        mutation = among[int(rng.integers(len(among)))]
        mutation(rng, tensors, meta, pool)
        names.append(mutation.__name__)
    return names
