"""Transposable N:M masks: N kept of each M in every row and in every column of each M x M tile.

A strip of M rows of d_in columns, laid end to end (row 0 first), holds d_in / M tiles that share no
weight. The rows of the system are, tile by tile, its M row budgets and its M column budgets: those
of a transportation problem, whose matrix is totally unimodular, so the relaxation is the hull.

Where a tile has few masks (90 for 2:4) the oracle compares them all; else it is the general one.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from instances.groups import Mask, Vector
from instances.sets.linear import LinearSet, MixedInteger, Rule
from instances.sets.rows import KEPT, PRUNED, LinearRows, States

LISTED_SIZE = 4
"""Largest M whose tiles are listed: for 4:8 there are 1.2e11 masks."""


def transposable(size: int, pruned: int, columns: int) -> LinearSet:
    """The set of a strip of `size` rows and `columns` columns, `pruned` = M - N of each M."""
    at = np.arange(size * columns).reshape(size, columns // size, size)
    lines = [at[row, tile] for tile in range(columns // size) for row in range(size)]
    lines += [at[:, tile, column] for tile in range(columns // size) for column in range(size)]
    matrix = np.zeros((len(lines), size * columns), dtype=np.int64)
    for row, line in zip(matrix, lines, strict=True):
        row[line] = 1
    budget = np.full(len(lines), pruned, dtype=np.int64)
    rows = LinearRows(matrix, budget, budget, np.zeros(size * columns, dtype=np.int8))
    rule: Rule = TileRule(size, pruned) if size <= LISTED_SIZE else MixedInteger()
    return LinearSet(rows, pruned * columns, True, rule)


@dataclass(frozen=True)
class TileRule:
    """The oracle of transposable tiles of `size` rows and columns, `pruned` in each line."""

    size: int
    pruned: int

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Mask | None:
        """As `Rule.minimise`: each tile takes the best of all its masks, the first of equals."""
        by_tile = (self.size, -1, self.size)
        cost, states = (
            values.reshape(by_tile).transpose(1, 0, 2).reshape(-1, self.size * self.size)
            for values in (gradient, state)
        )
        masks = _masks_of_tile(self.size, self.pruned)
        z = masks.astype(np.float64)
        missed = (states == PRUNED).astype(np.float64) @ (1.0 - z.T)
        missed += (states == KEPT).astype(np.float64) @ z.T
        values = np.where(missed == 0.0, cost @ z.T, np.inf)
        best = values.argmin(axis=1)
        if not np.isfinite(values.min(axis=1)).all():
            return None
        tiles = masks[best].reshape(-1, self.size, self.size).transpose(1, 0, 2)
        return np.array(tiles.reshape(-1), dtype=np.bool_)


@cache
def _masks_of_tile(size: int, pruned: int) -> Mask:
    """All pruned sets of a tile, (masks, size * size), in a fixed order."""
    lines = np.zeros((0, size), dtype=bool)
    for chosen in combinations(range(size), pruned):
        line = np.zeros((1, size), dtype=bool)
        line[0, list(chosen)] = True
        lines = np.concatenate([lines, line])
    partial = np.zeros((1, 0, size), dtype=bool)
    for _ in range(size):
        longer = np.concatenate(
            [
                np.repeat(partial, len(lines), axis=0),
                np.tile(lines, (len(partial), 1))[:, None, :],
            ],
            axis=1,
        )
        partial = longer[(longer.sum(axis=1) <= pruned).all(axis=1)]
    full = partial[(partial.sum(axis=1) == pruned).all(axis=1)]
    return np.array(full.reshape(len(full), size * size), dtype=np.bool_)
