"""What the oracles of native mixed-integer solvers share: units, margins, and the way back.

The model has a binary z_j a column, one row  sum of z over the group = k  a group, and is built
once. A call sets bounds and costs: forced columns get lower = upper and cost 0, free ones

    c_j = g_j / unit,   unit the power of two that brings max |g_j| over free j to [2^9, 2^10),

since native tolerances are absolute. With b the solver's own dual bound of a run that it finished,

    bound = unit (b - n tolerance - ROUNDING sum |c_j|) + forced - 2^-51 sum |g|,
    forced = sum of g_j over columns forced to be pruned:

n tolerance covers reduced costs and costs that it takes for zero, one a column; ROUNDING what it
compares as equal; the last term the rounding of these sums. No bound is given below

    sum over free j of min(0, g_j) + forced - 2^-51 sum |g|,

which holds without any solver, and is what is left when the deadline comes first. The vertex is
then the solver's, if it is legal, or else some legal one.

Whether a node is empty is counted here, exactly: a native 'infeasible' is an error. So are a
solution that, rounded at 1/2, misses a budget or a forced column, and a bound above the cost of
the vertex.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instances.groups import BudgetGroups, Mask, Vector
from instances.layer import unit_exponent
from solvers.base import Deadline, Stop
from solvers.frank_wolfe.oracles.closed_form import check_finite
from solvers.native import ROUNDING, NativeError, round_to_mask

STANDARD_EXPONENT = 10
"""Largest free cost of a model, as a power of two: far above the tolerances, far below infinity."""

SUMMING = 2.0**-51
"""Share of sum |g| by which a bound is lowered for the rounding of the sums that it is made of."""

UNFINISHED = frozenset({Stop.TIME, Stop.MEMORY, Stop.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Found:
    """A native run: why it ended, its z (n,) or None, and its dual bound, in units of the model."""

    stop: Stop
    vector: ArrayLike | None
    bound: float | None


class MixedIntegerOracle(ABC):
    """An oracle that asks a native solver; see `Oracle`.

    name: the solver's, for messages. tolerance: absolute, of its primal and dual feasibility.
    """

    name: str
    tolerance: float

    def __init__(self, groups: BudgetGroups, deadline: Deadline) -> None:
        self.groups = groups
        self.deadline = deadline
        self.calls = 0

    @abstractmethod
    def solve(self, cost: Vector, lower: Vector, upper: Vector, seconds: float) -> Found:
        """Run the model in `seconds` at most; the vectors are (n,). Raises NativeError."""

    def minimise(self, gradient: Vector, state: NDArray[np.int8], vertex: Vector) -> float:
        """As `Oracle.minimise`."""
        self.calls += 1
        check_finite(gradient)
        ones, zeros, free = state == 1, state == 2, state == 0
        some = self.groups.oracle(np.zeros(self.groups.n), ones, zeros)
        if some is None:
            return float("inf")
        vertex[:] = some
        margin = SUMMING * fsum(np.abs(gradient).tolist())
        forced = gradient[ones].tolist()
        bound = fsum([*np.minimum(gradient[free], 0.0).tolist(), *forced]) - margin
        seconds = self.deadline.remaining()
        if seconds <= 0.0:
            return bound

        largest = float(np.abs(gradient[free]).max(initial=0.0))
        exponent = unit_exponent(largest) - STANDARD_EXPONENT
        cost = np.where(free, np.ldexp(gradient, -exponent), 0.0)
        found = self.solve(cost, ones.astype(np.float64), (~zeros).astype(np.float64), seconds)
        pruned = self._pruned(found, ones, zeros)
        if pruned is not None:
            vertex[:] = pruned
        if found.stop is Stop.INTERRUPTED:
            self.deadline.interrupt()
        if found.stop in UNFINISHED:
            return bound
        if pruned is None or found.bound is None:
            raise NativeError(f"{self.name} finished without a legal mask of the node and a bound")
        slack = len(cost) * self.tolerance + ROUNDING * fsum(np.abs(cost).tolist())
        native, paid = found.bound - slack, fsum(cost[pruned].tolist())
        if native > paid:
            raise NativeError(f"{self.name}: bound {found.bound} above a legal mask's cost {paid}")
        return max(bound, float(np.ldexp(native, exponent)) + fsum(forced) - margin)

    def _pruned(self, found: Found, ones: Mask, zeros: Mask) -> Mask | None:
        """Pruned set (n,) of a native vector, or None where it is not a mask of the node."""
        mask = None if found.vector is None else round_to_mask(found.vector, self.groups)
        if mask is None or (mask & ones).any() or not mask[zeros].all():
            return None
        pruned: Mask = ~mask
        return pruned
