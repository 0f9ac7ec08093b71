"""Proofs of single rows, where rows share one budget.

Each is under a budget of its own; they bound the whole by a multiplier
(`benchmarks.verify.budget_curve`). Points of a row proof beyond the leaf's are for other budgets of
the row: the bound under k is taken at the point whose sum is k, on the line between those of the
proof's points, all 0 and all 1 among them, whose sums lie next to k.

A row proof has one leaf, so its function holds everywhere.

The proof of the i-th row inside part<t> is a part of key part<t>.<i>; the heads of all are the
field `rows`, each with its `budget`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from maskgap.instances.formats.proof import Evidence, Malformed, PartProof, Reading, Writing


@dataclass(frozen=True, eq=False, repr=False)
class RowProof:
    """The proof of a row under a budget. budget: the columns pruned in the problem it is for."""

    budget: int
    proof: PartProof

    def __repr__(self) -> str:
        return f"RowProof({self.budget} pruned, {self.proof!r})"


@dataclass(frozen=True, eq=False, repr=False)
class SharedBudget(Evidence):
    """rows: proofs of some of the rows, of a row as many as there are."""

    kind: ClassVar[str] = "shared-budget"
    fields: ClassVar[tuple[str, ...]] = ("rows",)

    rows: tuple[RowProof, ...]

    def __repr__(self) -> str:
        return f"SharedBudget({len(self.rows)} proofs of rows)"

    @property
    def proves(self) -> bool:
        """As `Evidence.proves`."""
        return bool(self.rows)

    def write(self, to: Writing) -> dict[str, Any]:
        """As `Evidence.write`."""
        return {
            "rows": [
                to.nested(row.proof, f"{to.key}.{i}", row.budget) for i, row in enumerate(self.rows)
            ]
        }

    @classmethod
    def read(cls, of: Reading) -> Self:
        """As `Evidence.read`."""
        if of.head.budget is not None:
            raise Malformed(f"{of.key} is a shared budget inside a shared budget")
        rows = [(head, f"{of.key}.{i}") for i, head in enumerate(of.head.rows or [])]
        return cls(tuple(RowProof(head.budget or 0, of.nested(head, key)) for head, key in rows))
