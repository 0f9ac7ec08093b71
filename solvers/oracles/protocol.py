"""The linear minimisation oracle of a node: the whole interface to the set of legal masks.

A node fixes some columns; with Z the legal masks of a part (`instances.masks.protocol`), its
oracle solves

    min < g, v >   over   { v in Z : v_j = 1 where state_j is PRUNED, v_j = 0 where it is KEPT },

v_j = 1 meaning pruned. Frank-Wolfe methods (Boscia, arXiv 2208.11010) need nothing else: the vertex
is a legal mask, and the lower bound on the minimum gives the bound of the node,

    F(x) - < g, x > + bound  <=  min of F over the node,   g = grad F(x),   F convex.

An oracle serves one thread at a time. Those of native solvers hold foreign memory: they are built
where they are used, and neither pickled nor carried through a fork.
"""

import time
from typing import Protocol

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.state import States


class Oracle(Protocol):
    """Minimises linear functions over the legal masks of a node."""

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """A lower bound on < gradient, v > over the node; `vertex` receives a legal mask of it.

        gradient: (n,) float64, finite. state: (n,) int8, FREE, PRUNED or KEPT. vertex: (n,)
        float64, written: 1.0 pruned, 0.0 kept, a minimiser where the oracle is not out of time.
        The bound is +inf for a node without a legal mask; `vertex` is then undefined. Raises
        InputError for a gradient that is not finite, NativeError when a native solver fails.
        """
        ...


class Counted:
    """Any oracle with a count of its calls and of the seconds spent in them, failed ones too."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.calls = 0
        self.seconds = 0.0

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """As `Oracle.minimise`."""
        self.calls += 1
        start = time.perf_counter()
        try:
            return self.oracle.minimise(gradient, state, vertex)
        finally:
            self.seconds += time.perf_counter() - start
