"""Refit swaps where masks are not those of equal groups of a row.

Each row of a part has a tableau of its own. A descent makes the best move of its kind of set
(`refit_swap.moves`) until none improves. In a thorough descent, and where only the set's oracle
knows moves, that is asked then: a pruned column i is to be kept, other pruned columns stay so if
they can, and those that have to go are the cheapest one by one,

    min over legal z, z_i = 0, of  sum over kept j of (x_j^2 / B_jj) z_j  -  c sum over pruned z_i,

c large; i is one of the few columns that gain most, and the first such mask that is better is
taken. Oracles that are a mixed-integer solver's are not asked, and others may take a second.
"""

from collections.abc import Callable

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, KEPT
from maskgap.solvers.local_search.neighbours.local import Reached
from maskgap.solvers.local_search.refit_swap.moves import Move, moves_of
from maskgap.solvers.local_search.refit_swap.population import SAME
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic, factor, solve
from maskgap.solvers.local_search.refit_swap.walker import DRIFT, THRESHOLD, Walker

ASKED, ASKED_BLIND = 4, 64
"""Columns for which an oracle is asked, where other moves are known and where none are."""

CHECKED = 1000
"""Moves after which the loss, found afresh, must have fallen."""

LARGEST_TABLES = 1 << 29
"""Numbers of all tableaus together, at most: 4 GiB."""


class AnySet:
    """The neighbourhood of a part; see `local_search.neighbours.local.Local`."""

    def __init__(self, matrix: Matrix, target: Matrix, legal: MaskSet) -> None:
        """matrix: H (d, d), positive definite. target: (rows, d). legal: masks of rows end to end.

        Raises Refused where the tableaus would be too large, or H is singular.
        """
        height, width = target.shape
        if height * (width + 1) ** 2 > LARGEST_TABLES:
            raise Refused(
                f"it needs a matrix of {width} x {width} for each of the {height} rows that are "
                "solved together, and has room for 4 GiB of them; choose fewer --rows"
            )
        self._legal, self._width = legal, width
        whole = BudgetGroups(width, width, 0)
        self._rows = [Walker(Quadratic.of(matrix, row, whole)) for row in target]
        inverse = solve(factor(matrix), np.eye(width)).diagonal()
        self.scores: Vector = (target**2 / inverse).reshape(-1)
        self._moves = moves_of(self._rows, legal)

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
        for place, mask in enumerate(kept_of(pruned).reshape(-1, self._width)):
            self._rows[place].go(mask)
            self._forget(place)
        moves, local, least = 0, False, np.inf
        while moves != most and not expired():
            move = self._best(thorough, expired)
            if move is not None and moves % CHECKED == CHECKED - 1:
                # rounding must not lead in circles
                total = sum(row.quadratic.loss(row.kept) for row in self._rows)
                local, least = total >= least, total
                if local:
                    break
            if move is not None:
                self._make(move)
                moves += 1
            elif expired():
                break
            else:
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
                    self._forget(place)
        found = pruned_of(self._mask())
        return Reached(found, self.loss(found), moves, local)

    def _mask(self) -> Kept:
        return Kept(np.concatenate([row.kept for row in self._rows]))

    def _forget(self, place: int) -> None:
        if self._moves is not None:
            self._moves.forget(place)

    def _make(self, move: Move) -> None:
        for place, columns in move.items():
            kept = self._rows[place].kept.copy()
            kept[columns] ^= True
            self._rows[place].go(kept)
            self._forget(place)

    def _best(self, thorough: bool, expired: Callable[[], bool]) -> Move | None:
        limit = -sum(THRESHOLD * abs(row.loss) + row.quadratic.floor for row in self._rows)
        if self._moves is not None:
            move = self._moves.best(limit)
            if move is not None or not thorough or self._legal.equal_groups is not None:
                return move
        return None if self._legal.error > 0.0 else self._asked(limit, expired)

    def _asked(self, limit: float, expired: Callable[[], bool]) -> Move | None:
        """A move of the set's oracle that changes the loss by less than a limit."""
        alone = np.concatenate([row.alone() for row in self._rows])
        kept = self._mask()
        gradient = np.where(kept, alone, -2.0 * float(np.abs(alone).max(initial=0.0)))
        columns = np.flatnonzero(pruned_of(kept) & (self._legal.linear_rows().state == FREE))
        columns = columns[np.argsort(alone[columns], kind="stable")]
        for column in columns[: ASKED if self._moves else ASKED_BLIND].tolist():
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
