"""Any set of integer rows over binary columns, with the oracle that suits it.

    Z = { z in {0,1}^n : lower <= A z <= upper, forced columns }

An oracle rule minimises a linear function over Z exactly: a closed form, a flow or a dynamic
programme where the rows have a known shape (`masks.budgets`, `masks.blocks`, `masks.costs`,
`masks.tiles`), else a mixed-integer programme by HiGHS as SciPy carries it, whose answer is rounded
and must then meet every row.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.optimize

from maskgap.instances.arrays import Flags, Kept, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.masks.groups import ENUMERATION_COLUMNS, BudgetGroups
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States

STANDARD = 1024.0
"""Largest |cost| of a column that HiGHS is handed: its tolerances are absolute."""

MIXED_ERROR = 1e-6
"""How far a mask may be from HiGHS's dual bound, a column, in those units; it stops at a gap of
1e-6. The bound itself is trusted to as much again: reduced costs count as 0 up to 1e-7."""


class Rule(Protocol):
    """Minimises linear functions over a set of masks."""

    @property
    def error(self) -> float:
        """How far above the minimum a mask may be, as a share of n max |gradient|; 0: rounding."""
        ...

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """A pruned set (n,) of least sum of gradient that meets rows and states, or None.

        state: (n,) int8, those of the set and further ones. Ties may go either way, but the same
        way each time.
        """
        ...


@dataclass(frozen=True)
class MixedInteger:
    """HiGHS through SciPy, gap 0; for sets without a closed form."""

    @property
    def error(self) -> float:
        """As `Rule.error`."""
        return 2.0 * MIXED_ERROR / STANDARD

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Pruned | None:
        """As `Rule.minimise`. Raises Refused where HiGHS ends without an answer."""
        scale = float(np.abs(gradient).max(initial=0.0))
        cost = gradient / scale * STANDARD if scale > 0.0 else gradient
        result = scipy.optimize.milp(
            cost,
            integrality=np.ones(len(gradient), dtype=np.int64),
            bounds=scipy.optimize.Bounds(
                (state == PRUNED).astype(float), (state != KEPT).astype(float)
            ),
            constraints=scipy.optimize.LinearConstraint(rows.system, rows.lower, rows.upper),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            if result.status == 2:
                return None
            raise Refused(f"HiGHS ended without a mask: {result.message}")
        pruned = Pruned(result.x > 0.5)
        # a point that is whole to within its tolerance may cost more when it is rounded
        if not float(cost[pruned].sum()) <= result.mip_dual_bound + MIXED_ERROR * len(cost):
            raise Refused(f"HiGHS ended above its own bound: {result.message}")
        return pruned


@dataclass(frozen=True, eq=False)
class LinearSet:
    """Masks that meet integer rows.

    rows: the system; its states are the forced columns. pruned: columns that each mask prunes.
    integral: whether the relaxation is the hull, by a known theorem. rule: its oracle. block, tile:
    as `MaskSet` has them.
    """

    rows: LinearRows
    pruned: int
    integral: bool
    rule: Rule = field(default_factory=MixedInteger)
    block: int = 1
    tile: int | None = None

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.rows.state)

    @property
    def equal_groups(self) -> BudgetGroups | None:
        """None: rows are taken as they are."""
        return None

    @property
    def total_pruned(self) -> int:
        """Columns that every legal mask prunes."""
        return self.pruned

    @property
    def error(self) -> float:
        """How far above the minimum the oracle's mask may be, as `Rule.error`."""
        return self.rule.error

    @cached_property
    def single(self) -> bool:
        """Whether exactly one mask is legal: the one farthest from a legal mask is itself."""
        one = self.minimise(np.zeros(self.n))
        if one is None:
            return False
        farthest = self.minimise(np.where(one, 1.0, -1.0))
        return farthest is not None and bool((farthest == one).all())

    @cached_property
    def masks(self) -> int:
        """Number of legal masks, counted one by one. Raises InputError for too many columns."""
        return sum(len(block) for block in self.enumerate_pruned())

    @cached_property
    def identity(self) -> str:
        """sha256 of the rows."""
        digest = hashlib.sha256()
        rows = self.rows
        system = rows.system.sorted_indices()
        for array in (
            *(system.indptr, system.indices, system.data),
            *(rows.lower, rows.upper, rows.state),
        ):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def with_forced(self, state: States) -> "LinearSet":
        """The masks with the columns of state (n,) int8 forced; this set must have none."""
        return replace(self, rows=replace(self.rows, state=state))

    def linear_rows(self) -> LinearRows:
        """The system."""
        return self.rows

    def is_legal(self, mask: Kept) -> bool:
        """Whether a (n,) or (masks, n) mask meets every row and forced column."""
        if mask.dtype != np.bool_ or mask.shape[-1] != self.n:
            return False
        return bool(self._meets(pruned_of(mask).reshape(-1, self.n)).all())

    def _meets(self, z: Flags) -> Flags:
        """Which of the pruned sets z (masks, n) meet all rows and forced columns."""
        rows = self.rows
        sums = np.asarray(rows.system @ z.T.astype(np.int64)).T
        met = ((rows.lower <= sums) & (sums <= rows.upper)).all(axis=1)
        missed = (~z[:, rows.state == PRUNED]).any(axis=1) | z[:, rows.state == KEPT].any(axis=1)
        return np.asarray(met & ~missed)

    def prune_lowest(self, scores: Vector) -> Kept:
        """Legal mask with the least sum of scores pruned; (n,) or (masks, n).

        Raises InputError where no mask is legal.
        """
        masks = np.empty(np.atleast_2d(scores).shape, dtype=bool)
        for mask, row in zip(masks, np.atleast_2d(scores), strict=True):
            pruned = self.minimise(np.asarray(row, dtype=np.float64))
            if pruned is None:
                raise InputError("no mask meets all constraints of the pattern")
            mask[:] = kept_of(pruned)
        return Kept(masks.reshape(scores.shape))

    def minimise(self, gradient: Vector, state: States | None = None) -> Pruned | None:
        """As `MaskSet.minimise`; HiGHS's answer is refused where it misses a row."""
        states = self.rows.state
        if state is not None:
            both = (state != FREE) & (states != FREE)
            if (state[both] != states[both]).any():
                return None
            states = np.where(state != FREE, state, states)
        pruned = self.rule.minimise(self.rows, gradient, states)
        if pruned is None:
            return None
        kept = kept_of(pruned)
        wrong = (states == PRUNED) & kept | (states == KEPT) & pruned
        if wrong.any() or not self.is_legal(kept):
            raise Refused("HiGHS found no mask that meets the constraints exactly")
        return pruned

    def rises(self, gradient: Vector, state: States) -> None:
        """None: they take an oracle call a column."""
        return

    def enumerate_pruned(self, chunk: int = 1 << 16) -> Iterator[Pruned]:
        """Every legal pruned set once, as (<= chunk, n) bool blocks in a fixed order.

        All sets of the right size are looked at, so that none can be missed. Raises InputError for
        more than ENUMERATION_COLUMNS free columns.
        """
        free = np.flatnonzero(self.rows.state == FREE)
        if len(free) > ENUMERATION_COLUMNS:
            raise InputError(
                f"enumeration takes at most {ENUMERATION_COLUMNS} free columns, not {len(free)}"
            )
        left = self.pruned - int((self.rows.state == PRUNED).sum())
        codes = np.arange(1 << len(free), dtype=np.uint32)
        codes = codes[np.bitwise_count(codes) == left]
        bits = np.arange(len(free), dtype=np.uint32)
        for start in range(0, len(codes), chunk):
            block = codes[start : start + chunk]
            z = np.tile(self.rows.state == PRUNED, (len(block), 1))
            z[:, free] = (block[:, None] >> bits) & 1
            z = z[self._meets(z)]
            if len(z):
                yield Pruned(z)
