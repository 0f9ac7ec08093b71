"""Finds switched variables in a linear set.

A binary z switches a continuous x where rows that have no other variable than these two leave x a
range for z = 0 and another for z = 1,

    |x| <= M z  (x is off, or within M),    |x| <= 20 - (20 - tau) z  (two widths),   ...

or where a user declares it: x = 0 wherever z = 0. If every row of a set is of that kind or has
binaries alone, the least value of an objective for given binaries is a function of them
(`switched.problem`), over the rows that binaries have among themselves; with a budget alone these
are no rows but a sort.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Vector
from maskgap.solvers.convex.switched.declared import Switches
from maskgap.solvers.convex.switched.value import Ranges
from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import SetOracle, Space

ROUNDING = 1e-9
"""Ends of a range that cross by less, for its size, are one."""


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """switches: (n,) bool, which of the n variables of a set they are; there are s.

    switch: (n - s,) of each other variable, -1 for none. off, on: its ranges. oracle: of the
    switches alone.
    """

    switches: Flags
    switch: NDArray[np.int64]
    off: Ranges
    on: Ranges
    oracle: SetOracle


def structure(rows: LinearSet, declared: Switches) -> Structure | None:
    """Switches and ranges of a set, None where it is of another kind."""
    space = rows.space
    z = space.integral & (space.lower >= 0.0) & (space.upper <= 1.0)
    if not z.any() or z.all() or (space.integral & ~z).any():
        return None
    links = _links(rows, z, declared)
    if links is None:
        return None
    switch, off, on, own = links
    bounds = space.lower[z].copy(), space.upper[z].copy()
    for ranges, bound, other in ((off, bounds[0], 1.0), (on, bounds[1], 0.0)):
        empty = _joined(ranges)
        if (empty & (switch < 0)).any():
            return None  # the set has no point, as the general search finds
        bound[switch[empty]] = other
    oracle = _set_of(own, Space(*bounds, np.ones(z.sum(), bool)))
    return Structure(z, switch, off, on, oracle)


def _links(
    rows: LinearSet, z: Flags, declared: Switches
) -> (
    tuple[NDArray[np.int64], Ranges, Ranges, tuple[scipy.sparse.csr_matrix, Vector, Vector]] | None
):
    """The switch of each other variable (-1: none), both ranges, and the rows of binaries alone."""
    place = np.where(z, np.cumsum(z) - 1, np.cumsum(~z) - 1)
    count = int((~z).sum())
    switch = np.full(count, -1)
    low, high = rows.space.lower[~z], rows.space.upper[~z]
    off, on = Ranges(low.copy(), high.copy()), Ranges(low.copy(), high.copy())
    for j, i in declared.items():
        if z[j]:
            return None  # one binary switches another
        switch[place[j]] = place[i]
        off.lower[place[j]] = max(off.lower[place[j]], 0.0)
        off.upper[place[j]] = min(off.upper[place[j]], 0.0)
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
