"""Patterns: which masks are legal, written as people write them, with exact budgets.

    "50%"        share pruned in each row; k = floor(d_in * share + 1/2) in exact decimal arithmetic
    "keep=K"     K columns kept in each row
    "N:M"        N kept of each M consecutive input columns; M must divide d_in
    "layer:50%"  share pruned of all rows together, each row as many as suits
    "N:M^T"      N:M along the rows and along the columns of each M x M tile (transposable)

29 % of 100 columns prunes 29 (binary floating point would give 28), and a half rounds up. The
budgets of a row, `50%` and `keep=K`, take side constraints after a semicolon, as in `50%;cap=3/8`
(`instances.masks.constraints`). A pattern says nothing about scores or losses.

A pattern cuts a layer into parts that can be solved apart: rows, or strips of rows that it couples.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.constraints import (
    CONSTRAINT_FORMS,
    Constraints,
    constrained,
    forced_columns,
    parse_constraints,
)
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.linear import LinearSet
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import States
from maskgap.instances.masks.tiles import transposable

FORMS = (
    "'P%' (share pruned per row, 0 to 100), 'keep=K' (kept per row), 'N:M' (N kept of each M), "
    "'layer:P%' (share of all rows together), 'N:M^T' (rows and columns of each M x M tile), "
    f"and after P% or keep=K {CONSTRAINT_FORMS}"
)


@dataclass(frozen=True, slots=True)
class RowShare:
    """`P%`: a share of each row is pruned. text: as written; share: exact, 0 to 1."""

    text: str
    share: Fraction

    def groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns."""
        return BudgetGroups(d_in, d_in, floor(d_in * self.share + Fraction(1, 2)))

    def part_rows(self, rows: range) -> int:
        """Rows of a part."""
        return 1

    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a part of `height` rows."""
        return self.groups(layer.d_in)


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

    def part_rows(self, rows: range) -> int:
        """Rows of a part."""
        return 1

    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a part of `height` rows."""
        return self.groups(layer.d_in)


@dataclass(frozen=True, slots=True)
class KeptOfGroup:
    """`N:M`: N columns kept of each M consecutive input columns."""

    text: str
    kept: int
    size: int

    def groups(self, d_in: int) -> BudgetGroups:
        """Budget groups of a row of d_in columns. Raises InputError when M does not divide d_in."""
        _divides(self.text, self.size, "d_in", d_in)
        return BudgetGroups(d_in, self.size, self.size - self.kept)

    def part_rows(self, rows: range) -> int:
        """Rows of a part."""
        return 1

    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a part of `height` rows."""
        return self.groups(layer.d_in)


@dataclass(frozen=True, slots=True)
class LayerShare:
    """`layer:P%`: a share of all rows together is pruned, so all rows are one part."""

    text: str
    share: Fraction

    def part_rows(self, rows: range) -> int:
        """Rows of a part."""
        return len(rows)

    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a part of `height` rows: one budget over them laid end to end."""
        n = height * layer.d_in
        return BudgetGroups(n, n, floor(n * self.share + Fraction(1, 2)))


@dataclass(frozen=True, slots=True)
class Transposable:
    """`N:M^T`: N kept of each M in every row and in every column of each M x M tile."""

    text: str
    kept: int
    size: int

    def part_rows(self, rows: range) -> int:
        """Rows of a part. Raises InputError where the rows are not whole strips of M."""
        _divides(self.text, self.size, "the number of rows", len(rows))
        if rows.start % self.size:
            raise InputError(
                f"pattern '{self.text}' couples strips of {self.size} rows, and row {rows.start} "
                f"begins none; choose rows from a multiple of {self.size}"
            )
        return self.size

    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a strip of M rows. Raises InputError when M does not divide d_in."""
        _divides(self.text, self.size, "d_in", layer.d_in)
        return transposable(self.size, self.size - self.kept, layer.d_in)


@dataclass(frozen=True, slots=True)
class Constrained:
    """A row budget with side constraints."""

    text: str
    budget: RowShare | RowKeep
    constraints: Constraints

    def part_rows(self, rows: range) -> int:
        """Rows of a part."""
        return 1

    def legal(self, layer: Layer, height: int) -> LinearSet:
        """The masks of a row before its forced columns, which `forced` has.

        Raises InputError for constraints that the layer cannot have.
        """
        share = self.budget.share if isinstance(self.budget, RowShare) else None
        budget = self.budget.groups(layer.d_in)
        return constrained(self.text, budget, share, self.constraints, layer)

    def forced(self, layer: Layer, row: int) -> States | None:
        """(d_in,) states of a row's columns, None where the pattern forces none.

        Raises InputError where the layer does not say which columns are forced.
        """
        return forced_columns(self.text, layer, row) if self.constraints.forced else None


RowPattern = RowShare | RowKeep | KeptOfGroup
"""Patterns of equal budget groups in every row."""

CoupledPattern = LayerShare | Transposable
"""Patterns that couple rows."""

Pattern = RowPattern | CoupledPattern | Constrained

PATTERN_KINDS: dict[type, str] = {
    RowShare: "P%",
    RowKeep: "keep=K",
    KeptOfGroup: "N:M",
    LayerShare: "layer:P%",
    Transposable: "N:M^T",
    Constrained: "P%;...",
}
"""The form of each pattern class, as `maskgap solvers` lists it."""


def _divides(text: str, size: int, what: str, number: int) -> None:
    if number % size:
        raise InputError(
            f"pattern '{text}' needs {what} divisible by {size}, but {what} is {number}; "
            f"choose an M that divides {number} or a per-row budget"
        )


def parse_pattern(text: str) -> Pattern:
    """Read a pattern. Raises InputError that names the legal forms.

    Anything but a string is refused: YAML readers turn an unquoted 2:4 into the number 124.
    """
    if not isinstance(text, str):
        raise InputError(
            f"pattern must be a string, not {text!r}: put it in quotes ('2:4'); forms: {FORMS}"
        )
    first, semicolon, rest = text.partition(";")
    found = _plain(first, text)
    if found is not None and not semicolon:
        return found
    if isinstance(found, RowShare | RowKeep):
        constraints = parse_constraints(rest)
        if constraints is not None:
            return Constrained(text, found, constraints)
    raise InputError(f"pattern '{text}' is not one of the forms {FORMS}")


def _plain(text: str, whole: str) -> Pattern | None:
    """A pattern without side constraints, or None; `whole` is what it is called."""
    if match := re.fullmatch(r"(layer:)?([0-9]{1,3}(?:\.[0-9]{1,30})?)%", text):
        share = Fraction(match[2]) / 100
        if share <= 1:
            return LayerShare(whole, share) if match[1] else RowShare(whole, share)
    elif match := re.fullmatch(r"keep=([0-9]{1,9})", text):
        return RowKeep(whole, int(match[1]))
    elif match := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})(\^T)?", text):
        kept, size = int(match[1]), int(match[2])
        if 1 <= kept <= size:
            kind = Transposable if match[3] else KeptOfGroup
            return kind(whole, kept, size)
    return None
