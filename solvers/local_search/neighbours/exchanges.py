"""Exchanges of a pruned and a kept variable that stay legal, and pairs of them.

With y = 1 on pruned variables, c = Q y and rows s = A y, exchanging p for u changes

    the loss by  delta(p, u) = (Q_pp - 2 c_p) + (Q_uu + 2 c_u) - 2 Q_pu,
    the rows by  A_u - A_p,

and two exchanges with four different variables change it by both deltas and

    2 (Q_{p p'} + Q_{u u'} - Q_{p u'} - Q_{u p'}).

Each step takes the best legal exchange. Where a row is tight, many exchanges are not legal one by
one: in a thorough descent, when none improves, pairs are tried, of those of least delta, legal or
not, and of those of least delta that give a tight row room.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.local_search.neighbours.local import REFRESH_MOVES, THRESHOLD, Reached
from maskgap.solvers.local_search.neighbours.reduced import Reduced

FEW = 64
"""Exchanges of each kind from which pairs are made."""

Move = tuple[list[int], list[int]]
"""Variables that come back, and variables that go."""


@dataclass(eq=False)
class _State:
    """A legal y (m,) with c = Q y and s = A y."""

    y: Pruned
    c: Vector
    sums: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class _Table:
    """All exchanges of a state, legal or not.

    gone (p,), kept (u,): the pruned and the kept variables. delta (p, u): changes of the loss.
    """

    gone: NDArray[np.int64]
    kept: NDArray[np.int64]
    delta: Vector

    def at(self, place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pruned and the kept variable of exchanges given by their flat places."""
        first, second = divmod(place, len(self.kept))
        return self.gone[first], self.kept[second]


class Exchanges:
    """The neighbourhood of one row with any rows; see `Local`. Sets are those of all n columns."""

    def __init__(self, problem: Reduced, legal: MaskSet) -> None:
        self._problem, self._legal = problem, legal
        self._quad, self._diag = problem.quad, problem.quad.diagonal().copy()
        cost = np.zeros((len(problem.forced) // problem.size, problem.size))
        cost[problem.free] = self._diag[:, None] / problem.size
        self.scores: Vector = cost.reshape(-1)

    def oracle(self, gradient: Vector) -> Pruned:
        """As `Local.oracle`."""
        return pruned_of(self._legal.prune_lowest(gradient))

    def loss(self, pruned: Pruned) -> float:
        """As `Local.loss`."""
        y = self._problem.shrink(pruned)
        return self._problem.offset + float(self._quad[np.ix_(y, y)].sum())

    def tolerance(self, pruned: Pruned) -> float:
        """As `Local.tolerance`."""
        return self._least(self._problem.shrink(pruned))

    def _least(self, y: Pruned) -> float:
        return THRESHOLD * (float(np.abs(self._diag[y]).sum()) + self._problem.offset)

    def descend(
        self, pruned: Pruned, thorough: bool, most: int, expired: Callable[[], bool]
    ) -> Reached:
        """As `Local.descend`."""
        state = self._fresh(self._problem.shrink(pruned))
        moves, local, least = 0, False, np.inf
        while moves != most and not expired():
            move = self._best(state, thorough)
            if move is None:
                state = self._fresh(state.y)
                loss = float(state.c[state.y].sum())
                # once more with fresh sums, unless rounding alone has led here
                if moves == 0 or loss >= least or self._best(state, thorough) is None:
                    local = True
                    break
                least = loss
                continue
            back, away = move
            state.y[back], state.y[away] = False, True
            state.c += self._quad[away].sum(axis=0) - self._quad[back].sum(axis=0)
            rows = self._problem.rows
            state.sums += rows[:, away].sum(axis=1) - rows[:, back].sum(axis=1)
            moves += 1
            if moves % REFRESH_MOVES == 0:
                state = self._fresh(state.y)
        reached = self._problem.lift(state.y)
        return Reached(reached, self.loss(reached), moves, local)

    def _fresh(self, y: Pruned) -> _State:
        return _State(y, self._quad[y].sum(axis=0), self._problem.rows[:, y].sum(axis=1))

    def _best(self, state: _State, thorough: bool) -> Move | None:
        """The best improving move, or None."""
        gone, kept = np.flatnonzero(state.y), np.flatnonzero(kept_of(state.y))
        if not (len(gone) and len(kept)):
            return None
        delta = (self._diag[gone] - 2.0 * state.c[gone])[:, None] - 2.0 * self._quad[
            np.ix_(gone, kept)
        ]
        delta += (self._diag[kept] + 2.0 * state.c[kept])[None, :]
        least = -self._least(state.y)
        legal, gives = self._judge(state, gone, kept, thorough)
        allowed = np.where(legal, delta, np.inf)
        at = int(allowed.argmin())
        if allowed.flat[at] < least:
            p, u = divmod(at, len(kept))
            return [int(gone[p])], [int(kept[u])]
        if not thorough or gives is None:
            return None
        one = _least_of(delta, FEW)
        other = np.union1d(one, _least_of(np.where(gives, delta, np.inf), FEW))
        return self._best_pair(state, _Table(gone, kept, delta), one, other, least)

    def _judge(
        self, state: _State, gone: NDArray[np.int64], kept: NDArray[np.int64], thorough: bool
    ) -> tuple[Flags, Flags | None]:
        """Which exchanges (gone, kept) are legal, and which give a tight row room; None: no such.

        A row is tight where some exchange would break it.
        """
        problem = self._problem
        legal = np.ones((len(gone), len(kept)), dtype=bool)
        gives = None
        below, above = state.sums - problem.lower, problem.upper - state.sums
        for row, low, high in zip(problem.rows, below, above, strict=True):
            comes, goes = row[kept][None, :], row[gone][:, None]
            if comes.min() - goes.max() < -low:
                change = comes - goes
                legal &= change >= -low
                if thorough:
                    gives = change > 0 if gives is None else gives | (change > 0)
            if comes.max() - goes.min() > high:
                change = comes - goes
                legal &= change <= high
                if thorough:
                    gives = change < 0 if gives is None else gives | (change < 0)
        return legal, gives

    def _best_pair(
        self,
        state: _State,
        table: _Table,
        one: NDArray[np.int64],
        other: NDArray[np.int64],
        least: float,
    ) -> Move | None:
        """The best improving legal pair of an exchange of `one` and an exchange of `other`.

        one, other: flat places in the table. least: the change, negative, that it must lie below.
        """
        problem, quad, delta = self._problem, self._quad, table.delta
        (p, u), (q, v) = table.at(one), table.at(other)
        change = delta.flat[one][:, None] + delta.flat[other][None, :]
        change += 2.0 * (quad[np.ix_(p, q)] + quad[np.ix_(u, v)])
        change -= 2.0 * (quad[np.ix_(p, v)] + quad[np.ix_(u, q)])
        change[(p[:, None] == q) | (u[:, None] == v)] = np.inf
        for row, total, low, high in zip(
            problem.rows, state.sums, problem.lower, problem.upper, strict=True
        ):
            after = total + (row[u] - row[p])[:, None] + (row[v] - row[q])[None, :]
            change[(after < low) | (after > high)] = np.inf
        at = int(change.argmin())
        if not change.flat[at] < least:
            return None
        i, j = divmod(at, len(other))
        return [int(p[i]), int(q[j])], [int(u[i]), int(v[j])]


def _least_of(values: Vector, count: int) -> NDArray[np.int64]:
    """Places of the least finite values, flat, in ascending order of place."""
    flat = values.reshape(-1)
    chosen = np.argpartition(flat, min(count, len(flat)) - 1)[:count]
    return np.sort(chosen[np.isfinite(flat[chosen])])
