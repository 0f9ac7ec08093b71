"""Mixed-integer sets by linear rows.

    { x :  row_lower <= A x <= row_upper,  lower <= x <= upper,  x_j whole where integrality_j = 1 }

in the form of `scipy.optimize.milp`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite, reals
from maskgap.solvers.oracles.mixed.protocol import Space, box_violation, space_of, without_bound


@dataclass(frozen=True, eq=False, slots=True)
class LinearSet:
    """space: of the variables. matrix: (m, n) CSR float64. row_lower, row_upper: (m,) float64."""

    space: Space
    matrix: scipy.sparse.csr_matrix
    row_lower: Vector
    row_upper: Vector

    def violation(self, point: Vector) -> float:
        """By how much a point misses bounds, rows or whole values, the most."""
        missed = box_violation(self.space, point)
        if len(self.row_lower):
            product = self.matrix @ point
            missed = max(missed, float((self.row_lower - product).max()))
            missed = max(missed, float((product - self.row_upper).max()))
        return missed


def _sparse(matrix: object) -> scipy.sparse.csr_matrix:
    given: Any = matrix  # the overloads of csr_matrix know no union of dense and sparse
    if not scipy.sparse.issparse(matrix):
        dense = np.atleast_2d(finite("A", given))
        if dense.ndim != 2 or dense.shape[1] == 0:
            raise InputError("A: expected a matrix with one column a variable")
        return scipy.sparse.csr_matrix(dense)
    if given.ndim != 2 or given.shape[1] == 0:
        raise InputError("A: expected a matrix with one column a variable")
    rows: scipy.sparse.csr_matrix = scipy.sparse.csr_matrix(given, copy=True)
    data = finite("A", rows.data)
    return scipy.sparse.csr_matrix((data, rows.indices, rows.indptr), shape=rows.shape)


def linear_set(
    matrix: Any, row_bounds: tuple[object, object], bounds: tuple[object, object], kinds: object
) -> LinearSet:
    """A checked set. matrix: (m, n), dense or sparse. Raises InputError that names what is wrong.

    row_bounds: lower and upper of rows, (m,) or one number. bounds: of variables, (n,) or one
    number. kinds: integrality, (n,) or one number.
    """
    rows = _sparse(matrix)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    m, n = rows.shape
    space = space_of(bounds[0], bounds[1], kinds, n)
    sides = []
    for name, given in zip(("row_lower", "row_upper"), row_bounds, strict=True):
        side = reals(name, given)
        if side.ndim > 1 or side.size not in (1, m):
            raise InputError(f"{name}: expected ({m},), one number a row of A, not {side.shape}")
        side = np.broadcast_to(side, (m,)).copy()
        without_bound(side)
        sides.append(side)
    if (sides[0] == np.inf).any() or (sides[1] == -np.inf).any():
        raise InputError("row_lower, row_upper: one side of a row leaves it no value")
    return LinearSet(space, rows, sides[0], sides[1])
