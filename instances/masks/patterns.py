"""Patterns: which masks are legal, written as people write them, with exact budgets.

    "50%"        share pruned in each row; k = floor(d_in * share + 1/2) in exact decimal arithmetic
    "keep=K"     K columns kept in each row
    "N:M"        N kept of each M consecutive input columns; M must divide d_in
    "layer:50%"  share pruned of all rows together, each row as many as suits
    "N:M^T"      N:M along the rows and along the columns of each M x M tile (transposable)

The budgets of a row, `50%` and `keep=K`, take side constraints after a semicolon, as in
`50%;cap=3/8`. A pattern says nothing about scores or losses. It cuts a layer into parts that can be
solved apart: rows, or strips of rows that it couples.

`PATTERNS` is the table of the kinds, each in a file of its own. Nothing else lists them.
"""

from maskgap.instances.errors import InputError
from maskgap.instances.masks.constrained import Constrained
from maskgap.instances.masks.layer_share import LayerShare
from maskgap.instances.masks.pattern import Pattern
from maskgap.instances.masks.row_patterns import KeptOfGroup, RowKeep, RowShare
from maskgap.instances.masks.tiles import Transposable

PATTERNS: tuple[type[Pattern], ...] = (
    RowShare,
    RowKeep,
    KeptOfGroup,
    LayerShare,
    Transposable,
    Constrained,
)

FORMS = ", ".join(kind.says for kind in PATTERNS)


def parse_pattern(text: str) -> Pattern:
    """Read a pattern. Raises InputError that names the legal forms.

    Anything but a string is refused: YAML readers turn an unquoted 2:4 into the number 124.
    """
    if not isinstance(text, str):
        raise InputError(
            f"pattern must be a string, not {text!r}: put it in quotes ('2:4'); forms: {FORMS}"
        )
    for kind in PATTERNS:
        found = kind.read(text)
        if found is not None:
            return found
    raise InputError(f"pattern '{text}' is not one of the forms {FORMS}")
