"""Moves that keep masks legal under the refit loss, by kind of set, each judged exactly.

With M the tableau of a row (`refit_swap.tableau`), q its last column and E the columns that change
sides, the loss changes by - q_E^T M_EE^-1 q_E. So for a block a that goes and a block b that comes
back, each of s columns,

    delta(a, b) = - q_b^T M_bb^-1 q_b - v^T S^-1 v,
    S = M_aa - M_ab M_bb^-1 M_ba,     v = q_a - M_ab M_bb^-1 q_b,

which for s = 1 is the exchange of two columns. Rows of a part are independent, so changes of moves
that touch several rows add up:

    one row with any linear rows     the best exchange of two columns, or blocks, that meets them
    rows that share one budget       the best exchange within a row, or between two of them
    strips of transposable tiles     the best cycle of four entries: exchanges in two rows of a
                                     tile, of the same two columns and opposite
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE
from maskgap.solvers.local_search.refit_swap.walker import Walker

CHUNK = 1024
"""Exchanges whose legality is looked at together."""

Move = dict[int, list[int]]
"""The columns of each row of a part, by its number there, that change sides."""


class Moves(Protocol):
    """The moves from where walkers are, one a row of a part."""

    def best(self, limit: float) -> Move | None:
        """The legal move of least change of the loss, if that is below a limit."""
        ...

    def forget(self, place: int) -> None:
        """The walker of a row has moved."""
        ...


def moves_of(rows: list[Walker], legal: MaskSet) -> Moves | None:
    """The moves of a set; None where only its oracle knows any."""
    free = (legal.linear_rows().state == FREE).reshape(len(rows), -1)
    if len(rows) == 1:
        return Exchanges(rows[0], legal, free[0])
    if legal.equal_groups is not None:
        return Shared(rows)
    return Cycles(rows, free, legal.tile) if legal.tile == len(rows) else None


class Exchanges:
    """Of two free columns or blocks of one row, such that all linear rows of the set are met."""

    def __init__(self, row: Walker, legal: MaskSet, free: Flags) -> None:
        self._row, self._size, system = row, legal.block, legal.linear_rows()
        self._lower, self._upper = system.lower, system.upper
        dense = np.asarray(system.system.toarray(), dtype=np.int64)
        self._units = dense.reshape(len(dense), -1, self._size).sum(axis=2)
        self._free: Flags = np.asarray(free.reshape(-1, self._size).all(axis=1))

    def best(self, limit: float) -> Move | None:
        """See `Moves`."""
        size, kept = self._size, self._row.kept[:: self._size]
        ours, others = np.flatnonzero(kept & self._free), np.flatnonzero(~kept & self._free)
        if not len(ours) or not len(others):
            return None
        inside = np.arange(size)
        first, second = (units[:, None] * size + inside for units in (ours, others))
        changes = self._row.exchanges(first, second).reshape(-1)
        better = np.flatnonzero(changes < limit)
        better = better[np.argsort(changes[better], kind="stable")]
        sums = self._units[:, np.invert(kept)].sum(axis=1)[:, None]
        for top in range(0, len(better), CHUNK):
            a, b = np.divmod(better[top : top + CHUNK], len(others))
            after = sums + self._units[:, ours[a]] - self._units[:, others[b]]
            met = (self._lower[:, None] <= after) & (after <= self._upper[:, None])
            legal = np.flatnonzero(met.all(axis=0))
            if len(legal):
                place = legal[0]
                return {0: [*first[a[place]].tolist(), *second[b[place]].tolist()]}
        return None

    def forget(self, place: int) -> None:
        """Nothing is remembered."""


class Shared:
    """Exchanges within rows and between them; every mask with as many pruned columns is legal."""

    def __init__(self, rows: list[Walker]) -> None:
        self._rows = rows
        count = len(rows)
        # of each row: the best exchange inside, the cheapest to prune, the best to keep
        self._within, self._rise, self._fall = (np.empty(count) for _ in range(3))
        self._pairs = np.empty((count, 2), dtype=np.int64)
        self._cheapest, self._dearest = np.empty((2, count), dtype=np.int64)
        self._stale: set[int] = set(range(count))

    def forget(self, place: int) -> None:
        """See `Moves`."""
        self._stale.add(place)

    def best(self, limit: float) -> Move | None:
        """See `Moves`."""
        for place in sorted(self._stale):
            row = self._rows[place]
            self._within[place], self._pairs[place, 0], self._pairs[place, 1] = row.best()
            alone = row.alone()
            self._rise[place], self._cheapest[place] = _least(alone, row.kept)
            self._fall[place], self._dearest[place] = _least(alone, np.invert(row.kept))
        self._stale.clear()
        inside = int(self._within.argmin())
        change, move = float(self._within[inside]), {inside: self._pairs[inside].tolist()}
        for a in np.argsort(self._rise, kind="stable")[:2].tolist():
            for b in np.argsort(self._fall, kind="stable")[:2].tolist():
                between = float(self._rise[a] + self._fall[b])
                if a != b and between < change:
                    change = between
                    move = {a: [int(self._cheapest[a])], b: [int(self._dearest[b])]}
        return move if change < limit else None


class Cycles:
    """Of four entries of one tile: every row and column keeps as many as before."""

    def __init__(self, rows: list[Walker], free: Flags, size: int) -> None:
        self._rows, self._free, self._size = rows, free, size
        tiles = len(free[0]) // size
        self._changes = np.empty((len(rows), tiles, size, size))
        self._stale: set[int] = set(range(len(rows)))

    def forget(self, place: int) -> None:
        """See `Moves`."""
        self._stale.add(place)

    def best(self, limit: float) -> Move | None:
        """See `Moves`."""
        for place in self._stale:
            self._changes[place] = self._within(place)
        self._stale.clear()
        least, found = limit, None
        for a, one in enumerate(self._changes):
            for b in range(a + 1, len(self._rows)):
                changes = one + self._changes[b].swapaxes(1, 2)
                at = int(changes.argmin())
                if changes.flat[at] < least:
                    least = float(changes.flat[at])
                    tile, j, i = (int(k) for k in np.unravel_index(at, changes.shape))
                    columns = [tile * self._size + j, tile * self._size + i]
                    found = {a: columns, b: columns}
        return found

    def _within(self, place: int) -> NDArray[np.float64]:
        """(tiles, size, size) changes of pruning one column and keeping another of a tile."""
        row, free = self._rows[place], self._free[place]
        kept = row.kept.reshape(-1, self._size)
        open_ = free.reshape(kept.shape)
        legal = (kept & open_)[:, :, None] & (np.invert(kept) & open_)[:, None, :]
        columns = np.arange(len(free)).reshape(kept.shape)
        tile, j, i = np.nonzero(legal)
        found = np.full(legal.shape, np.inf)
        found[tile, j, i] = row.pairs(columns[tile, j], columns[tile, i])
        return found


def _least(values: Vector, chosen: Flags) -> tuple[float, int]:
    """The least value of chosen columns and its column; +inf and -1 where none is chosen."""
    if not chosen.any():
        return np.inf, -1
    at = int(np.where(chosen, values, np.inf).argmin())
    return float(values[at]), at
