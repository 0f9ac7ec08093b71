"""What the oracles of native mixed-integer solvers share: units, margins, and the way back.

The model has a binary z_j a column and the rows of the set, and is built once. A call sets bounds
and costs: forced columns get lower = upper and cost 0, free ones

    c_j = g_j / unit,   unit the power of two that brings max |g_j| over free j to [2^9, 2^10),

since native tolerances are absolute. With b the solver's own dual bound of a run that it finished,

    bound = unit (b - n tolerance - ROUNDING sum |c_j|) + forced - 2^-51 sum |g|,
    forced = sum of g_j over columns forced to be pruned:

n tolerance covers reduced costs and costs that it takes for zero, one a column; ROUNDING what it
compares as equal; the last term the rounding of these sums. No bound is given below

    sum over free j of min(0, g_j) + forced - 2^-51 sum |g|,

which holds without any solver, and is what is left when the deadline comes first. The vertex is
then the solver's, if it is legal, or else some legal one.

Whether a node is empty is told by the set's own oracle, exactly, and a native 'infeasible' is an
error. Where that oracle is a mixed-integer solver itself (`MaskSet.error`), it is asked only to
confirm an 'infeasible'. Errors are, too, a solution that misses a row or a forced column when it is
rounded at 1/2, and a bound above the cost of the vertex.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Pruned, Vector, pruned_of
from maskgap.instances.layer import unit_exponent
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.solvers.mip.adapter import ROUNDING, NativeError, round_to_mask
from maskgap.solvers.oracles.closed_form import check_finite
from maskgap.solvers.protocol import Deadline, Stop

STANDARD_EXPONENT = 10
"""Largest free cost of a model, as a power of two: far above the tolerances, far below infinity."""

SUMMING = 2.0**-51
"""Share of sum |g| by which a bound is lowered for the rounding of the sums that it is made of."""

UNFINISHED = frozenset({Stop.TIME, Stop.MEMORY, Stop.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Found:
    """A native run: why it ended, its z (n,) or None, and its dual bound, in units of the model.

    empty: whether it says that there is no mask.
    """

    stop: Stop
    vector: ArrayLike | None
    bound: float | None
    empty: bool = False


class MixedIntegerOracle(ABC):
    """An oracle that asks a native solver; see `Oracle`.

    name: the solver's, for messages. tolerance: absolute, of its primal and dual feasibility.
    """

    name: str
    tolerance: float

    def __init__(self, legal: MaskSet, deadline: Deadline) -> None:
        self.legal = legal
        self.rows = legal.linear_rows()
        self.deadline = deadline

    @abstractmethod
    def solve(self, cost: Vector, lower: Vector, upper: Vector, seconds: float) -> Found:
        """Run the model in `seconds` at most; the vectors are (n,). Raises NativeError."""

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """As `Oracle.minimise`."""
        check_finite(gradient)
        both = (state != FREE) & (self.rows.state != FREE)
        if (state[both] != self.rows.state[both]).any():
            return float("inf")
        states = np.where(state != FREE, state, self.rows.state)
        ones, zeros, free = states == PRUNED, states == KEPT, states == FREE
        some = self._some(states) if self.legal.error == 0.0 else None
        if some is None and self.legal.error == 0.0:
            return float("inf")
        margin = SUMMING * fsum(np.abs(gradient).tolist())
        forced = gradient[ones].tolist()
        bound = fsum([*np.minimum(gradient[free], 0.0).tolist(), *forced]) - margin
        seconds = self.deadline.remaining()
        if seconds <= 0.0:
            return self._late(bound, some, states, vertex)

        largest = float(np.abs(gradient[free]).max(initial=0.0))
        exponent = unit_exponent(largest) - STANDARD_EXPONENT
        cost = np.where(free, np.ldexp(gradient, -exponent), 0.0)
        found = self.solve(cost, ones.astype(np.float64), (~zeros).astype(np.float64), seconds)
        if found.empty:
            if some is not None or self._some(states) is not None:
                raise NativeError(f"{self.name} calls a node infeasible that has a legal mask")
            return float("inf")
        pruned = self._pruned(found, states)
        if found.stop is Stop.INTERRUPTED:
            self.deadline.interrupt()
        if found.stop in UNFINISHED:
            return self._late(bound, some if pruned is None else pruned, states, vertex)
        if pruned is None or found.bound is None:
            raise NativeError(f"{self.name} finished without a legal mask of the node and a bound")
        slack = len(cost) * self.tolerance + ROUNDING * fsum(np.abs(cost).tolist())
        vertex[:] = pruned
        native, paid = found.bound - slack, fsum(cost[pruned].tolist())
        if native > paid:
            raise NativeError(f"{self.name}: bound {found.bound} above a legal mask's cost {paid}")
        return max(bound, float(np.ldexp(native, exponent)) + fsum(forced) - margin)

    def _some(self, states: States) -> Pruned | None:
        """Some pruned set (n,) of the node by the set's own oracle, None where there is none."""
        return self.legal.minimise(np.zeros(self.legal.n), states)

    def _late(self, bound: float, pruned: Pruned | None, states: States, vertex: Vector) -> float:
        """The bound that needs no solver, and a vertex: `pruned` or, for None, any."""
        chosen = self._some(states) if pruned is None else pruned
        if chosen is None:
            return float("inf")
        vertex[:] = chosen
        return bound

    def _pruned(self, found: Found, states: States) -> Pruned | None:
        """Pruned set (n,) of a native vector, or None where it is not a mask of the node."""
        mask = None if found.vector is None else round_to_mask(found.vector, self.legal)
        if mask is None or mask[states == PRUNED].any() or not mask[states == KEPT].all():
            return None
        return pruned_of(mask)
