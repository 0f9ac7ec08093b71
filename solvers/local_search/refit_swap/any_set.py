"""Refit swaps where masks are not those of equal groups of a row: moves go through the set.

Each row of a part has a tableau of its own (`refit_swap.tableau`). With M its matrix, q its last
column and E the columns of the row that a move keeps or prunes, the loss changes by

    - q_E^T M_EE^-1 q_E,

and by the sum of that over rows. Exchanges are looked at in the order of what they change the loss
by, and the first that the set has is made: within a row the FEW best, and between rows, where all
share one budget, the column that is cheapest to prune with the one that gains most. Where the set
has none, moves are asked of its oracle: a pruned column is to be kept, other pruned columns stay so
if they can, and those that have to go are the cheapest one by one,

    min over legal z, z_i = 0, of  sum over kept j of (x_j^2 / B_jj) z_j  -  c sum over pruned z_i,

c large; columns i come in the order of their gains, and the first such mask that is better is
taken. So the end is one that no exchange of those looked at improves. An oracle's call a column is
much work where it is a mixed-integer solver's: then a descent asks FEW of them.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, KEPT
from maskgap.solvers.local_search.neighbours.local import Reached
from maskgap.solvers.local_search.refit_swap.population import SAME
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic, factor, solve
from maskgap.solvers.local_search.refit_swap.walker import DRIFT, THRESHOLD, Walker

FEW = 64
"""Exchanges of a row that are offered to the set, and calls of an oracle that is no closed form."""

LARGEST_TABLES = 1 << 29
"""Numbers of all tableaus together, at most: 4 GiB."""

Move = dict[int, list[int]]
"""The columns of each row that change sides."""


class AnySet:
    """The neighbourhood of a part; see `local_search.neighbours.local.Local`."""

    def __init__(self, matrix: Matrix, target: Matrix, legal: MaskSet) -> None:
        """matrix: H (d, d), positive definite. target: (rows, d). legal: masks of rows end to end.

        Raises Refused where the tableaus would be too large, or H is singular.
        """
        height, width = target.shape
        if height * (width + 1) ** 2 > LARGEST_TABLES:
            raise Refused(
                f"it needs a matrix of {width} x {width} for each of the {height} rows that share "
                "a budget, and has room for 4 GiB of them; choose fewer --rows"
            )
        self._legal, self._width = legal, width
        whole = BudgetGroups(width, width, 0)
        self._rows = [Walker(Quadratic.of(matrix, row, whole)) for row in target]
        inverse = solve(factor(matrix), np.eye(width)).diagonal()
        self.scores: Vector = (target**2 / inverse).reshape(-1)
        self._shared = height > 1 and legal.equal_groups is not None
        self._single = legal.tile is None and legal.block == 1
        self._free: Flags = (legal.linear_rows().state == FREE).reshape(height, width)
        self._offers: list[_Offers | None] = [None] * height

    def oracle(self, gradient: Vector) -> Pruned:
        """As `Local.oracle`."""
        return pruned_of(self._legal.prune_lowest(gradient))

    def loss(self, pruned: Pruned) -> float:
        """As `Local.loss`."""
        masks = kept_of(pruned).reshape(-1, self._width)
        return sum(row.quadratic.loss(mask) for row, mask in zip(self._rows, masks, strict=True))

    def tolerance(self, pruned: Pruned) -> float:
        """As `Local.tolerance`."""
        return SAME * self.loss(pruned)

    def descend(
        self, pruned: Pruned, thorough: bool, most: int, expired: Callable[[], bool]
    ) -> Reached:
        """As `Local.descend`."""
        for row, mask in zip(self._rows, kept_of(pruned).reshape(-1, self._width), strict=True):
            row.go(mask)
        self._offers = [None] * len(self._rows)
        moves, local, least = 0, False, np.inf
        while moves != most and not expired():
            move = self._best(thorough, expired)
            if move is not None:
                self._make(move)
                moves += 1
                continue
            if expired():
                break
            losses = [row.quadratic.loss(row.kept) for row in self._rows]
            drifted = [
                place
                for place, (row, loss) in enumerate(zip(self._rows, losses, strict=True))
                if abs(row.loss - loss) > DRIFT * loss
            ]
            local = not drifted or sum(losses) >= least
            if local:
                break
            least = sum(losses)
            for place in drifted:
                row = self._rows[place]
                row.take(row.quadratic.tableau(row.kept), row.kept)
                self._offers[place] = None
        found = pruned_of(self._mask())
        return Reached(found, self.loss(found), moves, local)

    def _mask(self) -> Kept:
        return Kept(np.concatenate([row.kept for row in self._rows]))

    def _make(self, move: Move) -> None:
        for place, columns in move.items():
            kept = self._rows[place].kept.copy()
            kept[columns] ^= True
            self._rows[place].go(kept)
            self._offers[place] = None

    def _best(self, thorough: bool, expired: Callable[[], bool]) -> Move | None:
        limit = -THRESHOLD * sum(row.loss for row in self._rows)
        if self._single:
            mask = self._mask()
            for move in self._exchanges(limit):
                trial = mask.copy()
                for place, columns in move.items():
                    trial[np.array(columns) + place * self._width] ^= True
                if self._legal.is_legal(Kept(trial)):
                    return move
            if self._shared or not thorough:
                return None
        return self._asked(limit, expired)

    def _exchanges(self, limit: float) -> Iterator[Move]:
        """Exchanges that change the loss by less than a limit, the best first."""
        for place, offers in enumerate(self._offers):
            if offers is None:
                self._offers[place] = _Offers(self._rows[place], self._free[place])
        known = [offers for offers in self._offers if offers is not None]
        found = [
            (float(change), {place: [int(j), int(i)]})
            for place, offers in enumerate(known)
            for change, j, i in zip(offers.changes, offers.pruned, offers.kept, strict=True)
            if change < limit
        ]
        if self._shared:
            rises = np.array([offers.rise for offers in known])
            falls = np.array([offers.fall for offers in known])
            for a in np.argsort(rises, kind="stable")[:2].tolist():
                for b in np.argsort(falls, kind="stable")[:2].tolist():
                    change = float(rises[a] + falls[b])
                    if a != b and change < limit:
                        found.append((change, {a: [known[a].cheapest], b: [known[b].dearest]}))
        found.sort(key=lambda offer: offer[0])
        return (move for _, move in found)

    def _asked(self, limit: float, expired: Callable[[], bool]) -> Move | None:
        """A move of the set's oracle that changes the loss by less than a limit."""
        alone = np.concatenate([row.alone() for row in self._rows])
        kept, free = self._mask(), self._free.reshape(-1)
        stay = 2.0 * float(np.abs(alone).max(initial=0.0))
        gradient = np.where(kept, alone, -stay)
        columns = np.flatnonzero(pruned_of(kept) & free)
        columns = columns[np.argsort(alone[columns], kind="stable")]
        few = FEW if self._legal.error > 0.0 else len(columns)
        for column in columns[:few].tolist():
            if expired():
                return None
            state = np.full(len(kept), FREE, dtype=np.int8)
            state[column] = KEPT
            pruned = self._legal.minimise(gradient, state)
            if pruned is None:
                continue
            moved = (kept_of(pruned) != kept).reshape(len(self._rows), -1)
            move = {
                int(place): np.flatnonzero(moved[place]).tolist()
                for place in np.flatnonzero(moved.any(axis=1))
            }
            change = sum(self._rows[place].change(np.array(c)) for place, c in move.items())
            if change < limit:
                return move
        return None


class _Offers:
    """Exchanges of one row, and what single columns cost, in the state of its walker.

    changes, pruned, kept: the FEW least changes of the loss, with the column that is pruned and the
    one that is kept for each. rise, cheapest: the free column that costs least to prune; fall,
    dearest: the one that lowers the loss most when kept. +inf and -1 where there is none.
    """

    def __init__(self, row: Walker, free: Flags) -> None:
        alone, kept = row.alone(), row.kept
        ours, others = np.flatnonzero(kept & free), np.flatnonzero(np.invert(kept) & free)
        self.rise, self.cheapest = _least(alone, ours)
        self.fall, self.dearest = _least(alone, others)
        self.changes: Vector = np.empty(0)
        self.pruned: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.kept: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if len(ours) and len(others):
            table = row.exchanges(ours, others).reshape(-1)
            first = np.argpartition(table, min(FEW, table.size) - 1)[:FEW]
            self.changes = table[first]
            self.pruned, self.kept = ours[first // len(others)], others[first % len(others)]


def _least(values: Vector, columns: NDArray[np.int64]) -> tuple[float, int]:
    if not len(columns):
        return np.inf, -1
    at = int(columns[np.argmin(values[columns])])
    return float(values[at]), at
