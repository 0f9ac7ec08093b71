"""Names and other texts as a page can show them, whatever a records file holds.

Control characters but line breaks and tabs, and those that turn the direction of a line or hide in
it, are written as escapes; all others stay, and the template escapes what means something to HTML.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from benchmarks.record import Record

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str) -> str:
    r"""The text with every character that cannot be seen as its escape, such as '\x07'."""
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in "\n\t" and unicodedata.category(c) in _HIDDEN
        else c
        for c in text
    )


def visible_records(records: Sequence[Record]) -> list[Record]:
    """The same records with all their texts visible; numbers are untouched."""
    found = []
    for record in records:
        shown = {name: _shown(value) for name, value in record if isinstance(value, str | dict)}
        changed = {name: value for name, value in shown.items() if value != getattr(record, name)}
        found.append(record.model_copy(update=changed) if changed else record)
    return found


def _shown(value: Any) -> Any:
    """A value of JSON with its texts, keys included, made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_shown(name): _shown(part) for name, part in value.items()}
    return [_shown(part) for part in value] if isinstance(value, list) else value
