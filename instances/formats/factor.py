"""A Gram stored as a factor of whole numbers, in a quarter of the bytes of float64 and less.

    G = D Q Q^T D,     Q (n, n) lower triangular of int16, D = diag(2^e_i)

So a stored G is semidefinite whatever the numbers, which a Gram rounded to float32 or float16 need
not be. Its entries are sums of at most n products of 15-bit numbers, below 2^53 for n < 2^23, times
powers of two: float64 holds every one of them exactly, in whatever order they are summed, so one
file gives one Gram, bit by bit, and one digest on every machine.

To store a Gram is to round the rows of its Cholesky factor, each to a unit of its own, 2^e_i, in
which its largest entry has 15 bits. What is stored is the Gram of slightly other inputs, and is the
layer's Gram from then on: entries differ by about 2^-15 of sqrt(G_ii G_jj).
"""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import InputError

FACTOR = "gram_factor"
UNITS = "gram_units"

BITS = 15
WIDEST = 1 << 23
LARGEST_UNIT = 400
"""Exponents beyond this, either way, would leave the range of float64 when they are squared."""


def factored(gram: Matrix) -> dict[str, NDArray[np.generic]]:
    """The tensors that store a Gram (n, n).

    `gram_factor` (n (n + 1) / 2,) int16 has the rows of Q up to the diagonal, one after the other,
    `gram_units` (n,) int16 the e_i. Raises InputError for a Gram without a Cholesky factor, or
    beyond the range of units.
    """
    try:
        factor = scipy.linalg.cholesky(gram, lower=True)
    except scipy.linalg.LinAlgError:
        raise InputError("a Gram is stored by its factor only where it is definite") from None
    largest = np.abs(factor).max(axis=1)
    units = np.frexp(largest)[1] - BITS
    whole = np.rint(np.ldexp(factor, -units[:, None]))
    over = np.abs(whole).max(axis=1) > (1 << BITS) - 1  # rounded up to 2^15
    units[over] += 1
    whole[over] = np.rint(np.ldexp(factor[over], -units[over, None]))
    if np.abs(units).max() > LARGEST_UNIT:
        raise InputError("the entries of a Gram are too large or too small to store by its factor")
    rows, columns = np.tril_indices(len(gram))
    return {FACTOR: whole[rows, columns].astype(np.int16), UNITS: units.astype(np.int16)}


def gram_of(packed: NDArray[np.generic], units: NDArray[np.generic] | None, where: str) -> Matrix:
    """The Gram (n, n) that the two tensors store. where: the file, for the InputError."""
    n = 0 if units is None or units.ndim != 1 else len(units)
    if (
        units is None
        or packed.dtype != np.int16
        or units.dtype != np.int16
        or packed.shape != (n * (n + 1) // 2,)
        or not 0 < n < WIDEST
        or np.abs(units.astype(np.int64)).max() > LARGEST_UNIT
    ):
        raise InputError(
            f"{where}: expected int16 tensors '{FACTOR}' (n (n + 1) / 2,) and '{UNITS}' (n,) of at "
            f"most {LARGEST_UNIT}, either way"
        )
    factor = np.zeros((n, n))
    factor[np.tril_indices(n)] = packed
    gram: Matrix = np.ldexp(factor @ factor.T, np.add.outer(units, units).astype(np.int64))
    return gram
