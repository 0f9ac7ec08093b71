"""What every pattern says: its text, how it cuts a layer into parts, and the masks of each part.

A pattern is a frozen dataclass whose first field is its text, as written. What holds for most is
here, so a class says only what is its own. The table of all is in `instances.masks.patterns`.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import ClassVar, Protocol, Self

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet


class PartMasks(Protocol):
    """The masks of the parts of a layer. own: whether they differ from part to part."""

    @property
    def own(self) -> bool:
        """Whether parts have masks of their own."""
        ...

    def of(self, row: int) -> MaskSet:
        """The masks of the part that begins at a row, by its 0-based number in the layer.

        Raises InputError for what the layer cannot have.
        """
        ...


@dataclass(frozen=True, slots=True)
class SameMasks:
    """The same masks in every part."""

    legal: MaskSet

    @property
    def own(self) -> bool:
        """As `PartMasks.own`."""
        return False

    def of(self, row: int) -> MaskSet:
        """As `PartMasks.of`."""
        return self.legal


@dataclass(frozen=True, slots=True)
class Pattern(ABC):
    """Which masks are legal.

    text: as written. form: how the kind is written, as `maskgap solvers` lists it. says: the same
    with what it means, for the error that names all forms. equal_rows: whether every row has the
    same budgets of equal groups. coupled: whether it couples rows. one_budget: whether all rows
    share one budget, each as much of it as suits.
    """

    text: str

    form: ClassVar[str]
    says: ClassVar[str]
    equal_rows: ClassVar[bool] = False
    coupled: ClassVar[bool] = False
    one_budget: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def read(cls, text: str) -> Self | None:
        """The pattern that a text means, None where it is not of this form."""

    @abstractmethod
    def legal(self, layer: Layer, height: int) -> MaskSet:
        """The masks of a part of `height` rows, before columns that a part alone forces.

        Raises InputError where the pattern does not fit the layer.
        """

    def part_rows(self, rows: range) -> int:
        """How many of the rows asked for are solved together. Raises InputError if they cannot."""
        return 1

    def row_groups(self, d_in: int) -> BudgetGroups | None:
        """Budget groups of each row of d_in columns; None where rows do not all have the same.

        Raises InputError where the pattern does not fit so many columns.
        """
        return None

    def masks(self, layer: Layer, height: int) -> PartMasks:
        """The masks of the parts of a layer; what they have in common is made once."""
        return SameMasks(self.legal(layer, height))

    @property
    def meaning(self) -> object:
        """What it means, whichever way it is written: equal where it is the same."""
        own = (field.name for field in fields(self) if field.name != "text")
        return type(self), tuple(getattr(self, name) for name in own)


def share_of(text: str) -> Fraction | None:
    """The exact share that `P%` means, 0 to 1, or None."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,30})?)%", text)
    share = Fraction(match[1]) / 100 if match else None
    return share if share is not None and share <= 1 else None


def ratio_of(text: str) -> tuple[int, int] | None:
    """(N, M) of `N:M` with 1 <= N <= M, or None."""
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    return (int(match[1]), int(match[2])) if match and 1 <= int(match[1]) <= int(match[2]) else None


def require_divides(text: str, size: int, what: str, number: int) -> None:
    """Raise InputError unless groups of `size` fill the `number` of columns or rows."""
    if number % size:
        raise InputError(
            f"pattern '{text}' needs {what} divisible by {size}, but {what} is {number}; "
            f"choose an M that divides {number} or a per-row budget"
        )
