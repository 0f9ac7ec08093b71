"""The pattern `layer:P%`: one budget for all rows together, each row as many as suits."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import ClassVar, Self

from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.pattern import Pattern, share_of


@dataclass(frozen=True, slots=True)
class LayerShare(Pattern):
    """A share of all rows together is pruned, so all rows are one part. share: exact, 0 to 1."""

    form: ClassVar[str] = "layer:P%"
    says: ClassVar[str] = "'layer:P%' (share of all rows together)"
    coupled: ClassVar[bool] = True
    one_budget: ClassVar[bool] = True

    share: Fraction

    @classmethod
    def read(cls, text: str) -> Self | None:
        """As `Pattern.read`."""
        share = share_of(text.removeprefix("layer:")) if text.startswith("layer:") else None
        return None if share is None else cls(text, share)

    def part_rows(self, rows: range) -> int:
        """All rows."""
        return len(rows)

    def legal(self, layer: Layer, height: int) -> BudgetGroups:
        """One budget over the rows laid end to end."""
        n = height * layer.d_in
        return BudgetGroups(n, n, floor(n * self.share + Fraction(1, 2)))
