"""What weighted triangle inequalities take off a function: sums of their terms, entry by entry.

The last factor of a triangle is z^T A z + b^T z + d (`instances.triangles`), where A has
+-1/2 at both places of each of its pairs of columns, b has +-1 and d is 0 or 1. With weights t >= 0
the sums are those of t A, t b and t d; where the constant is among the three, a pair with it is
linear.
"""

from dataclasses import dataclass
from math import fsum

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.triangles import CONSTANT, Triangles

PAIR_SIGNS = np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]])
"""Signs of z_a z_b, z_a z_c, z_b z_c in a triangle's term; a row for apex 0, 1, 2 and -1."""

SINGLE_SIGNS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
"""Signs of z_a, z_b, z_c in a triangle's term; rows as above."""


@dataclass(frozen=True, eq=False)
class TriangleSums:
    """The sums, and those of absolute terms.

    matrix, size: (n, n) sum of t A, and its absolute terms. linear, linear_size: (n,) sum of t b.
    constant: sum of t d, rounded once. meeting: the most triangles that one column is in.
    """

    matrix: Matrix
    size: Matrix
    linear: Vector
    linear_size: Vector
    constant: float
    meeting: int

    @staticmethod
    def of(n: int, triangles: Triangles) -> "TriangleSums":
        """Of at least one triangle on n columns."""
        weight = triangles.weight[:, None]
        signs, single = weight * PAIR_SIGNS[triangles.apex], weight * SINGLE_SIGNS[triangles.apex]
        pairs, pairs_size = (_pair_sums(n, triangles, v) for v in (signs, np.abs(signs)))
        of_constant = triangles.columns[:, 0] == CONSTANT
        return TriangleSums(
            matrix=0.5 * pairs[1:, 1:],
            size=0.5 * pairs_size[1:, 1:],
            linear=pairs[0, 1:] + _column_sums(n, triangles, single),
            linear_size=pairs_size[0, 1:] + _column_sums(n, triangles, np.abs(single)),
            constant=fsum(triangles.weight[triangles.apex == np.where(of_constant, 0, -1)]),
            meeting=int(_column_sums(n, triangles, np.ones_like(single)).max(initial=0.0)),
        )


def _pair_sums(n: int, triangles: Triangles, values: Matrix) -> Matrix:
    """Sums of values (t, 3) over what falls on each pair of columns, symmetric (n + 1, n + 1).

    Row and column 0 stand for the constant z_0 = 1: a product with it is linear.
    """
    columns = triangles.columns.astype(np.intp) + 1
    cells = columns[:, [0, 0, 1]] * (n + 1) + columns[:, [1, 2, 2]]
    flat = np.bincount(cells.ravel(), values.ravel(), minlength=(n + 1) ** 2)
    upper = flat.reshape(n + 1, n + 1)  # columns increase along a row: nothing lies elsewhere
    return np.asarray(upper + upper.T, dtype=np.float64)


def _column_sums(n: int, triangles: Triangles, values: Matrix) -> Vector:
    """Sums of values (t, 3) over what falls on each column, (n,); the constant's are left out."""
    columns = triangles.columns.astype(np.intp) + 1
    sums = np.bincount(columns.ravel(), values.ravel(), minlength=n + 1)
    return np.asarray(sums[1:], dtype=np.float64)
