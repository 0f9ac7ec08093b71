"""What the checker has to know of a set of masks, with no code of the set's own oracle.

One class a kind of set: `benchmarks.verify.equal_groups` by closed forms, `verify.integer_rows` for
any other, from its rows. `benchmarks.verify.sets` says which is for which.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from maskgap.benchmarks.verify.clock import Clock
from maskgap.instances.arrays import Flags, Matrix, Pruned, Vector
from maskgap.instances.masks.state import States


@dataclass(frozen=True, eq=False)
class RowTerms:
    """What multipliers alpha of the equality rows a_g . z = k_g add to a function.

    Of n free columns, where k_g is what is left of a budget by the columns that are pruned. spread:
    sum of a_g alpha_g^T, (n, n). paid: sum of k_g alpha_g, (n,). spread_size, paid_size: the same
    sums of absolute terms. meeting: the most equality rows that one column is in, less 1.
    """

    spread: Matrix
    spread_size: Matrix
    paid: Vector
    paid_size: Vector
    meeting: int


class CheckedSet(Protocol):
    """A set of masks as the checker sees it; everything raises ProofError where it cannot tell."""

    @property
    def equalities(self) -> int:
        """Number of equality rows, those of forced columns among them."""
        ...

    def terms(self, alpha: Matrix, state: States) -> RowTerms:
        """See `RowTerms`. alpha: (equalities, n). state: (n,), which columns are free or pruned."""
        ...

    def least(self, gradient: Matrix, states: States, clock: Clock) -> Vector:
        """At most the least gradient . v over the masks v of each leaf; +inf where there is none.

        gradient, states: (leaves, n). Its rounding is within what `quadratic` allows for; where no
        entry of a gradient is negative, it is at most 1 + gamma_{2n+8} times the exact least.
        """
        ...

    def pruned_by_all(self, states: States) -> Flags:
        """(leaves, n) columns that every mask of a leaf prunes, those of `states` among them.

        There may be more of them than are found.
        """
        ...

    def last_masks(self, states: States) -> tuple[Pruned, Flags]:
        """The pruned sets (leaves, n) of leaves that have one mask left, and which have none.

        Raises ProofError where more than one may be left.
        """
        ...

    def every_mask(self, clock: Clock) -> Iterator[Pruned]:
        """Every legal pruned set once, as (any number, n) blocks, shown to be all of them.

        Raises ProofError where they are too many, before the first, or not all, after the last.
        """
        ...
