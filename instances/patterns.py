"""Patterns: which masks are legal, written as people write them, with exact budgets.

    "50%"      share pruned in each row; k = floor(d_in * share + 1/2) in exact decimal arithmetic
    "keep=K"   K columns kept in each row
    "N:M"      N kept of each M consecutive input columns; M must divide d_in

29 % of 100 columns prunes 29 (binary floating point would give 28), and a half rounds up.
A pattern says nothing about scores or losses.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from instances.errors import InputError
from instances.groups import BudgetGroups

FORMS = "'P%' (share pruned per row, 0 to 100), 'keep=K' (kept per row), 'N:M' (N kept of each M)"


@dataclass(frozen=True, slots=True)
class RowShare:
    """`P%`: a share of each row is pruned. text: as written; share: exact, 0 to 1."""

    text: str
    share: Fraction

    def groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns."""
        return BudgetGroups(d_in, d_in, floor(d_in * self.share + Fraction(1, 2)))


@dataclass(frozen=True, slots=True)
class RowKeep:
    """`keep=K`: K columns of each row are kept."""

    text: str
    keep: int

    def groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError when K > d_in."""
        if self.keep > d_in:
            raise InputError(
                f"pattern '{self.text}' keeps {self.keep} columns, but the layer has {d_in}; "
                f"use keep=0 to keep={d_in}"
            )
        return BudgetGroups(d_in, d_in, d_in - self.keep)


@dataclass(frozen=True, slots=True)
class KeptOfGroup:
    """`N:M`: N columns kept of each M consecutive input columns."""

    text: str
    kept: int
    size: int

    def groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError when M does not divide d_in."""
        if d_in % self.size:
            raise InputError(
                f"pattern '{self.text}' needs d_in divisible by {self.size}, but d_in is {d_in}; "
                f"choose an M that divides {d_in} or a per-row budget"
            )
        return BudgetGroups(d_in, self.size, self.size - self.kept)


Pattern = RowShare | RowKeep | KeptOfGroup

PATTERN_KINDS: dict[type, str] = {RowShare: "P%", RowKeep: "keep=K", KeptOfGroup: "N:M"}
"""The form of each pattern class, as `maskgap solvers` lists it."""


def parse_pattern(text: str) -> Pattern:
    """Read a pattern. Raises InputError that names the legal forms.

    Anything but a string is refused: YAML readers turn an unquoted 2:4 into the number 124.
    """
    if not isinstance(text, str):
        raise InputError(
            f"pattern must be a string, not {text!r}: put it in quotes ('2:4'); forms: {FORMS}"
        )
    if match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text):
        share = Fraction(match[1]) / 100
        if share <= 1:
            return RowShare(text, share)
    elif match := re.fullmatch(r"keep=([0-9]{1,9})", text):
        return RowKeep(text, int(match[1]))
    elif match := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text):
        kept, size = int(match[1]), int(match[2])
        if 1 <= kept <= size:
            return KeptOfGroup(text, kept, size)
    raise InputError(f"pattern '{text}' is not one of the forms {FORMS}")
