"""Paths inside a folder whose contents others may have made.

A run's directory that was handed on may hold links: what is written there by name must not land in
a file elsewhere. So nothing is written through a link below the directory that the user named.
"""

import stat
from pathlib import Path

from maskgap.instances.errors import InputError


def inside(directory: Path, *parts: str) -> Path:
    """The path of a file to write below a directory. Raises InputError naming what is in the way.

    No part below the directory may be a link, and what is there must be a regular file.
    """
    path = directory
    for place, part in enumerate(parts, start=1):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            break
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
        if stat.S_ISLNK(mode):
            raise InputError(f"{path}: a link, and nothing is written through it; delete it")
        if place == len(parts) and not stat.S_ISREG(mode):
            raise InputError(f"{path}: in the way of a file that is to be written; move it")
    return directory.joinpath(*parts)
