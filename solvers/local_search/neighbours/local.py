"""What a neighbourhood offers to a search: descents from a mask, and random masks to start from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from maskgap.instances.arrays import Pruned, Vector

THRESHOLD = 1e-12
"""A change below this share of the sum of |Q_jj| over pruned columns may be rounding."""

REFRESH_MOVES = 64
"""Moves after which Q z is summed afresh, so that rounding does not add up."""


@dataclass(frozen=True, eq=False)
class Reached:
    """Where a descent ended.

    pruned: (n,). loss: in the units of the neighbourhood, summed afresh. moves: made.
    local: whether it ended because no move improves.
    """

    pruned: Pruned
    loss: float
    moves: int
    local: bool


class Local(Protocol):
    """A neighbourhood of a part's masks, held as pruned sets (n,) of some columns."""

    scores: Vector
    """(n,) what pruning each column alone costs."""

    def oracle(self, gradient: Vector) -> Pruned:
        """A legal pruned set of least sum of gradient (n,)."""
        ...

    def descend(
        self, pruned: Pruned, thorough: bool, most: int, expired: Callable[[], bool]
    ) -> Reached:
        """Take improving moves from a legal pruned set until there is none.

        thorough: whether the larger neighbourhood is looked at where the smaller has none. most:
        moves at most, -1 for no limit. expired: asked before each move.
        """
        ...

    def loss(self, pruned: Pruned) -> float:
        """The loss of a pruned set, and `tolerance` what of it may be rounding."""
        ...

    def tolerance(self, pruned: Pruned) -> float:
        """What of the loss of a pruned set may be rounding."""
        ...
