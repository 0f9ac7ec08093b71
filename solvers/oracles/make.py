"""Linear minimisation oracles of the nodes: the whole interface to the set of legal masks.

A node fixes some columns; with Z the legal masks of a row, or of rows that are coupled
(`instances.masks.protocol`), its oracle solves

    min < g, v >   over   { v in Z : v_j = 1 where state_j = 1, v_j = 0 where state_j = 2 },

v_j = 1 meaning pruned. Frank-Wolfe methods (Boscia, arXiv 2208.11010) need nothing else: the vertex
is a legal mask, and the lower bound on the minimum gives the bound of the node,

    F(x) - < g, x > + bound  <=  min of F over the node,   g = grad F(x),   F convex.

    closed-form   a sort a group; the bound is the minimum, rounded to the nearest float64. For sets
                  other than equal budget groups, the oracle that the set itself has: the same, less
                  a margin for rounding (`oracles.own`)
    highs, scip   the same set as a mixed-integer model, for a solver that only sees rows and bounds

Where the hull of Z is its linear relaxation (`MaskSet.integral`), no oracle gives a better bound
than the relaxation would. Cost budgets and overlapping caps are not such sets.

An oracle serves one thread at a time. Those of native solvers hold foreign memory: they are built
where they are used, and neither pickled nor carried through a fork.
"""

import time
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.oracles.closed_form import ClosedForm
from maskgap.solvers.oracles.own import OwnOracle
from maskgap.solvers.protocol import Deadline

OracleName = Literal["closed-form", "highs", "scip"]
ORACLES: tuple[OracleName, ...] = get_args(OracleName)
"""Kinds that `make_oracle` knows."""


class Oracle(Protocol):
    """Minimises linear functions over the legal masks of a node. calls: how often it was asked."""

    calls: int

    def minimise(self, gradient: Vector, state: NDArray[np.int8], vertex: Vector) -> float:
        """A lower bound on < gradient, v > over the node; `vertex` receives a legal mask of it.

        gradient: (n,) float64, finite. state: (n,) int8, 0 free, 1 pruned, 2 kept. vertex: (n,)
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

    def minimise(self, gradient: Vector, state: NDArray[np.int8], vertex: Vector) -> float:
        """As `Oracle.minimise`."""
        self.calls += 1
        start = time.perf_counter()
        try:
            return self.oracle.minimise(gradient, state, vertex)
        finally:
            self.seconds += time.perf_counter() - start


def make_oracle(kind: str, legal: MaskSet, deadline: Deadline, threads: int = 1) -> Oracle:
    """An oracle of one of the ORACLES on legal masks; a native library is imported here.

    deadline: what the calls of native solvers may use, together. threads: of HiGHS; the others use
    one. Raises InputError for another kind.
    """
    if kind == "closed-form":
        return ClosedForm(legal) if isinstance(legal, BudgetGroups) else OwnOracle(legal)
    if kind == "highs":
        from maskgap.solvers.oracles.highs import HighsOracle

        return HighsOracle(legal, deadline, threads)
    if kind == "scip":
        from maskgap.solvers.oracles.scip import ScipOracle

        return ScipOracle(legal, deadline)
    raise InputError(f"no oracle is called '{kind}'; there are {', '.join(ORACLES)}")
