"""What may have been meant by a name that there is none of."""

from collections.abc import Iterable
from difflib import get_close_matches

CLOSE = 0.6
"""How much of two names must agree, as `difflib` counts it."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """'; did you mean X or Y?' with the closest names, or nothing where none is close."""
    found = get_close_matches(name, list(dict.fromkeys(names)), n=3, cutoff=CLOSE)
    return f"; did you mean {' or '.join(found)}?" if found else ""
