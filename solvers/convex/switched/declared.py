"""Switches that a user declares: x_j = 0 wherever the binary x_i = 0.

They belong to the set. Where the problem over switches alone is searched, they need no rows and no
bounds; where all variables are searched, they become the rows

    lower_j x_i  <=  x_j  <=  upper_j x_i.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import whole
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import Space

Switches = Mapping[int, int]
"""j -> i."""


def checked_switches(given: Any, space: Space) -> Switches:
    """Switches of a set as given. Raises InputError."""
    if not isinstance(given, Mapping):
        raise InputError(f"switches: expected {{variable: binary}}, not {type(given).__name__}")
    binary = space.integral & (space.lower >= 0.0) & (space.upper <= 1.0)
    found = {whole("switches", j, 0): whole("switches", i, 0) for j, i in given.items()}
    for j, i in found.items():
        if max(i, j) >= space.n:
            raise InputError(f"switches: {j}: {i}, but the set has {space.n} variables")
        if not binary[i] or i == j:
            raise InputError(f"switches: {j}: {i}, but variable {i} is no other, binary one")
    return found


def missed_switches(switches: Switches, x: Vector) -> float:
    """The largest |x_j| that is to be 0, of a point (n,)."""
    return max((abs(float(x[j])) for j, i in switches.items() if x[i] < 0.5), default=0.0)


def with_rows(rows: LinearSet, switches: Switches) -> LinearSet:
    """The set with rows for its switches. Raises InputError where a variable is unbounded."""
    space, n = rows.space, rows.space.n
    variables, binaries = np.array(list(switches)), np.array(list(switches.values()))
    parts, sides = [], []
    for ends in (space.upper, space.lower):
        if not np.isfinite(ends[variables]).all():
            j = int(variables[~np.isfinite(ends[variables])][0])
            raise InputError(
                f"switches: variable {j} needs finite bounds, unless the objective states a "
                "diagonal above 0 and rows join no variables but binaries"
            )
        many = np.arange(len(variables))
        parts.append(
            scipy.sparse.coo_matrix(
                (
                    np.concatenate([np.ones(len(many)), -ends[variables]]),
                    (np.tile(many, 2), np.concatenate([variables, binaries])),
                ),
                shape=(len(many), n),
            )
        )
        free, zero = np.full(len(many), np.inf), np.zeros(len(many))
        sides.append((-free, zero) if ends is space.upper else (zero, free))
    matrix = scipy.sparse.csr_matrix(scipy.sparse.vstack([rows.matrix, *parts]))
    matrix.eliminate_zeros()
    lower = np.concatenate([rows.row_lower, *(low for low, _ in sides)])
    upper = np.concatenate([rows.row_upper, *(high for _, high in sides)])
    return LinearSet(space, matrix, lower, upper)
