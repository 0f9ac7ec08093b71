"""The problem that a caller means by arrays, and layers by their files or names."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from maskgap.benchmarks.verify.objective import require_weights
from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.conversion import as_array, as_mask
from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.formats.outputs import try_file
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK, ObjectiveSpec
from maskgap.instances.problem import Problem
from maskgap.instances.sources import shipped


class LayerExtras(TypedDict, total=False):
    """What a layer may have beside weight and Gram, with the meaning that `Layer` gives it.

    gram_eval: (d_in, d_in). input_mean: (d_in,). column_cost: (d_in,) whole numbers. forced:
    (d_out, d_in), 1 = kept, -1 = pruned, 0 = either. Each is absent where it is None.
    """

    gram_eval: ArrayLike | None
    meta: Mapping[str, str] | None
    name: str
    input_mean: ArrayLike | None
    column_cost: ArrayLike | None
    forced: ArrayLike | None
    gram_roundoff: float | None


def problem_of(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike | None = None,
    objective: ObjectiveSpec = MASK,
    **more: Unpack[LayerExtras],
) -> Problem:
    """All rows of a layer of arrays under a pattern, from a mask (True = kept) if there is one.

    objective: what is minimised. Raises InputError for bad arrays, a bad pattern, and a mask that
    does not meet it.
    """
    layer = Layer.from_arrays(weight, gram, **more)
    start = None if mask is None else as_mask(mask, layer.weight.shape)
    return Problem.of(layer, parse_pattern(pattern), None, start, objective)


def weights_of(problem: Problem, weights: ArrayLike) -> tuple[Kept, Matrix]:
    """The start masks of all rows, and weights (rows, d_in) that go with them.

    Raises InputError.
    """
    kept = problem.start
    if not problem.objective.refits or kept is None:
        raise InputError("weights are re-optimised under objective refit, for a mask: give both")
    raw = as_array(weights, "weights")
    if raw.dtype.kind not in "fiu":
        raise InputError(f"weights must hold real numbers, but their dtype is {raw.dtype}")
    values: Matrix = raw.astype(np.float64)
    require_weights(problem.layer.name, kept, values)
    return kept, values


def read_layer(file: str | PathLike[str]) -> Layer:
    """The layer of a file, or the shipped layer of a name (`maskgap instances` lists them).

    Raises InputError naming the file and what was expected.
    """
    return files.read_layer(shipped.find(Path(file)))


def write_layer(
    file: str | PathLike[str], layer: Layer, *, dtype: type[np.floating] = np.float64
) -> None:
    """Write a layer file, which `maskgap solve`, `bound` and all other commands take.

    dtype: stored precision of the real tensors. A layer file that is there is replaced; raises
    InputError when the file is of another kind or cannot be written.
    """
    files.write_layer(try_file(Path(file), files.LAYER), layer, dtype)
