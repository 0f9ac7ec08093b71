"""Any set of integer rows over binary columns, with the oracle that suits it.

    Z = { z in {0,1}^n : lower <= A z <= upper, forced columns }

An oracle rule minimises a linear function over Z exactly: a closed form or a dynamic programme
where the rows have a known shape (`sets.blocks`, `sets.costs`, `sets.tiles`), else a mixed-integer
programme by HiGHS as SciPy carries it, whose answer is rounded and must then meet every row.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from instances.errors import InputError
from instances.groups import ENUMERATION_COLUMNS, Mask, Vector
from instances.sets.rows import FREE, KEPT, PRUNED, LinearRows, States


class Rule(Protocol):
    """Minimises linear functions over a set of masks."""

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Mask | None:
        """A pruned set (n,) of least sum of gradient that meets rows and states, or None.

        state: (n,) int8, those of the set and further ones. Ties may go either way, but the same
        way each time.
        """
        ...


@dataclass(frozen=True)
class MixedInteger:
    """HiGHS through SciPy, gap 0; for sets without a closed form."""

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Mask | None:
        """As `Rule.minimise`. Raises RuntimeError where HiGHS ends without an answer."""
        scale = float(np.abs(gradient).max(initial=0.0))
        result = scipy.optimize.milp(
            gradient / scale if scale > 0.0 else gradient,
            integrality=np.ones(len(gradient), dtype=np.int64),
            bounds=scipy.optimize.Bounds(
                (state == PRUNED).astype(float), (state != KEPT).astype(float)
            ),
            constraints=scipy.optimize.LinearConstraint(rows.matrix, rows.lower, rows.upper),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            if result.status == 2:
                return None
            raise RuntimeError(f"HiGHS ended without a mask: {result.message}")
        pruned: Mask = result.x > 0.5
        return pruned


@dataclass(frozen=True, eq=False)
class LinearSet:
    """Masks that meet integer rows.

    rows: the system; its states are the forced columns. pruned: columns that each mask prunes.
    integral: whether the relaxation is the hull, by a known theorem. rule: its oracle.
    """

    rows: LinearRows
    pruned: int
    integral: bool
    rule: Rule = field(default_factory=MixedInteger)

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.rows.state)

    @property
    def total_pruned(self) -> int:
        """Columns that every legal mask prunes."""
        return self.pruned

    @cached_property
    def single(self) -> bool:
        """Whether exactly one mask is legal, counted where that can be done; else False."""
        return self._open <= ENUMERATION_COLUMNS and self.masks == 1

    @cached_property
    def masks(self) -> int:
        """Number of legal masks, counted one by one. Raises InputError for too many columns."""
        return sum(len(block) for block in self.enumerate_pruned())

    @cached_property
    def identity(self) -> str:
        """sha256 of the rows."""
        digest = hashlib.sha256()
        rows = self.rows
        for array in (rows.matrix, rows.lower, rows.upper, rows.state.astype(np.int64)):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).astype("<i8").data)
        return digest.hexdigest()

    @property
    def _open(self) -> int:
        return int((self.rows.state == FREE).sum())

    def linear_rows(self) -> LinearRows:
        """The system."""
        return self.rows

    def is_legal(self, mask: Mask) -> bool:
        """Whether a (n,) or (masks, n) mask (True = kept) meets every row and forced column."""
        if mask.dtype != np.bool_ or mask.shape[-1] != self.n:
            return False
        z = np.atleast_2d(~mask)
        return bool(self._meets(z).all())

    def _meets(self, z: Mask) -> Mask:
        rows = self.rows
        sums = z.astype(np.int64) @ rows.matrix.T
        met = ((rows.lower <= sums) & (sums <= rows.upper)).all(axis=1)
        missed = (~z[:, rows.state == PRUNED]).any(axis=1) | z[:, rows.state == KEPT].any(axis=1)
        return np.asarray(met & ~missed)

    def prune_lowest(self, scores: Vector) -> Mask:
        """Legal mask (True = kept) with the least sum of scores pruned; (n,) or (masks, n).

        Raises InputError where no mask is legal.
        """
        masks = np.empty(np.atleast_2d(scores).shape, dtype=bool)
        for mask, row in zip(masks, np.atleast_2d(scores), strict=True):
            pruned = self.oracle(np.asarray(row, dtype=np.float64))
            if pruned is None:
                raise InputError("no mask meets all constraints of the pattern")
            mask[:] = ~pruned
        return masks.reshape(scores.shape)

    def oracle(
        self,
        gradient: Vector,
        forced_pruned: Mask | None = None,
        forced_kept: Mask | None = None,
    ) -> Mask | None:
        """Pruned set (n,) of least <gradient, z> with further entries forced; None: there is none.

        Raises RuntimeError where a native solver's answer does not meet the rows exactly.
        """
        state = self.rows.state.copy()
        for forced, value, other in (
            (forced_pruned, PRUNED, KEPT),
            (forced_kept, KEPT, PRUNED),
        ):
            if forced is not None:
                if (state[forced] == other).any():
                    return None
                state[forced] = value
        pruned = self.rule.minimise(self.rows, gradient, state)
        if pruned is None:
            return None
        wrong = (state == PRUNED) & ~pruned | (state == KEPT) & pruned
        if wrong.any() or not self.is_legal(~pruned):
            raise RuntimeError("the oracle's mask does not meet the constraints exactly")
        return pruned

    def enumerate_pruned(self, chunk: int = 1 << 16) -> Iterator[Mask]:
        """Every legal pruned set once, as (<= chunk, n) bool blocks in a fixed order.

        All 2^free sets are looked at, so that none can be missed. Raises InputError for more than
        ENUMERATION_COLUMNS free columns.
        """
        free = np.flatnonzero(self.rows.state == FREE)
        if len(free) > ENUMERATION_COLUMNS:
            raise InputError(
                f"enumeration takes at most {ENUMERATION_COLUMNS} free columns, not {len(free)}"
            )
        bits: NDArray[np.int64] = np.arange(len(free), dtype=np.int64)
        for start in range(0, 1 << len(free), chunk):
            codes = np.arange(start, min(start + chunk, 1 << len(free)), dtype=np.int64)
            z = np.tile(self.rows.state == PRUNED, (len(codes), 1))
            z[:, free] = (codes[:, None] >> bits) & 1
            z = z[self._meets(z)]
            if len(z):
                yield z
