"""Files on their way into place, `.maskgap-HEX.ENDING`, and those that a killed process left.

While such a file of its own is in a folder, a process shares a lock (flock) of that folder, which
goes with the process, however that ends. So who has the folder's lock for himself knows that no
living process owns any of these files. Where a file system has no such locks, none is taken away.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDINGS = ("part", "new", "trial")
"""Of a file that is written, of one that is to take another's place, and of a trial of a folder."""

_NAME = re.compile(rf"\.maskgap-[0-9a-f]{{16}}\.({'|'.join(ENDINGS)})")


def unfinished_name(ending: str) -> str:
    """A name that nothing has, of a file on its way. ending: one of `ENDINGS`."""
    return f".maskgap-{secrets.token_hex(8)}.{ending}"


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Share the folder's lock: files on their way there are somebody's. The folder is there."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no such locks here: then nobody clears either
            stack.callback(os.close, _locked(folder, fcntl.LOCK_SH))
        yield


def clear_left_behind(folder: Path) -> int:
    """Take away the files on their way that are nobody's; how many. 0 where somebody writes now."""
    try:
        descriptor = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    try:
        cleared = 0
        for path in [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]:
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.unlink()
                    cleared += 1
        return cleared
    finally:
        os.close(descriptor)


def _locked(folder: Path, how: int) -> int:
    """A descriptor that has a folder's lock. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
