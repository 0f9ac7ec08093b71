"""A layer to prune: weights W (d_out, d_in), Gram matrix G = X X^T (d_in, d_in) of its inputs.

X (d_in, tokens) holds the calibration inputs, so the pruning error of a mask M (True = kept) is

    || W X - (M * W) X ||_F^2  =  sum over rows w of  r G r^T,   r = w * (1 - m).

A layer may also know the mean of its inputs, from which Var[x_j] = G_jj / tokens - E[x_j]^2.

Nothing here chooses a mask. Arrays are validated once, at the door (`instances.layer_checks`). A
singular Gram is valid. What is certified is about the float64 numbers that a layer then holds, and
no others. `instances.layer_fields` is the table of the arrays: what copies them goes by it.

Resolution. An entry of a Gram that was stored with unit roundoff r is known to r |G_ij| at best, so
a loss r G r^T is known to r sum_ij |r_i G_ij r_j| at best: `gram_roundoff` says which r.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.conversion import roundoff_of
from maskgap.instances.definite import UNIT
from maskgap.instances.layer_checks import Array, blocks, tokens_of
from maskgap.instances.layer_fields import LAYER_FIELDS, validated

SHOWN = 30
"""Characters of a name that a result prints."""


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """One linear layer with the second moments of its inputs.

    weight: (d_out, d_in) float64. gram: (d_in, d_in) float64, symmetric, positive semidefinite up
    to rounding, in squared input units summed over tokens. gram_eval: the same from held-out text,
    or None. meta: free text keys (model, layer, tokens, ...). name: where it came from, for errors.
    input_mean: (d_in,) float64, the mean input over tokens, in input units, or None; meta then has
    `tokens`, how many tokens the Gram and the mean were taken over. column_cost: (d_in,) int64, at
    least 0, what keeping a column costs (bytes, latency classes), or None. forced: (d_out, d_in)
    int8, 1 = kept, -1 = pruned, 0 = either, or None. gram_roundoff: unit roundoff of the dtype that
    the Gram was given in, 2^-53 for float64 and for whole numbers.
    """

    weight: Matrix
    gram: Matrix
    gram_eval: Matrix | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    name: str = "layer"
    _: KW_ONLY
    input_mean: Vector | None = None
    column_cost: NDArray[np.int64] | None = None
    forced: NDArray[np.int8] | None = None
    gram_roundoff: float = UNIT

    def __repr__(self) -> str:
        return f"Layer({short(self.name)}, {self.d_out} x {self.d_in})"

    @staticmethod
    def from_arrays(
        weight: ArrayLike,
        gram: ArrayLike,
        gram_eval: ArrayLike | None = None,
        meta: Mapping[str, str] | None = None,
        name: str = "layer",
        *,
        input_mean: ArrayLike | None = None,
        column_cost: ArrayLike | None = None,
        forced: ArrayLike | None = None,
        gram_roundoff: float | None = None,
    ) -> "Layer":
        """Validate arrays of any real dtype and make a layer; the inputs are not changed.

        Arrays are numpy's, lists, or torch tensors on any device, with gradients or without.
        gram_roundoff: of the dtype that the Gram came in, where it was widened since; None: that of
        its dtype here.

        Raises InputError naming the array and, where there is one, the offending row and column,
        and for a mean without a token count or with more energy than the Gram.
        """
        arrays = {
            "weight": weight,
            "gram": gram,
            "gram_eval": gram_eval,
            "input_mean": input_mean,
            "column_cost": column_cost,
            "forced": forced,
        }
        return Layer.of(arrays, meta, name, gram_roundoff)

    @staticmethod
    def of(
        arrays: Mapping[str, ArrayLike | None],
        meta: Mapping[str, str] | None = None,
        name: str = "layer",
        gram_roundoff: float | None = None,
    ) -> "Layer":
        """The same from arrays by the names of `LAYER_FIELDS`; those of other names are left out.

        Raises InputError, also where one is missing that no layer is without.
        """
        about = dict(meta or {})
        found: dict[str, Any] = validated(arrays, about, name)
        own = gram_roundoff or roundoff_of(arrays.get("gram"))
        return Layer(**found, meta=about, name=name, gram_roundoff=own)

    def arrays(self) -> dict[str, Array]:
        """The arrays that are there, by name."""
        every = ((field.name, getattr(self, field.name)) for field in LAYER_FIELDS)
        return {name: array for name, array in every if array is not None}

    def with_arrays(self, arrays: Mapping[str, Array]) -> "Layer":
        """The layer with these arrays and no others; nothing is looked at, no copy is made."""
        found: dict[str, Any] = {
            field.name: arrays.get(field.name, field.nothing()) for field in LAYER_FIELDS
        }
        return replace(self, **found)

    def as_seen(self) -> "Layer":
        """The layer without the arrays that no solver sees."""
        seen = {field.name for field in LAYER_FIELDS if field.seen}
        return self.with_arrays({name: a for name, a in self.arrays().items() if name in seen})

    @property
    def d_out(self) -> int:
        """Number of rows (output features)."""
        return int(self.weight.shape[0])

    @property
    def d_in(self) -> int:
        """Number of columns (input features)."""
        return int(self.weight.shape[1])

    def input_variance(self) -> Vector | None:
        """(d_in,) Var[x_j] over tokens, in squared input units, at least 0; None without a mean."""
        if self.input_mean is None:
            return None
        squares = self.gram.diagonal() / tokens_of(self.meta, self.name)
        variance: Vector = np.maximum(squares - self.input_mean**2, 0.0)
        return variance

    @cached_property
    def gram_unit(self) -> tuple[Matrix, int]:
        """(G / 2^e, e) with the largest diagonal entry in [1/2, 1); e = 0 for a zero Gram."""
        exponent = unit_exponent(float(self.gram.diagonal().max()))
        return np.ldexp(self.gram, -exponent), exponent

    @cached_property
    def correlation(self) -> float:
        """A number c with |G_ij| <= c sqrt(G_ii G_jj) for all i, j; infinite where there is none.

        It is 1 but for rounding, and for what a Gram that is indefinite by rounding has beyond.
        """
        return correlation_of(self.gram_unit[0])

    @cached_property
    def gram_digest(self) -> str:
        """sha256 of the Gram as little-endian float64."""
        return array_digest(self.gram)

    @cached_property
    def digest(self) -> str:
        """sha256 of weight and Gram: what a mask or proof of this layer belongs to."""
        text = f"{array_digest(self.weight)}:{self.gram_digest}"
        return hashlib.sha256(text.encode()).hexdigest()


def short(name: str) -> str:
    """The end of a name, as long as a line of results has room for."""
    return name if len(name) <= SHOWN else f"...{name[3 - SHOWN :]}"


def unit_rows(weight: Matrix) -> tuple[Matrix, NDArray[np.int64]]:
    """(W / 2^e, e) with the largest |w| of each row in [1/2, 1); e (rows,) is 0 for a zero row."""
    exponents = np.array([unit_exponent(float(np.abs(row).max())) for row in weight])
    return np.ldexp(weight, -exponents[:, None]), exponents


def unit_exponent(value: float) -> int:
    """The e with value / 2^e in [1/2, 1); 0 for value 0."""
    return int(np.frexp(value)[1]) if value > 0 else 0


def correlation_of(matrix: Matrix) -> float:
    """A number c with |A_ij| <= c sqrt(A_ii A_jj) for all i, j of A (n, n), else infinite."""
    roots = np.sqrt(np.maximum(matrix.diagonal(), 0.0))
    live = roots > 0.0
    if bool(matrix[~live].any()):
        return inf
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=live)
    largest = 0.0
    for rows in blocks(len(matrix)):
        with np.errstate(over="ignore"):  # then there is no such number
            shares = np.abs(matrix[rows]) * inverse * inverse[rows, None]
        largest = max(largest, float(shares.max()))
    return largest * (1.0 + 16.0 * UNIT)


def array_digest(array: NDArray[np.float64] | Flags) -> str:
    """sha256 of an array's shape and little-endian contents (hex)."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{array.dtype.kind}{array.shape}".encode())
    digest.update(little.data)
    return digest.hexdigest()
