"""Looks at one array of a layer each: what it must be, and the one line for what it is not.

Nothing is changed but copies; what passes is float64, int64 or int8 of its own. A Gram must be
symmetric up to rounding (and is symmetrised) and not clearly indefinite, which one Cholesky
factorisation of G + tolerance * trace * I shows; a mean must not have more energy than the Gram.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.conversion import as_array
from maskgap.instances.definite import cholesky
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

BLOCK = 256
"""Rows of a Gram looked at together, so that no more of it is copied."""

Array = NDArray[Any]
"""An array of a layer, whose dtype its field says."""


@dataclass(frozen=True, slots=True)
class Given:
    """What an array is looked at beside. name: of the layer, for errors. meta: its free keys.

    arrays: those of the fields before it, by name, None where one is absent.
    """

    name: str
    meta: Mapping[str, str]
    arrays: Mapping[str, Any]

    @property
    def weight(self) -> Matrix:
        """The weight, which all other shapes follow from."""
        found: Matrix = self.arrays["weight"]
        return found

    @property
    def gram(self) -> Matrix:
        """The Gram."""
        found: Matrix = self.arrays["gram"]
        return found

    @property
    def d_in(self) -> int:
        """Number of columns."""
        return int(self.weight.shape[1])


def weight(values: ArrayLike, what: str, given: Given) -> Matrix:
    """(d_out, d_in) finite numbers of a moderate size; as every look here it raises InputError."""
    return _matrix(values, what, given.name)


def gram(values: ArrayLike, what: str, given: Given) -> Matrix:
    """(d_in, d_in), symmetric, positive semidefinite up to rounding."""
    name, d_in = given.name, given.d_in
    found = _matrix(values, what, name)
    if found.shape != (d_in, d_in):
        raise InputError(
            f"{name}: {what} must have shape ({d_in}, {d_in}) to match the weight's columns, "
            f"but its shape is {found.shape}"
        )
    row, column = _most_skew(found)
    if abs(found[row, column] - found[column, row]) > SYMMETRY_TOLERANCE * _largest(found):
        raise InputError(
            f"{name}: {what} is not symmetric: entries ({row}, {column}) and ({column}, {row}) "
            f"are {found[row, column]:g} and {found[column, row]:g}"
        )
    _symmetrise(found)
    negative = int(found.diagonal().argmin())
    shift = INDEFINITE_TOLERANCE * float(found.trace())
    if found[negative, negative] < -shift or shift < 0:
        raise InputError(
            f"{name}: {what} is not positive semidefinite: diagonal entry {negative} is "
            f"{found[negative, negative]:g}; expected X X^T"
        )
    largest = _largest(found)
    if largest <= 0.0:
        return found  # a zero Gram is legal
    # scaled by a power of two, so that no entry of a factor is far from 1
    shifted = np.ldexp(found, -int(np.frexp(largest)[1]))
    shifted[np.diag_indices(d_in)] += INDEFINITE_TOLERANCE * float(shifted.trace())
    if cholesky(shifted) is None:
        raise InputError(
            f"{name}: {what} is indefinite: its least eigenvalue lies below "
            f"-{INDEFINITE_TOLERANCE:g} times its trace; expected X X^T in float32 or better"
        )
    return found


def mean(values: ArrayLike, what: str, given: Given) -> Vector:
    """(d_in,), of the inputs that the Gram sums over as many tokens as the metadata say."""
    name, d_in = given.name, given.d_in
    raw = as_array(values, f"{name}: {what}")
    if raw.shape != (d_in,):
        raise InputError(
            f"{name}: {what} must have shape ({d_in},) to match the weight's columns, but its "
            f"shape is {raw.shape}"
        )
    found: Vector = _matrix(raw[None, :], what, name)[0]
    squares = given.gram.diagonal() / tokens_of(given.meta, name)
    excess = found**2 - squares * (1 + VARIANCE_TOLERANCE)
    column = int(excess.argmax())
    if excess[column] > 0:
        raise InputError(
            f"{name}: {what} column {column} is {found[column]:g}, whose square exceeds "
            f"{squares[column]:g}, the mean square by gram and tokens; expected the mean of the "
            "inputs that gram sums"
        )
    return found


def costs(values: ArrayLike, what: str, given: Given) -> NDArray[np.int64]:
    """(d_in,) whole numbers of at least 0."""
    cost = _whole(values, what, given.name)
    if cost.shape != (given.d_in,) or cost.min() < 0 or cost.max() > LARGEST_COST:
        raise InputError(
            f"{given.name}: {what} must have shape ({given.d_in},) and hold whole numbers from 0 "
            f"to {LARGEST_COST}, but its shape is {cost.shape}, its range {cost.min()} to "
            f"{cost.max()}"
        )
    return cost


def forced(values: ArrayLike, what: str, given: Given) -> NDArray[np.int8]:
    """(d_out, d_in) of -1, 0 and 1."""
    states, shape = _whole(values, what, given.name), given.weight.shape
    if states.shape != shape:
        raise InputError(
            f"{given.name}: {what} must have shape {shape}, but its shape is {states.shape}"
        )
    if np.abs(states).max() > 1:
        row, column = (int(i) for i in np.argwhere(np.abs(states) > 1)[0])
        raise InputError(
            f"{given.name}: {what} row {row}, column {column} is {states[row, column]}; expected "
            "-1 (pruned), 0 or 1 (kept)"
        )
    return states.astype(np.int8)


def tokens_of(meta: Mapping[str, str], name: str) -> int:
    """How many tokens a Gram sums. Raises InputError where the metadata do not say."""
    text = meta.get("tokens", "none")
    if not (text.isascii() and text.isdecimal() and len(text) <= TOKEN_DIGITS) or int(text) < 1:
        raise InputError(
            f"{name}: metadata 'tokens' is {text[:40]}; with input_mean it must be the number of "
            "tokens that gram sums"
        )
    return int(text)


def blocks(order: int) -> Iterator[slice]:
    """The rows of a Gram, some at a time."""
    return (slice(top, min(top + BLOCK, order)) for top in range(0, order, BLOCK))


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
    # float16 ends at 65504
    wide: Array = raw.astype(np.float64) if raw.dtype.kind == "f" else raw
    good = (wide == np.floor(wide)) & (wide <= LARGEST_COST) & (wide >= -LARGEST_COST)
    if not bool(good.all()):
        raise InputError(
            f"{name}: {what} must hold whole numbers of size at most {LARGEST_COST}, but one is "
            f"{raw[~good].flat[0]}"
        )
    return raw.astype(np.int64)


def _largest(matrix: Matrix) -> float:
    return max(float(matrix.max()), -float(matrix.min()))


def _most_skew(matrix: Matrix) -> tuple[int, int]:
    """Where a square matrix differs most from its transpose; the first such place by rows."""
    worst, place = -1.0, (0, 0)
    for rows in blocks(len(matrix)):
        skew = np.abs(matrix[rows] - matrix[:, rows].T)
        row, column = divmod(int(skew.argmax()), len(matrix))
        if skew[row, column] > worst:
            worst, place = float(skew[row, column]), (rows.start + row, column)
    return place


def _symmetrise(matrix: Matrix) -> None:
    """Replace a square matrix by the mean of it and its transpose."""
    for rows in blocks(len(matrix)):
        right = slice(rows.start, None)
        mean = 0.5 * (matrix[rows, right] + matrix[right, rows].T)
        matrix[rows, right] = mean
        matrix[right, rows] = mean.T
