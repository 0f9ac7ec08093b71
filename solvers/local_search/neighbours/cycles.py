"""Alternating cycles in transposable tiles: the least changes that keep every row and column.

A strip of M rows shares one Gram G, and rows add up, so with z = 1 on pruned entries and
c_i = G (w_i * z_i), pruning u and bringing p back in row i changes the loss by

    D_i(p, u) = w_p^2 G_pp - 2 w_p c_p + w_u^2 G_uu + 2 w_u c_u - 2 w_p w_u G_pu.

That keeps the row's budget and breaks two of its tile's columns, which other rows mend:

    a cycle of 4 entries   D_i(p, u) + D_j(u, p)                  rows i, j
    a cycle of 6 entries   D_i(p, u) + D_j(u, v) + D_k(v, p)      rows i, j, k

Each step takes the best cycle of 4 of all tiles; in a thorough descent, when none improves, the
best of 6. Nothing of the size of all pairs of the strip is formed.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Pruned, Vector, pruned_of
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.tiles import transposable
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.local_search.neighbours.local import REFRESH_MOVES, THRESHOLD, Reached


@strict
def exchange_costs(gram, weight, pruned, c, first, out):  # type: ignore[no-untyped-def]
    """D (M, M, M) of the tile whose columns begin at `first`; inf where it is no exchange."""
    size = len(weight)
    for i in range(size):
        for p in range(size):
            s = first + p
            a = weight[i, s] * (weight[i, s] * gram[s, s] - 2.0 * c[i, s])
            for u in range(size):
                t = first + u
                if pruned[i, s] and not pruned[i, t]:
                    b = weight[i, t] * (weight[i, t] * gram[t, t] + 2.0 * c[i, t])
                    out[i, p, u] = a + b - 2.0 * weight[i, s] * weight[i, t] * gram[s, t]
                else:
                    out[i, p, u] = np.inf


@strict
def best_of_four(gram, weight, pruned, c, costs, move):  # type: ignore[no-untyped-def]
    """Change of the best cycle of 4; `move` gets first column, rows i, j, columns p, u."""
    size, best = len(weight), np.inf
    for first in range(0, weight.shape[1], size):
        exchange_costs(gram, weight, pruned, c, first, costs)
        for i in range(size):
            for p in range(size):
                for u in range(size):
                    own = costs[i, p, u]
                    if own == np.inf:
                        continue
                    for j in range(i + 1, size):
                        change = own + costs[j, u, p]
                        if change < best:
                            best = change
                            move[0], move[1], move[2], move[4], move[5] = first, i, j, p, u
    move[3] = -1
    return best


@strict
def best_of_six(gram, weight, pruned, c, costs, move):  # type: ignore[no-untyped-def]
    """Change of the best cycle of 6; `move` gets first column, rows i, j, k, columns p, u, v."""
    size, best = len(weight), np.inf
    for first in range(0, weight.shape[1], size):
        exchange_costs(gram, weight, pruned, c, first, costs)
        for i in range(size):
            for p in range(size):
                for u in range(size):
                    if costs[i, p, u] == np.inf:
                        continue
                    for j in range(i + 1, size):
                        for v in range(size):
                            part = costs[i, p, u] + costs[j, u, v]
                            if v == p or part == np.inf:
                                continue
                            for k in range(i + 1, size):
                                if k != j and part + costs[k, v, p] < best:
                                    best = part + costs[k, v, p]
                                    move[0], move[1], move[2], move[3] = first, i, j, k
                                    move[4], move[5], move[6] = p, u, v
    return best


@strict
def exchange(gram, weight, pruned, c, row, p, u):  # type: ignore[no-untyped-def]
    """Bring p back and prune u in a row, in its mask and its c."""
    pruned[row, p], pruned[row, u] = False, True
    for t in range(gram.shape[0]):
        c[row, t] += weight[row, u] * gram[u, t] - weight[row, p] * gram[p, t]


@strict
def take(gram, weight, pruned, c, move):  # type: ignore[no-untyped-def]
    """Make the move."""
    first, i, j, k = move[0], move[1], move[2], move[3]
    p, u = first + move[4], first + move[5]
    exchange(gram, weight, pruned, c, i, p, u)
    if k < 0:
        exchange(gram, weight, pruned, c, j, u, p)
    else:
        exchange(gram, weight, pruned, c, j, u, first + move[6])
        exchange(gram, weight, pruned, c, k, first + move[6], p)


class Cycles:
    """The neighbourhood of a strip of transposable tiles; see `Local`.

    gram: (d, d); weight: (M, d), both scaled. Sets are those of the strip's n = M d entries.
    """

    def __init__(self, gram: Matrix, weight: Matrix, legal: MaskSet) -> None:
        self._gram, self._weight, self._legal = gram, np.ascontiguousarray(weight), legal
        self.scores: Vector = (self._weight**2 * gram.diagonal()).reshape(-1)

    def oracle(self, gradient: Vector) -> Pruned:
        """As `Local.oracle`."""
        return pruned_of(self._legal.prune_lowest(gradient))

    def loss(self, pruned: Pruned) -> float:
        """As `Local.loss`."""
        rest = np.where(pruned.reshape(self._weight.shape), self._weight, 0.0)
        return max(0.0, float(np.einsum("ij,ij->", rest @ self._gram, rest)))

    def tolerance(self, pruned: Pruned) -> float:
        """As `Local.tolerance`."""
        return THRESHOLD * float(self.scores[pruned].sum())

    def descend(
        self, pruned: Pruned, thorough: bool, most: int, expired: Callable[[], bool]
    ) -> Reached:
        """As `Local.descend`."""
        weight, moves, local, least = self._weight, 0, False, np.inf
        z = Pruned(pruned.reshape(weight.shape).copy())
        c, move = self._correlations(z), np.empty(7, dtype=np.int64)
        while moves != most and not expired():
            if not self._best(z, c, thorough, move):
                c, loss = self._correlations(z), self.loss(Pruned(z.reshape(-1)))
                # once more with fresh sums, unless rounding alone has led here
                if moves == 0 or loss >= least or not self._best(z, c, thorough, move):
                    local = True
                    break
                least = loss
            take(self._gram, weight, z, c, move)
            moves += 1
            if moves % REFRESH_MOVES == 0:
                c = self._correlations(z)
        reached = Pruned(z.reshape(-1))
        return Reached(reached, self.loss(reached), moves, local)

    def _best(self, z: Pruned, c: Matrix, thorough: bool, move: NDArray[np.int64]) -> bool:
        """Put the best cycle into `move`; whether it improves."""
        size = len(z)
        costs, least = np.empty((size, size, size)), -self.tolerance(Pruned(z.reshape(-1)))
        for kernel in (best_of_four, best_of_six) if thorough else (best_of_four,):
            if kernel(self._gram, self._weight, z, c, costs, move) < least:
                return True
        return False

    def _correlations(self, z: Pruned) -> Matrix:
        """Each row's c: (M, d) = (w * z) G."""
        return np.where(z, self._weight, 0.0) @ self._gram


def warm_up() -> None:
    """Compile the kernels, or load them."""
    strip = Cycles(np.eye(6) + 0.1, np.arange(1.0, 19.0).reshape(3, 6), transposable(3, 1, 6))
    strip.descend(strip.oracle(-strip.scores), True, -1, lambda: False)
