"""A layer to prune: weights W (d_out, d_in), Gram matrix G = X X^T (d_in, d_in) of its inputs.

X (d_in, tokens) holds the calibration inputs, so the pruning error of a mask M (True = kept) is

    || W X - (M * W) X ||_F^2  =  sum over rows w of  r G r^T,   r = w * (1 - m).

A layer may also know the mean of its inputs, from which Var[x_j] = G_jj / tokens - E[x_j]^2.

Nothing here chooses a mask. Arrays are validated once, at the door: finite, matching shapes, Gram
symmetric up to rounding (then symmetrised) and not clearly indefinite, which one Cholesky
factorisation of G + tolerance * trace * I shows; variances not clearly negative. A singular Gram is
valid. What is certified is about the float64 numbers that a layer then holds, and no others.

Resolution. An entry of a Gram that was stored with unit roundoff r is known to r |G_ij| at best, so
a loss r G r^T is known to r sum_ij |r_i G_ij r_j| at best: `gram_roundoff` says which r.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.conversion import as_array, roundoff_of
from maskgap.instances.definite import UNIT, cholesky
from maskgap.instances.errors import InputError

SYMMETRY_TOLERANCE = 1e-5
"""Largest |G - G^T| accepted, as a share of max |G| (float32 sums differ in their last bits)."""

INDEFINITE_TOLERANCE = 1e-5
"""A Gram is refused when its least eigenvalue lies below minus this share of its trace."""

VARIANCE_TOLERANCE = 1e-5
"""A mean is refused when E[x]^2 exceeds E[x^2] by more than this share of it."""

LARGEST_ENTRY = 1e100
"""Entries beyond this could overflow a sum of products in float64."""

LARGEST_WHOLE = 2**53
"""Whole numbers beyond this are not all float64 numbers."""

LARGEST_COST = 10**9
"""Costs beyond this could overflow their sums."""

TOKEN_DIGITS = 18
"""Digits of a number of tokens that is believed."""

SHOWN = 30
"""Characters of a name that a result prints."""

BLOCK = 256
"""Rows of a Gram looked at together, so that no more of it is copied."""


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
        weights = _matrix(weight, "weight", name)
        d_in = weights.shape[1]
        grams = _gram(gram, "gram", d_in, name)
        held_out = None if gram_eval is None else _gram(gram_eval, "gram_eval", d_in, name)
        about = dict(meta or {})
        mean = None if input_mean is None else _mean(input_mean, grams, about, name)
        cost = None if column_cost is None else _whole(column_cost, "column_cost", name)
        if cost is not None and (
            cost.shape != (d_in,) or cost.min() < 0 or cost.max() > LARGEST_COST
        ):
            raise InputError(
                f"{name}: column_cost must have shape ({d_in},) and hold whole numbers from 0 to "
                f"{LARGEST_COST}, but its shape is {cost.shape}, its range {cost.min()} to "
                f"{cost.max()}"
            )
        states = None if forced is None else _whole(forced, "forced", name)
        if states is not None and states.shape != weights.shape:
            raise InputError(
                f"{name}: forced must have shape {weights.shape}, but its shape is {states.shape}"
            )
        if states is not None and np.abs(states).max() > 1:
            row, column = (int(i) for i in np.argwhere(np.abs(states) > 1)[0])
            raise InputError(
                f"{name}: forced row {row}, column {column} is {states[row, column]}; expected "
                "-1 (pruned), 0 or 1 (kept)"
            )
        return Layer(
            weights, grams, held_out, about, name, mean, cost,
            None if states is None else states.astype(np.int8), gram_roundoff or roundoff_of(gram),
        )  # fmt: skip

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
        squares = self.gram.diagonal() / _tokens(self.meta, self.name)
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
        gram, _ = self.gram_unit
        roots = np.sqrt(np.maximum(gram.diagonal(), 0.0))
        live = roots > 0.0
        if bool(gram[~live].any()):
            return inf
        inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=live)
        largest = 0.0
        for rows in _blocks(len(gram)):
            with np.errstate(over="ignore"):  # then there is no such number
                shares = np.abs(gram[rows]) * inverse * inverse[rows, None]
            largest = max(largest, float(shares.max()))
        return largest * (1.0 + 16.0 * UNIT)

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


def array_digest(array: NDArray[np.float64] | NDArray[np.bool_]) -> str:
    """sha256 of an array's shape and little-endian contents (hex)."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{array.dtype.kind}{array.shape}".encode())
    digest.update(little.data)
    return digest.hexdigest()


def _matrix(values: ArrayLike, what: str, name: str) -> Matrix:
    raw = as_array(values, f"{name}: {what}")
    if raw.ndim != 2 or 0 in raw.shape:
        raise InputError(f"{name}: {what} must be a non-empty matrix, but its shape is {raw.shape}")
    if raw.dtype.kind not in "fiu":
        raise InputError(f"{name}: {what} must hold real numbers, but its dtype is {raw.dtype}")
    if raw.dtype.kind in "iu" and raw.dtype.itemsize == 8:
        _require_float64(raw, what, name)
    if raw.dtype.kind == "f" and raw.dtype.itemsize > 8:
        raise InputError(
            f"{name}: {what} is of dtype {raw.dtype}, which float64 would round; convert it first"
        )
    matrix = np.array(raw, dtype=np.float64, order="C")
    if not _largest(matrix) <= LARGEST_ENTRY:  # NaN too
        bad = ~(np.abs(matrix) <= LARGEST_ENTRY)
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name}: {what} row {row}, column {column} is {matrix[row, column]}; "
            f"expected finite numbers of size at most {LARGEST_ENTRY:g}"
        )
    return matrix


def _require_float64(raw: NDArray[np.generic], what: str, name: str) -> None:
    """Raise InputError for whole numbers that float64 may round."""
    low, high = int(raw.min()), int(raw.max())
    if max(-low, high) > LARGEST_WHOLE:
        raise InputError(
            f"{name}: {what} holds whole numbers from {low} to {high}; beyond 2^53 float64 would "
            "round them: divide them first"
        )


def _whole(values: ArrayLike, what: str, name: str) -> NDArray[np.int64]:
    raw = as_array(values, f"{name}: {what}")
    if raw.size == 0:
        raise InputError(f"{name}: {what} is empty; its shape is {raw.shape}")
    if raw.dtype.kind not in "iuf":
        raise InputError(f"{name}: {what} must hold whole numbers, but its dtype is {raw.dtype}")
    wide: NDArray[Any] = (
        raw.astype(np.float64) if raw.dtype.kind == "f" else raw
    )  # float16 ends at 65504
    good = (wide == np.floor(wide)) & (wide <= LARGEST_COST) & (wide >= -LARGEST_COST)
    if not bool(good.all()):
        raise InputError(
            f"{name}: {what} must hold whole numbers of size at most {LARGEST_COST}, but one is "
            f"{raw[~good].flat[0]}"
        )
    return raw.astype(np.int64)


def _mean(values: ArrayLike, gram: Matrix, meta: Mapping[str, str], name: str) -> Vector:
    d_in, raw = len(gram), as_array(values, f"{name}: input_mean")
    if raw.shape != (d_in,):
        raise InputError(
            f"{name}: input_mean must have shape ({d_in},) to match the weight's columns, but its "
            f"shape is {raw.shape}"
        )
    mean: Vector = _matrix(raw[None, :], "input_mean", name)[0]
    squares = gram.diagonal() / _tokens(meta, name)
    excess = mean**2 - squares * (1 + VARIANCE_TOLERANCE)
    column = int(excess.argmax())
    if excess[column] > 0:
        raise InputError(
            f"{name}: input_mean column {column} is {mean[column]:g}, whose square exceeds "
            f"{squares[column]:g}, the mean square by gram and tokens; expected the mean of the "
            "inputs that gram sums"
        )
    return mean


def _tokens(meta: Mapping[str, str], name: str) -> int:
    text = meta.get("tokens", "none")
    if not (text.isascii() and text.isdecimal() and len(text) <= TOKEN_DIGITS) or int(text) < 1:
        raise InputError(
            f"{name}: metadata 'tokens' is {text[:40]}; with input_mean it must be the number of "
            "tokens that gram sums"
        )
    return int(text)


def _gram(values: ArrayLike, what: str, d_in: int, name: str) -> Matrix:
    gram = _matrix(values, what, name)
    if gram.shape != (d_in, d_in):
        raise InputError(
            f"{name}: {what} must have shape ({d_in}, {d_in}) to match the weight's columns, "
            f"but its shape is {gram.shape}"
        )
    row, column = _most_skew(gram)
    if abs(gram[row, column] - gram[column, row]) > SYMMETRY_TOLERANCE * _largest(gram):
        raise InputError(
            f"{name}: {what} is not symmetric: entries ({row}, {column}) and ({column}, {row}) "
            f"are {gram[row, column]:g} and {gram[column, row]:g}"
        )
    _symmetrise(gram)
    negative = int(gram.diagonal().argmin())
    shift = INDEFINITE_TOLERANCE * float(gram.trace())
    if gram[negative, negative] < -shift or shift < 0:
        raise InputError(
            f"{name}: {what} is not positive semidefinite: diagonal entry {negative} is "
            f"{gram[negative, negative]:g}; expected X X^T"
        )
    largest = _largest(gram)
    if largest <= 0.0:
        return gram  # a zero Gram is legal
    # scaled by a power of two, so that no entry of a factor is far from 1
    shifted = np.ldexp(gram, -unit_exponent(largest))
    shifted[np.diag_indices(d_in)] += INDEFINITE_TOLERANCE * float(shifted.trace())
    if cholesky(shifted) is None:
        raise InputError(
            f"{name}: {what} is indefinite: its least eigenvalue lies below "
            f"-{INDEFINITE_TOLERANCE:g} times its trace; expected X X^T in float32 or better"
        )
    return gram


def _blocks(order: int) -> Iterator[slice]:
    return (slice(top, min(top + BLOCK, order)) for top in range(0, order, BLOCK))


def _largest(matrix: Matrix) -> float:
    return max(float(matrix.max()), -float(matrix.min()))


def _most_skew(matrix: Matrix) -> tuple[int, int]:
    """Where a square matrix differs most from its transpose; the first such place by rows."""
    worst, place = -1.0, (0, 0)
    for rows in _blocks(len(matrix)):
        skew = np.abs(matrix[rows] - matrix[:, rows].T)
        row, column = divmod(int(skew.argmax()), len(matrix))
        if skew[row, column] > worst:
            worst, place = float(skew[row, column]), (rows.start + row, column)
    return place


def _symmetrise(matrix: Matrix) -> None:
    """Replace a square matrix by the mean of it and its transpose."""
    for rows in _blocks(len(matrix)):
        right = slice(rows.start, None)
        mean = 0.5 * (matrix[rows, right] + matrix[right, rows].T)
        matrix[rows, right] = mean
        matrix[right, rows] = mean.T
