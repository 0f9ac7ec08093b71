"""Which names a user means by globs."""

from fnmatch import fnmatchcase


def matches(name: str, layers: str) -> bool:
    """Whether a name matches a glob, or one of several separated by commas."""
    return any(fnmatchcase(name, glob.strip()) for glob in layers.split(","))
