"""What every set of legal masks offers: its rows, legality, an oracle, and its masks one by one.

The relaxation { 0 <= x <= 1, lower <= A x <= upper } of its rows (`instances.masks.rows`) equals
conv(Z) for some sets (`integral`) and is larger for others; the oracle always minimises over Z, so
over its hull. Where it is a mixed-integer solver's, `error` says what it can be trusted to.
"""

from collections.abc import Iterator
from typing import Protocol

from maskgap.instances.arrays import Kept, Pruned, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import States


class MaskSet(Protocol):
    """The legal masks of one part of a problem: a row, or rows that the pattern couples."""

    @property
    def n(self) -> int:
        """Number of columns z."""
        ...

    @property
    def equal_groups(self) -> BudgetGroups | None:
        """The set as budgets of equal groups of consecutive columns; None where it is none.

        Who has a way of its own for these asks here, and else takes the rows.
        """
        ...

    @property
    def block(self) -> int:
        """Consecutive columns that are kept or pruned together; 1 where none are."""
        ...

    @property
    def tile(self) -> int | None:
        """Rows and columns of the tiles of a transposable set, which share no entry; else None."""
        ...

    @property
    def total_pruned(self) -> int:
        """Columns that every legal mask prunes."""
        ...

    @property
    def integral(self) -> bool:
        """Whether the hull of the masks is the linear relaxation of `linear_rows`."""
        ...

    @property
    def error(self) -> float:
        """How far above the minimum the oracle's mask may be, as a share of n max |gradient|.

        0 but for sets whose oracle is a mixed-integer solver's.
        """
        ...

    @property
    def masks(self) -> int:
        """Number of legal masks, exactly. Raises InputError where they cannot be counted."""
        ...

    @property
    def single(self) -> bool:
        """Whether exactly one mask is legal."""
        ...

    @property
    def identity(self) -> str:
        """Text that two sets share only if they have the same masks."""
        ...

    def linear_rows(self) -> LinearRows:
        """The set as rows of a linear system."""
        ...

    def is_legal(self, mask: Kept) -> bool:
        """Whether a (n,) or (masks, n) mask is legal, exactly."""
        ...

    def prune_lowest(self, scores: Vector) -> Kept:
        """Legal mask with the least sum of scores pruned; (n,) or (masks, n).

        Raises InputError where no mask is legal.
        """
        ...

    def minimise(self, gradient: Vector, state: States | None = None) -> Pruned | None:
        """Pruned set (n,) of least <gradient, z> in a node; None where it has no mask.

        state: (n,) int8, FREE, PRUNED or KEPT; None: all are free but those that the set forces.
        Exact but for the rounding of the sums that it compares, and `error`. Raises Refused where
        a mixed-integer solver fails.
        """
        ...

    def rises(self, gradient: Vector, state: States) -> tuple[Vector, Vector] | None:
        """By how much the least of <gradient, z> rises at least when a free column is forced.

        state: (n,) int8, a node that has a mask. Two vectors (n,), for columns that are then pruned
        and for columns that are then kept; +inf where no mask is left, and of no meaning for
        columns that are not free. None where the set has no closed form for them.
        """
        ...

    def enumerate_pruned(self, chunk: int = 1 << 16) -> Iterator[Pruned]:
        """Every legal pruned set once, as (<= chunk, n) bool blocks.

        Raises InputError where there are too many columns for that.
        """
        ...
