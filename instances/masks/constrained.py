"""The pattern of a row budget with side constraints after a semicolon, as in `50%;cap=3/8`.

What the constraints mean is in `instances.masks.constraints`. A row's forced columns are its own:
the rest of its system is made once for all rows, for systems can be large.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from maskgap.instances.layer import Layer
from maskgap.instances.masks.constraints import (
    CONSTRAINT_FORMS,
    Constraints,
    constrained,
    forced_columns,
    parse_constraints,
)
from maskgap.instances.masks.linear import LinearSet
from maskgap.instances.masks.pattern import PartMasks, Pattern, SameMasks
from maskgap.instances.masks.row_patterns import RowKeep, RowShare


@dataclass(frozen=True, slots=True)
class ForcedMasks:
    """The masks of rows that the layer forces columns of. shared: before they are forced."""

    shared: LinearSet
    layer: Layer
    text: str
    _known: dict[int, LinearSet] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """As `PartMasks.own`."""
        return True

    def of(self, row: int) -> LinearSet:
        """As `PartMasks.of`. Raises InputError where the layer does not say what is forced."""
        if row not in self._known:
            state = forced_columns(self.text, self.layer, row)
            self._known[row] = self.shared.with_forced(state)
        return self._known[row]


@dataclass(frozen=True, slots=True)
class Constrained(Pattern):
    """A row budget with side constraints."""

    form: ClassVar[str] = "P%;..."
    says: ClassVar[str] = f"and after P% or keep=K {CONSTRAINT_FORMS}"

    budget: RowShare | RowKeep
    constraints: Constraints

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        first, semicolon, rest = text.partition(";")
        budget = RowShare.read(first) or RowKeep.read(first)
        constraints = parse_constraints(rest) if semicolon else None
        if budget is None or constraints is None:
            return None
        return cls(text, replace(budget, text=text), constraints)

    def legal(self, layer: Layer, height: int) -> LinearSet:
        """The masks of a row before its forced columns.

        Raises InputError for constraints that the layer cannot have.
        """
        share = self.budget.share if isinstance(self.budget, RowShare) else None
        budget = self.budget.row_groups(layer.d_in)
        return constrained(self.text, budget, share, self.constraints, layer)

    def masks(self, layer: Layer, height: int) -> PartMasks:
        """As `Pattern.masks`."""
        shared = self.legal(layer, height)
        return (
            ForcedMasks(shared, layer, self.text) if self.constraints.forced else SameMasks(shared)
        )

    @property
    def meaning(self) -> object:
        """As `Pattern.meaning`."""
        return type(self), self.budget.meaning, self.constraints
