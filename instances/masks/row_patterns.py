"""Patterns of equal budget groups in every row: `P%`, `keep=K` and `N:M`.

29 % of 100 columns prunes 29 (binary floating point would give 28), and a half rounds up.
"""

import re
from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import ClassVar, Self

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.pattern import Pattern, ratio_of, require_divides, share_of


@dataclass(frozen=True, slots=True)
class RowPattern(Pattern):
    """Equal budget groups in every row."""

    equal_rows: ClassVar[bool] = True

    @abstractmethod
    def row_groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError where it does not fit."""

    def legal(self, layer: Layer, height: int) -> BudgetGroups:
        """As `Pattern.legal`."""
        return self.row_groups(layer.d_in)


@dataclass(frozen=True, slots=True)
class RowShare(RowPattern):
    """`P%`: a share of each row is pruned. share: exact, 0 to 1."""

    form: ClassVar[str] = "P%"
    says: ClassVar[str] = "'P%' (share pruned per row, 0 to 100)"

    share: Fraction

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        share = share_of(text)
        return None if share is None else cls(text, share)

    def row_groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns."""
        return BudgetGroups(d_in, d_in, floor(d_in * self.share + Fraction(1, 2)))


@dataclass(frozen=True, slots=True)
class RowKeep(RowPattern):
    """`keep=K`: K columns of each row are kept."""

    form: ClassVar[str] = "keep=K"
    says: ClassVar[str] = "'keep=K' (kept per row)"

    keep: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        match = re.fullmatch(r"keep=([0-9]{1,9})", text)
        return cls(text, int(match[1])) if match else None

    def row_groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError when K > d_in."""
        if self.keep > d_in:
            raise InputError(
                f"pattern '{self.text}' keeps {self.keep} columns, but the layer has {d_in}; "
                f"use keep=0 to keep={d_in}"
            )
        return BudgetGroups(d_in, d_in, d_in - self.keep)


@dataclass(frozen=True, slots=True)
class KeptOfGroup(RowPattern):
    """`N:M`: N columns kept of each M consecutive input columns."""

    form: ClassVar[str] = "N:M"
    says: ClassVar[str] = "'N:M' (N kept of each M)"

    kept: int
    size: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        found = ratio_of(text)
        return None if found is None else cls(text, *found)

    def row_groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError when M does not divide d_in."""
        require_divides(self.text, self.size, "d_in", d_in)
        return BudgetGroups(d_in, self.size, self.size - self.kept)
