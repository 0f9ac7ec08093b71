"""Texts of others as a terminal, a table or a page can show them.

Control characters, terminal escapes, those that turn the direction of a line or hide in it, and
halves of surrogate pairs are written as escapes; all others stay.
"""

import unicodedata
from typing import Any

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")

LINE_BREAKS = "\n\t"
"""What a text of several lines may hold besides."""


def visible(text: str, allowed: str = "") -> str:
    r"""The text with every character that cannot be seen as its escape, such as '\x07'.

    allowed: characters that stay, such as `LINE_BREAKS`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in allowed and unicodedata.category(c) in _HIDDEN
        else c
        for c in text
    )


def shown(value: Any, allowed: str = "") -> Any:
    """A value of JSON with its texts, keys included, made visible."""
    if isinstance(value, str):
        return visible(value, allowed)
    if isinstance(value, dict):
        return {shown(name): shown(part, allowed) for name, part in value.items()}
    return [shown(part, allowed) for part in value] if isinstance(value, list | tuple) else value
