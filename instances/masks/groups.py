"""The set of legal masks of one row: equal groups of consecutive columns, each with its own budget.

With z in {0,1}^n (1 = pruned) and the columns cut into n / size consecutive groups,

    Z = { z : sum of z over each group = pruned }

A budget for the whole row is one group of size n; N:M is n / M groups of size M with M - N pruned.
conv(Z) is a product of hypersimplices { 0 <= x <= 1, sum over each group = pruned }, so

    min over v in Z of <g, v>   is reached by pruning, in each group, the columns of smallest g:

one stable sort, no solver. Ties go to the lower column index, on every device and in any batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
import scipy.sparse

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, PRUNED, States

ENUMERATION_COLUMNS = 24
"""Widest group that `enumerate_pruned` lists; C(24, 12) is 2.7 million."""


@dataclass(frozen=True, slots=True)
class BudgetGroups:
    """Budget groups of one row.

    n: columns of the row; size: columns of a group (divides n); pruned: how many of them go.
    """

    n: int
    size: int
    pruned: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.size < 1 or self.n % self.size:
            raise InputError(f"{self.n} columns do not divide into groups of {self.size}")
        if not 0 <= self.pruned <= self.size:
            raise InputError(f"cannot prune {self.pruned} of {self.size} columns")

    @property
    def equal_groups(self) -> "BudgetGroups":
        """Itself."""
        return self

    @property
    def block(self) -> int:
        """No columns go together."""
        return 1

    @property
    def tile(self) -> None:
        """It is not made of tiles."""
        return None

    @property
    def count(self) -> int:
        """Number of groups."""
        return self.n // self.size

    @property
    def kept(self) -> int:
        """Columns kept in each group."""
        return self.size - self.pruned

    @property
    def total_pruned(self) -> int:
        """Columns pruned in the whole row."""
        return self.pruned * self.count

    @property
    def masks(self) -> int:
        """Number of legal masks, exactly."""
        return int(comb(self.size, self.pruned) ** self.count)

    @property
    def integral(self) -> bool:
        """The hull is the linear relaxation: a product of hypersimplices."""
        return True

    @property
    def single(self) -> bool:
        """Whether exactly one mask is legal."""
        return self.pruned in (0, self.size)

    @property
    def error(self) -> float:
        """The oracle is exact."""
        return 0.0

    @property
    def identity(self) -> str:
        """Text that two sets share only if they have the same masks."""
        return f"{self.n}/{self.size}/{self.pruned}"

    def linear_rows(self) -> LinearRows:
        """A row of ones a group, equal to its budget."""
        budget = np.full(self.count, self.pruned, dtype=np.int64)
        state = np.full(self.n, FREE, dtype=np.int8)
        entries = np.ones(self.n, dtype=np.int64), np.arange(self.n), np.arange(self.count + 1)
        system = scipy.sparse.csr_matrix(
            (entries[0], entries[1], entries[2] * self.size), shape=(self.count, self.n)
        )
        return LinearRows(system, budget, budget, state)

    def indicator(self) -> Matrix:
        """(count, n) 0/1 matrix; row g is the indicator e_g of group g."""
        return np.repeat(np.eye(self.count), self.size, axis=1)

    def is_legal(self, mask: Kept) -> bool:
        """Whether a (n,) or (rows, n) mask meets every budget exactly."""
        if mask.dtype != np.bool_ or mask.shape[-1] != self.n:
            return False
        kept = mask.reshape(*mask.shape[:-1], self.count, self.size).sum(axis=-1)
        return bool((kept == self.kept).all())

    def prune_lowest(self, scores: Vector) -> Kept:
        """Mask that prunes the lowest scores of each group; (n,) or (rows, n)."""
        grouped = scores.reshape(*scores.shape[:-1], self.count, self.size)
        lowest = np.argsort(grouped, axis=-1, kind="stable")[..., : self.pruned]
        mask = np.ones(grouped.shape, dtype=bool)
        np.put_along_axis(mask, lowest, False, axis=-1)
        return Kept(mask.reshape(scores.shape))

    def minimise(self, gradient: Vector, state: States | None = None) -> Pruned | None:
        """As `MaskSet.minimise`.

        Forced columns are taken out first: the budget left to the free ones of a group is `pruned`
        less those forced to be pruned.
        """
        states = np.full(self.n, FREE, np.int8) if state is None else state
        ones, free = states == PRUNED, (states == FREE).reshape(-1, self.size)
        left = self.pruned - ones.reshape(-1, self.size).sum(axis=1)
        if bool(((left < 0) | (left > free.sum(axis=1))).any()):
            return None
        grouped = np.where(free, gradient.reshape(-1, self.size), np.inf)
        order = np.argsort(grouped, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(self.size)[None, :], axis=1)
        return Pruned(((rank < left[:, None]) & free).ravel() | ones)

    def rises(self, gradient: Vector, state: States) -> tuple[Vector, Vector]:
        """As `MaskSet.rises`.

        With g_(k) and g_(k+1) the k-th and next smallest gradient among the free columns of a group
        that has k still to prune: max(0, g_j - g_(k)) when j is pruned, max(0, g_(k+1) - g_j) when
        it is kept; +inf where k is 0, or all free columns have to go.
        """
        grouped, states = gradient.reshape(-1, self.size), state.reshape(-1, self.size)
        left = self.pruned - (states == PRUNED).sum(axis=1)
        free = states == FREE
        ordered = np.sort(np.where(free, grouped, np.inf), axis=1)
        ordered = np.pad(ordered, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
        rows = np.arange(len(left))
        last, following = ordered[rows, left], ordered[rows, left + 1]
        if_pruned = np.maximum(0.0, grouped - last[:, None])
        if_kept = np.maximum(0.0, following[:, None] - grouped)
        return if_pruned.ravel(), if_kept.ravel()

    def enumerate_pruned(self, chunk: int = 1 << 16) -> Iterator[Pruned]:
        """Every legal pruned set once, as (<= chunk, n) bool blocks in a fixed order.

        Raises InputError when a group is wider than ENUMERATION_COLUMNS.
        """
        if self.size > ENUMERATION_COLUMNS:
            raise InputError(
                f"enumeration takes at most {ENUMERATION_COLUMNS} columns a group, not {self.size}"
            )
        codes = np.arange(1 << self.size, dtype=np.uint32)
        codes = codes[np.bitwise_count(codes) == self.pruned]
        bits = np.arange(self.size, dtype=np.uint32)
        radix = len(codes)
        for start in range(0, self.masks, chunk):
            index = np.arange(start, min(start + chunk, self.masks), dtype=np.int64)
            block = np.empty((len(index), self.n), dtype=bool)
            for g in range(self.count):
                index, digit = np.divmod(index, radix)
                block[:, g * self.size : (g + 1) * self.size] = (codes[digit, None] >> bits) & 1
            yield Pruned(block)
