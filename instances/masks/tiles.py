"""Transposable N:M masks: N kept of each M in every row and in every column of each M x M tile.

A strip of M rows of d_in columns, laid end to end (row 0 first), holds d_in / M tiles that share no
weight. The rows of the system are, tile by tile, its M row budgets and its M column budgets: those
of a transportation problem, whose matrix is totally unimodular, so the relaxation is the hull.

Where a tile has few masks (90 for 2:4) the oracle compares them all. A larger tile is a flow: with
k copies of each row and column, k pruned in each, and two nodes R_e, L_e an entry e = (i, j),

    copies of row i -- R_e  at cost g_e,    R_e -- L_e  at cost 0,    L_e -- copies of column j,

a perfect matching takes e through its row and column, or leaves it out by R_e -- L_e: the simple
b-matching of the tile as an assignment problem of M k + M^2 nodes a side.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import ClassVar, Self, TypeVar

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Pruned, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.linear import LinearSet, Rule
from maskgap.instances.masks.pattern import Pattern, ratio_of, require_divides
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States

Number = TypeVar("Number", np.float64, np.int8)

LISTED_SIZE = 4
"""Largest M whose tiles are listed: for 4:8 there are 1.2e11 masks."""


@dataclass(frozen=True, slots=True)
class Transposable(Pattern):
    """`N:M^T`: N kept of each M in every row and in every column of each M x M tile."""

    form: ClassVar[str] = "N:M^T"
    says: ClassVar[str] = "'N:M^T' (rows and columns of each M x M tile)"
    coupled: ClassVar[bool] = True

    kept: int
    size: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        found = ratio_of(text.removesuffix("^T")) if text.endswith("^T") else None
        return None if found is None else cls(text, *found)

    def part_rows(self, rows: range) -> int:
        """M rows. Raises InputError where the rows are not whole strips of M."""
        require_divides(self.text, self.size, "the number of rows", len(rows))
        if rows.start % self.size:
            raise InputError(
                f"pattern '{self.text}' couples strips of {self.size} rows, and row {rows.start} "
                f"begins none; choose rows from a multiple of {self.size}"
            )
        return self.size

    def legal(self, layer: Layer, height: int) -> LinearSet:
        """The masks of a strip of M rows. Raises InputError when M does not divide d_in."""
        require_divides(self.text, self.size, "d_in", layer.d_in)
        return transposable(self.size, self.size - self.kept, layer.d_in)


def transposable(size: int, pruned: int, columns: int) -> LinearSet:
    """The set of a strip of `size` rows and `columns` columns, `pruned` = M - N of each M."""
    n, tiles = size * columns, columns // size
    row, column = np.divmod(np.arange(n), columns)
    tile, place = np.divmod(column, size)
    lines = np.concatenate([tile * size + row, tiles * size + tile * size + place])
    entries = np.ones(2 * n, dtype=np.int64), (lines, np.tile(np.arange(n), 2))
    system = scipy.sparse.csr_matrix(entries, shape=(2 * tiles * size, n))
    budget = np.full(2 * tiles * size, pruned, dtype=np.int64)
    rows = LinearRows(system, budget, budget, np.full(n, FREE, dtype=np.int8))
    rule: Rule = TileRule(size, pruned) if size <= LISTED_SIZE else FlowRule(size, pruned)
    return LinearSet(rows, pruned * columns, True, rule, tile=size)


def _by_tile(values: NDArray[Number], size: int) -> NDArray[Number]:
    """Values (n,) of a strip as (tiles, size * size)."""
    return values.reshape(size, -1, size).transpose(1, 0, 2).reshape(-1, size * size)


def _to_strip(tiles: Flags, size: int) -> Pruned:
    """Pruned entries (tiles, size * size) as those of the strip (n,)."""
    return Pruned(tiles.reshape(-1, size, size).transpose(1, 0, 2).reshape(-1))


@dataclass(frozen=True)
class TileRule:
    """The oracle of transposable tiles of `size` rows and columns, `pruned` in each line."""

    size: int
    pruned: int

    @property
    def error(self) -> float:
        """As `Rule.error`."""
        return 0.0

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`: each tile takes the best of all its masks, the first of equals."""
        cost, states = _by_tile(gradient, self.size), _by_tile(state, self.size)
        masks = _masks_of_tile(self.size, self.pruned)
        z = masks.astype(np.float64)
        missed = (states == PRUNED).astype(np.float64) @ (1.0 - z.T)
        missed += (states == KEPT).astype(np.float64) @ z.T
        values = np.where(missed == 0.0, cost @ z.T, np.inf)
        if not np.isfinite(values.min(axis=1)).all():
            return None
        return _to_strip(masks[values.argmin(axis=1)], self.size)


@dataclass(frozen=True)
class FlowRule:
    """The oracle of transposable tiles of any size, as assignment problems."""

    size: int
    pruned: int

    @property
    def error(self) -> float:
        """As `Rule.error`."""
        return 0.0

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`: tile by tile."""
        cost, states = _by_tile(gradient, self.size), _by_tile(state, self.size)
        tiles = np.empty(cost.shape, dtype=bool)
        for tile, own, forced in zip(tiles, cost, states, strict=True):
            found = self._tile(own, forced)
            if found is None:
                return None
            tile[:] = found
        return _to_strip(tiles, self.size)

    def _tile(self, cost: Vector, state: States) -> Pruned | None:
        size, entries = self.size, np.arange(self.size**2)
        copies = size * self.pruned
        nodes = copies + len(entries)
        costs = np.full((nodes, nodes), np.inf)
        line = np.arange(copies) // max(1, self.pruned)
        costs[:copies, copies:] = np.where(
            (line[:, None] == entries // size) & (state != KEPT), cost, np.inf
        )
        costs[copies:, :copies] = np.where(entries[:, None] % size == line, 0.0, np.inf)
        costs[copies + entries, copies + entries] = np.where(state == PRUNED, np.inf, 0.0)
        try:
            rows, columns = scipy.optimize.linear_sum_assignment(costs)
        except ValueError:  # its word for an assignment that there is not
            return None
        through = columns[rows < copies] - copies
        pruned = Pruned(np.zeros(len(entries), dtype=bool))
        pruned[through] = True
        return pruned


@cache
def _masks_of_tile(size: int, pruned: int) -> Pruned:
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
    return Pruned(np.array(full.reshape(len(full), size * size), dtype=np.bool_))
