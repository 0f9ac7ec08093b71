"""Finds switched variables in a quadratic over a linear set.

A binary z switches a continuous x where rows that have no other variable than these two leave x a
range for z = 0 and another for z = 1,

    |x| <= M z  (x is off, or within M),    |x| <= 20 - (20 - tau) z  (two widths),   ...

If every row of a set is of that kind or has binaries alone, and the quadratic has no binary in its
second-order part, the least value for given binaries is a function of them (`switched.value`), over
the rows that binaries have among themselves; with a budget alone these are no rows but a sort.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.errors import Refused
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.convex.switched.value import Ranges, SwitchedQuadratic, SwitchedValue
from maskgap.solvers.objectives.convex.quadratic import QuadraticObjective
from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import SetOracle, Space

ROUNDING = 1e-9
"""Ends of a range that cross by less, for its size, are one."""

EIGEN = 2.0**-50
"""Share of the largest eigenvalue, for each variable, that others may be known to."""

RANK = 1e-12
"""Eigenvalues below this share of the largest are left out of A^T A, which lowers the value."""


@dataclass(frozen=True, eq=False, slots=True)
class Switched:
    """A problem over switches: its value, their set, and where they are.

    switches: (n,) bool, which of the n variables of the problem they are.
    """

    value: SwitchedValue
    oracle: SetOracle
    switches: Flags
    n: int

    def lift(self, z: Vector) -> Vector:
        """(n,) the best point with these switches."""
        x = np.empty(self.n)
        x[self.switches], x[~self.switches] = z, self.value.evaluate(z).x
        return x


def switched(objective: QuadraticObjective, rows: LinearSet) -> Switched | None:
    """The problem over switches, None where the structure is another."""
    form, space = objective.quadratic, rows.space
    z = space.integral & (space.lower >= 0.0) & (space.upper <= 1.0)
    if not z.any() or z.all() or (space.integral & ~z).any() or form.matrix[z].any():
        return None
    links = _links(rows, z)
    if links is None:
        return None
    hessian, linear = form.matrix[np.ix_(~z, ~z)], form.linear[~z]
    diagonal = _diagonal(objective, hessian, ~z)
    if diagonal is None:
        return None
    switch, off, on, own = links
    bounds = space.lower[z].copy(), space.upper[z].copy()
    for ranges, bound, other in ((off, bounds[0], 1.0), (on, bounds[1], 0.0)):
        empty = _joined(ranges)
        if (empty & (switch < 0)).any():
            return None  # the set has no point, as the general search finds
        bound[switch[empty]] = other
    A, target, extra, constant = _factor(hessian - np.diag(diagonal), linear)
    value = SwitchedValue(
        SwitchedQuadratic(
            A, target, diagonal, extra, off, on, switch, form.linear[z], form.constant - constant
        )
    )
    return Switched(value, _set_of(own, Space(*bounds, np.ones(z.sum(), bool))), z, space.n)


def _diagonal(objective: QuadraticObjective, hessian: Matrix, free: Flags) -> Vector | None:
    """D > 0 with `hessian` - Diag(D) semidefinite: as stated, less what that misses by."""
    stated = objective.diagonal
    if stated is not None and (stated[free] > 0.0).all():
        values = np.linalg.eigvalsh(hessian - np.diag(stated[free]))
        least = float(values[0]) - len(values) * EIGEN * float(np.abs(values).max())
        diagonal: Vector = stated[free] + min(0.0, least)
        if (diagonal > 0.0).all():
            return diagonal
    try:
        return inverse_diagonal(hessian)
    except Refused:
        return None


def _links(
    rows: LinearSet, z: Flags
) -> tuple[np.ndarray, Ranges, Ranges, tuple[scipy.sparse.csr_matrix, Vector, Vector]] | None:
    """The switch of each other variable (-1: none), both ranges, and the rows of binaries alone."""
    place = np.where(z, np.cumsum(z) - 1, np.cumsum(~z) - 1)
    count = int((~z).sum())
    switch = np.full(count, -1)
    low, high = rows.space.lower[~z], rows.space.upper[~z]
    off, on = Ranges(low.copy(), high.copy()), Ranges(low.copy(), high.copy())
    kept = []
    for i in range(rows.matrix.shape[0]):
        part = slice(rows.matrix.indptr[i], rows.matrix.indptr[i + 1])
        columns, entries = rows.matrix.indices[part], rows.matrix.data[part]
        others = ~z[columns]
        if not others.any():
            kept.append(i)
            continue
        if others.sum() > 1 or len(columns) > 2:
            return None
        j, factor = int(place[columns[others][0]]), float(entries[others][0])
        weight = 0.0
        if len(columns) == 2:
            at = int(place[columns[~others][0]])
            if switch[j] not in (-1, at):
                return None
            switch[j], weight = at, float(entries[~others][0])
        for ranges, paid in ((off, 0.0), (on, weight)):
            sides = (rows.row_lower[i] - paid) / factor, (rows.row_upper[i] - paid) / factor
            ranges.lower[j] = max(ranges.lower[j], min(sides))
            ranges.upper[j] = min(ranges.upper[j], max(sides))
    if (switch < 0).all():
        return None
    own = rows.matrix[kept][:, np.flatnonzero(z)]
    return switch, off, on, (own, rows.row_lower[kept], rows.row_upper[kept])


def _joined(ranges: Ranges) -> Flags:
    """(n,) which ranges are empty; they and those that rounding alone makes so become a point."""
    low, high = ranges.lower, ranges.upper
    crossed = low > high
    near = ROUNDING * np.maximum(1.0, np.abs(high, where=crossed, out=np.zeros_like(high)))
    empty: Flags = crossed & (low > high + near)
    np.copyto(low, high, where=crossed)
    return empty


def _factor(rest: Matrix, linear: Vector) -> tuple[Matrix, Vector, Vector, float]:
    """A, t, c and a constant with x^T rest x + linear . x = |Ax - t|^2 - 2 c . x - constant."""
    values, vectors = np.linalg.eigh(rest)
    kept = values > RANK * max(float(values[-1]), 0.0)
    roots, basis = np.sqrt(values[kept]), vectors[:, kept]
    inner = basis.T @ linear
    target = -0.5 * inner / roots
    return roots[:, None] * basis.T, target, -0.5 * (linear - basis @ inner), float(target @ target)


def _set_of(own: tuple[scipy.sparse.csr_matrix, Vector, Vector], space: Space) -> SetOracle:
    """The set of switches alone."""
    matrix, low, high = own
    if matrix.shape[0] == 0:
        return BudgetSet(space)
    if matrix.shape[0] == 1:
        entries = matrix.toarray()[0]
        if (entries == entries[0]).all() and entries[0] != 0.0:
            sides = low[0] / entries[0], high[0] / entries[0]
            return BudgetSet(space, min(sides) - 1e-9, max(sides) + 1e-9)
    return HighsSet(LinearSet(space, scipy.sparse.csr_matrix(matrix), low, high))
