"""Minimise a convex F over the hull of the vertices that an oracle gives.

For any set of legal masks, seen only through its linear minimisation oracle: blended pairwise
Frank-Wolfe (Tsuji, Tanaka, Pokutta, ICML 2022) with x = sum of w_a v_a over stored vertices. Steps
(`frank_wolfe.steps`) move weight between stored vertices until no pair of them promises SHARE of
the last gap; only then is the oracle asked again (lazily, Braun, Pokutta, Zink, ICML 2017).

The bound is that of an affine minorant c + g . z of the loss (`objectives.protocol`), taken at x as
a proof keeps it:

    b = c + (the oracle's lower bound on g . v).
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.state import States
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.frank_wolfe.steps import settle
from maskgap.solvers.objectives.protocol import Minorant, Underestimator
from maskgap.solvers.oracles.protocol import Oracle
from maskgap.solvers.protocol import Deadline

SHARE = 0.25
"""Of the last Frank-Wolfe gap: pairs of stored vertices that promise less are left alone."""

FLAT = 1e-9
"""A gap this small a share of F(x) is rounding."""


@dataclass(frozen=True, eq=False, slots=True)
class Start:
    """What a minimisation begins with.

    pool: vertices met before; it receives new ones. active: those to begin with, of which the ones
    that fit the node are used.
    """

    pool: Pool
    active: ActiveSet


@dataclass(frozen=True, slots=True)
class Until:
    """When a minimisation ends.

    The bound reaches `cut`, or the gap is a share `tolerance` of cut - F(x), or so many oracle
    calls were made, or the deadline has come.
    """

    deadline: Deadline
    cut: float = np.inf
    tolerance: float = 0.0
    calls: int = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Minimum:
    """What a minimisation ended with.

    x: (n,) float64, the point of the best bound. bound: that, +inf for a node without masks.
    minorant: which gave it, None for such a node. value: F at the last point. active: its vertices.
    met: vertices that the oracle gave and that were new to the pool, in order. steps, calls: made.
    """

    x: Vector
    bound: float
    minorant: Minorant | None
    value: float
    active: ActiveSet
    met: list[Vector]
    steps: int
    calls: int


def minimise(
    function: Underestimator, state: States, oracle: Oracle, start: Start, until: Until
) -> Minimum:
    """The best bound of a node. state: (n,) its forced columns.

    Where the deadline comes first, what has been found is returned.
    """
    n, pool = len(state), start.pool
    met: list[Vector] = []
    vertex, steps, calls = np.empty(n), 0, 0
    best_x, best_bound = np.zeros(n), -np.inf
    best: Minorant | None = None

    def ask(gradient: Vector) -> tuple[float, int, bool]:
        least = oracle.minimise(gradient, state, vertex)
        number, new = pool.add(vertex) if least < np.inf else (-1, False)
        if new:
            met.append(vertex.copy())
        return least, number, new

    stored, numbers = pool.fitting(state)
    if not len(stored):
        calls += 1
        least, number, _ = ask(function.at(np.zeros(n))[1])
        if least == np.inf:
            return Minimum(best_x, np.inf, None, np.inf, start.active, met, 0, calls)
        stored, numbers = vertex[None, :].copy(), np.array([number])
    weight = start.active.on(numbers)
    promised, before = -1.0, np.inf
    while True:
        steps += settle(function, stored, weight, promised)
        x = weight @ stored
        minorant = function.minorant(x)
        calls += 1
        least, number, new = ask(minorant.linear)
        bound = minorant.constant + least
        if bound > best_bound or best is None:
            best_x, best_bound, best = x, bound, minorant
        gap = minorant.value - bound
        known = not new and bool((numbers == number).any())
        if (
            best_bound >= until.cut
            or gap <= FLAT * abs(minorant.value)
            or (until.tolerance > 0.0 and gap <= until.tolerance * (until.cut - minorant.value))
            or (known and gap >= before)  # all there is to gain is lost in rounding
            or calls >= until.calls
            or until.deadline.expired()
        ):
            break
        before = gap
        if not known:
            stored = np.concatenate([stored, vertex[None, :]])
            numbers, weight = np.append(numbers, number), np.append(weight, 0.0)
        promised = SHARE * gap
    used = np.flatnonzero(weight)
    order = used[np.argsort(numbers[used])]
    left = ActiveSet(numbers[order], weight[order])
    return Minimum(best_x, best_bound, best, minorant.value, left, met, steps, calls)
