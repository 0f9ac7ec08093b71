"""The error e^T A e in float64 of a change e of the weights of each row."""

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.layer import unit_rows
from maskgap.instances.product_range import LOSS_ROWS


def change_errors(matrix: Matrix, change: Matrix, exponent: int = 0) -> Vector:
    """(rows,) errors of changes (rows, n), at least 0, for A = matrix (n, n) times 2^exponent.

    Rows are scaled by powers of two, and go by blocks through one product with the matrix.
    """
    values = np.empty(len(change))
    for top in range(0, len(change), LOSS_ROWS):
        unit, exponents = unit_rows(change[top : top + LOSS_ROWS])
        values[top : top + LOSS_ROWS] = np.ldexp(
            np.einsum("ij,ij->i", unit @ matrix, unit), 2 * exponents + exponent
        )
    return np.asarray(np.maximum(0.0, values))
