"""What `minimise` is asked for beside its objective and set, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Literal, TypedDict

from numpy.typing import ArrayLike

from maskgap.instances.arrays import Vector
from maskgap.solvers.protocol import TracePoint

Branching = Literal["pseudo-cost", "fractionality", "strong", "hybrid"]


class Ended(StrEnum):
    """Why a search ended. None of these says that a point is optimal: the gap does."""

    GAP = "gap"
    TIME = "time"
    NODES = "nodes"
    INTERRUPTED = "interrupted"
    STALLED = "stalled"
    INFEASIBLE = "infeasible"
    INFEASIBLE_CLAIMED = "infeasible (claimed)"
    UNSOUND = "unsound"


ENDED = {
    Ended.GAP: "the gap asked for was reached",
    Ended.TIME: "the time limit came first",
    Ended.NODES: "the limit of nodes came first",
    Ended.INTERRUPTED: "interrupted",
    Ended.STALLED: "the tree is done and rounding leaves a gap beyond the one asked for",
    Ended.INFEASIBLE: "the set has no point: each part of it is shown to be empty by its rows",
    Ended.INFEASIBLE_CLAIMED: "the set has no point, as its oracle says; nothing shows it",
}
"""What the result says of each; of an unsound objective, what was seen."""


@dataclass(frozen=True, slots=True)
class State:
    """A moment of a search, as callbacks get it.

    seconds: since its start. objective: of the best point, +inf for none. bound: -inf for none.
    """

    seconds: float
    nodes: int
    open_nodes: int
    objective: float
    bound: float


class MinimiseOptions(TypedDict, total=False):
    """Further options of `minimise`.

    absolute_gap: difference of objective and bound that is enough, 0.0 by default; 1e-13 of the
    terms of f at the best point always is, or no optimum of 0 would ever be reached. node_limit:
    nodes at most, None for no limit. start: (n,) a point to begin with, taken if it is feasible.
    branching: how the variable is chosen on which a node is split. feasibility: by how much a point
    may miss rows, bounds or whole values, 1e-6 by default. switches: {j: i}, x_j = 0 wherever the
    binary x_i = 0; they belong to the set, which has to be a linear one by HiGHS. log: print lines
    as it goes on. callback: called with a `State` as things improve; a returned True ends the
    search.
    """

    absolute_gap: float
    node_limit: int | None
    start: ArrayLike | None
    branching: Branching
    feasibility: float
    switches: Mapping[int, int] | None
    log: bool
    callback: Callable[[State], object] | None


@dataclass(frozen=True, eq=False, repr=False)
class Minimised:
    """The best point found, and below what no point of the set comes.

    x: (n,) float64, None where none was found; objective: f(x), evaluated anew at the end, +inf for
    none. violation: by how much x misses rows, bounds or whole values, inf for none.
    bound: -inf where there is none, +inf for a set without points, which `stop` calls "infeasible"
    where the rows show it, "infeasible (claimed)" where an oracle says so alone; bound_kind:
    "claimed", by this search alone, or "none". gap: (objective - bound) / |objective|, 0 where they
    are equal, inf where one is missing. stop: why it ended, message: the same in words. nodes,
    oracle_calls, evaluations (of f, or of its least value for given switches): counts. seconds:
    wall time, oracle_seconds: of it in the oracle. root_bound: bound of the first node. trace: as
    objective and bound improved.
    """

    x: Vector | None
    objective: float
    bound: float
    bound_kind: str
    gap: float
    stop: Ended
    message: str
    nodes: int = 0
    oracle_calls: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    oracle_seconds: float = 0.0
    root_bound: float = -inf
    violation: float = inf
    trace: tuple[TracePoint, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Minimised(objective {self.objective:.12g}, {self.bound_kind} bound {self.bound:.12g},"
            f" gap {self.gap:.2g}, {self.stop}, {self.nodes} nodes, {self.oracle_calls} oracle"
            f" calls, {self.seconds:.2f} s)"
        )


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) / |objective|: 0 where they meet, inf where one is missing."""
    if objective == inf or bound == -inf:
        return inf
    if bound >= objective:
        return 0.0
    if objective == 0.0:
        return inf
    return (objective - bound) / abs(objective)
