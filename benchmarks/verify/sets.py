"""Which class checks which set of masks. A new kind of set that has a closed form gets a line."""

from maskgap.benchmarks.verify.checked_set import CheckedSet
from maskgap.benchmarks.verify.equal_groups import EqualGroups
from maskgap.benchmarks.verify.integer_rows import IntegerRows
from maskgap.instances.problem import Part


def checked_set(part: Part) -> CheckedSet:
    """The legal masks of a part, as the checker sees them."""
    groups, where = part.legal.equal_groups, f"row {part.row}"
    return IntegerRows(part.legal, where) if groups is None else EqualGroups(groups, where)
