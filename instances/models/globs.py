"""Which names a user means by globs."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def parts(globs: str) -> list[str]:
    """The globs that stand between commas."""
    return [part for part in (one.strip() for one in globs.split(",")) if part]


def matches(name: str, globs: str) -> bool:
    """Whether a name matches a glob, or one of several separated by commas."""
    return any(fnmatchcase(name, glob) for glob in parts(globs))


def unmatched(globs: str, names: Iterable[str]) -> str | None:
    """The first glob of several that no name matches, which a user cannot have meant; or None."""
    known = list(names)
    return next((g for g in parts(globs) if not any(fnmatchcase(n, g) for n in known)), None)
