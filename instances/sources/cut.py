"""Blocks of layers: some rows, some columns, as a layer of their own.

Columns S of a layer with weight W and Gram G make the layer W[R, S], G[S, S]: what pruning the rows
R costs when every column outside S is kept; every other array is cut along its axes too
(`instances.layer_fields`). So a block of a real layer is a real problem of a smaller size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.layer_fields import LAYER_FIELDS


def cut(layer: Layer, rows: Sequence[int], columns: Sequence[int], name: str) -> Layer:
    """The block of a layer, with the numbers of its rows and columns in the metadata.

    rows, columns: distinct 0-based numbers, in the order they are to have. Raises InputError for
    numbers outside the layer or repeated.
    """
    for what, chosen, size in (("rows", rows, layer.d_out), ("columns", columns, layer.d_in)):
        if not chosen or len(set(chosen)) < len(chosen):
            raise InputError(f"{name}: the {what} of a block must be distinct and at least one")
        if min(chosen) < 0 or max(chosen) >= size:
            raise InputError(
                f"{name}: {what} {min(chosen)} to {max(chosen)} are not within the {size} {what} "
                f"of {layer.name}"
            )
    meta = {
        **layer.meta,
        "rows": " ".join(map(str, rows)),
        "columns": " ".join(map(str, columns)),
        "cut_from": layer.digest,
    }
    whole = layer.arrays()
    arrays = {
        field.name: field.cut(whole[field.name], rows, columns)
        for field in LAYER_FIELDS
        if field.name in whole
    }
    return Layer.of(arrays, meta, name, layer.gram_roundoff)


@dataclass(frozen=True, slots=True)
class Block:
    """A block to cut: which layer, how many rows and columns, and the seed that chooses them."""

    name: str
    layer: str
    rows: int
    columns: int
    seed: int

    def cut(self, layer: Layer) -> Layer:
        """Rows and columns drawn without replacement, in ascending order; all when all are asked.

        Raises InputError when the layer is too small.
        """
        if self.rows > layer.d_out or self.columns > layer.d_in:
            raise InputError(
                f"{self.name}: {self.rows} rows and {self.columns} columns are more than the "
                f"{layer.d_out} and {layer.d_in} of {layer.name}"
            )
        random = np.random.default_rng(self.seed)
        rows, columns = (
            sorted(int(i) for i in random.permutation(size)[:wanted])
            for size, wanted in ((layer.d_out, self.rows), (layer.d_in, self.columns))
        )
        return cut(layer, rows, columns, self.name)
