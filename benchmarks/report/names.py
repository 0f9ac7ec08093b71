"""Names as a page can show them, whatever a records file holds.

Control characters but line breaks and tabs, and those that turn the direction of a line or hide in
it, are written as escapes; all others stay, and the template escapes what means something to HTML.
"""

import unicodedata
from collections.abc import Sequence

from benchmarks.record import Record

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_NAMES = ("suite", "group", "instance", "pattern", "problem", "solver", "solver_version",
          "layer_type", "device", "started")  # fmt: skip


def visible(text: str) -> str:
    r"""The text with every character that cannot be seen as its escape, such as '\x07'."""
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in "\n\t" and unicodedata.category(c) in _HIDDEN
        else c
        for c in text
    )


def with_visible_names(records: Sequence[Record]) -> list[Record]:
    """The same records, their names and settings made visible; numbers and verdicts untouched."""
    found = []
    for record in records:
        shown: dict[str, object] = {name: visible(getattr(record, name)) for name in _NAMES}
        shown["settings"] = {
            visible(name): visible(value) if isinstance(value, str) else value
            for name, value in record.settings.items()
        }
        changed = {name: value for name, value in shown.items() if value != getattr(record, name)}
        found.append(record.model_copy(update=changed) if changed else record)
    return found
