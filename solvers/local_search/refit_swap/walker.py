"""A tableau that walks from mask to mask, and the descents that it makes.

Between masks that share most columns it is swept along, m^2 / 2 a column; from further away, or
after many sweeps, it is made afresh. A descent that is to be sure of itself finds the loss of its
end by a Cholesky factor of its own: where the tableau has drifted from it, the descent goes on from
a fresh one. Losses so found have to fall, so it ends whatever rounding does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import States
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic
from maskgap.solvers.local_search.refit_swap.tableau import (
    best_exchange,
    descend,
    move_greedily,
    walk,
)

THRESHOLD = 1e-11
"""An exchange must lower the loss by this share of it; less may be rounding."""

DRIFT = 1e-9
"""Share of the loss by which a tableau may be off before it is made afresh."""

FRESH_SHARE = 0.2
"""Columns to sweep, as a share of m, above which a fresh tableau costs less."""

LARGEST_WALK = 1000
"""Sweeps after which a tableau is made afresh."""

ANY = 1e300
"""A limit below which every exchange lies; an infinite one would leave what is not a number."""

SLICE_WORK = 1 << 22
"""Entries of the tableau changed between two looks at the clock, about: some milliseconds."""


@dataclass(frozen=True, eq=False, slots=True)
class Descent:
    """Where a descent ended: its loss, the exchanges made, and whether no exchange improves."""

    loss: float
    swaps: int
    local: bool


def never() -> bool:
    """No limit of time."""
    return False


class Walker:
    """A tableau of a quadratic, at one mask at a time.

    kept: (m,) bool, that mask. It is at no mask before `go` or a greedy construction.
    """

    def __init__(self, quadratic: Quadratic) -> None:
        self.quadratic = quadratic
        m = len(quadratic.target)
        self.kept: Flags = np.zeros(m, dtype=bool)
        self._table = np.empty((0, 0))
        self._work = np.empty((5, m + 1))
        self._slice = max(1, SLICE_WORK // (m * m + 1))
        self._sweeps = LARGEST_WALK

    @property
    def loss(self) -> float:
        """The loss of the mask as the tableau has it, with its drift."""
        return float(self._table[-1, -1])

    def alone(self) -> Vector:
        """(m,): by how much pruning a kept column, or keeping a pruned one, changes the loss."""
        m = len(self.kept)
        changes: Vector = self._table[:m, m] ** 2 / -self._table.diagonal()[:m]
        return changes

    def change(self, columns: NDArray[np.int64]) -> float:
        """By how much the loss changes when all these columns (k,), ascending, change sides."""
        matrix = _symmetric(self._table[np.ix_(columns, columns)])
        last = self._table[columns, -1]
        return -float(last @ np.linalg.solve(matrix, last))

    def best(self) -> tuple[float, int, int]:
        """The best exchange: (change, column to prune, column to keep); +inf and -1 for none."""
        m = len(self.kept)
        change, j, i = best_exchange(
            self._table, self.kept, self.quadratic.offsets, ANY, self._work[:, :m]
        )
        return (float(change), int(j), int(i)) if j >= 0 else (np.inf, -1, -1)

    def pairs(self, pruned: NDArray[np.int64], kept: NDArray[np.int64]) -> Vector:
        """(k,) changes of the loss by exchanges: one column to prune and one to keep for each."""
        table, diagonal, last = self._table, self._table.diagonal(), self._table[:, -1]
        cross = table[np.minimum(pruned, kept), np.maximum(pruned, kept)]
        step = last[kept] / diagonal[kept]
        moved = last[pruned] - cross * step
        changes: Vector = moved**2 / (cross**2 / diagonal[kept] - diagonal[pruned])
        return changes - last[kept] * step

    def exchanges(self, pruned: NDArray[np.int64], kept: NDArray[np.int64]) -> Matrix:
        """(a, b) changes of the loss by exchanges of blocks, see `refit_swap.moves`.

        pruned: (a, s) columns of kept blocks, kept: (b, s) of pruned ones, ascending in each block.
        Some a b s^3 operations.
        """
        if pruned.shape[1] == 1:
            return self.pairs(pruned, kept.T)
        table, last = self._table, self._table[:, -1]
        going, coming = (_symmetric(table[c[:, :, None], c[:, None, :]]) for c in (pruned, kept))
        rows, columns = pruned[:, None, :, None], kept[None, :, None, :]
        cross = table[np.minimum(rows, columns), np.maximum(rows, columns)]  # (a, b, s, s)
        inverse = np.linalg.inv(coming)
        steps = (inverse @ last[kept][:, :, None])[:, :, 0]
        schur = going[:, None] - cross @ inverse @ cross.swapaxes(2, 3)
        left = last[pruned][:, None, :] - (cross @ steps[:, :, None])[..., 0]
        moved = np.linalg.solve(schur, left[..., None])[..., 0]
        changes: Matrix = -(left * moved).sum(axis=2) - (last[kept] * steps).sum(axis=1)
        return changes

    def go(self, kept: Flags) -> None:
        """Bring the tableau to a mask (m,)."""
        away = int((kept != self.kept).sum())
        if self._sweeps + away >= LARGEST_WALK or away > FRESH_SHARE * len(kept):
            self.take(self.quadratic.tableau(kept), kept)
        else:
            self._sweeps += int(walk(self._table, self.kept, kept, self._work[0]))

    def take(self, table: Matrix, kept: Flags) -> None:
        """Take a fresh tableau, which is changed from now on, at a mask (m,)."""
        self._table, self.kept, self._sweeps = table, kept.copy(), 0

    def shrink(
        self, left: NDArray[np.int64], factors: Vector, expired: Callable[[], bool] = never
    ) -> bool:
        """Prune by least rise until group g has pruned left[g] more; whether time sufficed.

        factors: (m,), see `tableau.move_greedily`. left is changed.
        """
        return self._move(True, left, factors, expired)

    def grow(self, left: NDArray[np.int64], expired: Callable[[], bool] = never) -> bool:
        """Keep by largest gain until group g has kept left[g] more; as `shrink`."""
        return self._move(False, left, np.ones(len(self.kept)), expired)

    def _move(
        self,
        from_kept: bool,
        left: NDArray[np.int64],
        factors: Vector,
        expired: Callable[[], bool],
    ) -> bool:
        done, offsets = self._slice, self.quadratic.offsets
        while done == self._slice and not expired():
            done = move_greedily(
                self._table, self.kept, from_kept, offsets, left, factors, self._slice,
                self._work[0],
            )  # fmt: skip
            self._sweeps += done
        return not left.any()

    def descend(
        self, most: int = -1, expired: Callable[[], bool] = never, sure: bool = True
    ) -> Descent:
        """Take best exchanges until none improves.

        most: exchanges at most, -1 for no limit. expired: asked every few milliseconds. sure:
        whether the loss is found apart from the tableau, and drift corrected.
        """
        done, least = 0, np.inf
        while True:
            made, ended = self._slices(most - done if most >= 0 else -1, expired)
            done += made
            if not sure and (ended or done == most or expired()):
                return Descent(self.loss, done, ended)
            loss = self.quadratic.loss(self.kept)
            drifted = abs(self.loss - loss) > DRIFT * loss
            if ended and (not drifted or loss >= least):
                return Descent(loss, done, True)
            if not ended and (done == most or expired() or loss >= least):
                return Descent(loss, done, loss >= least)
            least = loss
            self.take(self.quadratic.tableau(self.kept), self.kept)

    def _slices(self, most: int, expired: Callable[[], bool]) -> tuple[int, bool]:
        """Exchanges until none improves, a limit, or the tableau is worn: (how many, whether none).

        At least two fit between two fresh tableaus.
        """
        done, ended, limits = 0, False, (THRESHOLD, self.quadratic.floor)
        while not ended and done != most and not expired():
            ahead = self._slice if most < 0 else min(self._slice, most - done)
            ahead = min(ahead, max(2, (LARGEST_WALK - self._sweeps) // 2))
            made, ended = descend(
                self._table, self.kept, self.quadratic.offsets, self._work, ahead, limits
            )
            done += made
            self._sweeps += 2 * made
            if self._sweeps >= LARGEST_WALK:
                break
        return done, bool(ended)


def _symmetric(part: Matrix) -> Matrix:
    """Matrices (..., k, k) of which the upper triangle holds."""
    upper = np.triu(part)
    matrix: Matrix = upper + np.triu(part, 1).swapaxes(-1, -2)
    return matrix


def descend_row(
    hessian: Matrix,
    target: Vector,
    kept: Kept,
    groups: BudgetGroups,
    state: States | None = None,
) -> tuple[Kept, float]:
    """Best exchanges from a legal mask until none lowers the refit loss: (mask (n,), its loss).

    hessian: (n, n) float64, positive definite. target: (n,). state: (n,) int8, columns that are
    fixed, which the mask agrees with; None: none are. The loss is in the units of the arguments.
    Costs some n^3 and n^2 an exchange, n without the pruned fixed columns. Raises Refused where the
    Hessian is not positive definite.
    """
    quadratic = Quadratic.of(hessian, target, groups, state)
    walker = Walker(quadratic)
    walker.go(kept[quadratic.free])
    found = walker.descend()
    return quadratic.lift(walker.kept), found.loss


def warm_up() -> None:
    """Compile the kernels, or load them."""
    groups = BudgetGroups(12, 12, 6)
    walker = Walker(Quadratic.of(np.eye(12) + 0.1, np.arange(1.0, 13.0), groups))
    walker.go(np.zeros(12, dtype=bool))
    walker.grow(np.array([7]))
    walker.shrink(np.array([1]), np.ones(12))
    near = walker.kept.copy()
    near[[0, 11]] = near[[11, 0]]
    walker.go(near)  # by sweeps, as few columns change sides
    walker.descend()
    walker.best()
