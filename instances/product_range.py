"""Range: whether the products of a row leave room in float64.

The largest w_j^2 A_jj of a row, A being G or H, must lie within powers of two that leave room for
sums of n^2 such products and for what is far below them; a row beyond is refused in words.
"""

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer

LARGEST_POWER, LEAST_POWER = 950, -900
"""Binary exponents of the largest product of a row."""

LOSS_ROWS = 256
"""Rows whose losses are found by one product with the Gram."""


def require_range(layer: Layer, rows: range, diagonal: Vector) -> None:
    """Raise InputError for a row whose products with a diagonal (d_in,) leave float64."""
    live = diagonal > 0.0
    _, powers = np.frexp(diagonal[live])
    for top in range(rows.start, rows.stop, LOSS_ROWS):
        weight = layer.weight[top : min(top + LOSS_ROWS, rows.stop), live]
        _, own = np.frexp(weight)
        products = np.where(weight != 0.0, 2 * own + powers, -(1 << 20))
        largest = products.max(axis=1, initial=-(1 << 20))
        beyond = (largest > LARGEST_POWER) | ((largest < LEAST_POWER) & (largest > -(1 << 20)))
        if beyond.any():
            place = int(np.flatnonzero(beyond)[0])
            raise InputError(
                f"{layer.name}: row {top + place}: its largest product w^2 G is about "
                f"2^{largest[place]}, and float64 has room for 2^{LEAST_POWER} to "
                f"2^{LARGEST_POWER}; multiply weight or gram by a constant"
            )
