"""One writer a directory: a lock that ends with its holder, whatever the file system can do.

Where `flock` works, the lock is one on a file `.lock`, which is opened and never emptied, through
no link. Where it does not (some network file systems), it is a file `.lock-owner` that only one can
make and that names its maker; one whose maker has ended on this machine is taken away.
"""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskgap.instances.errors import InputError

LOCK_FILE = ".lock"
OWNER_FILE = ".lock-owner"

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(directory: Path, remedy: str) -> Iterator[None]:
    """Be the only writer of a directory, which exists.

    remedy: what a person can do when another is writing, for the message. Raises InputError then,
    and when the directory cannot be written to.
    """
    path = directory / LOCK_FILE
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        reason = "it is a link; delete it" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{path}: cannot be locked: {reason}") from None
    owner: Path | None = None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path}: cannot be locked: it is no regular file; delete it")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise InputError(f"{directory}: another run is writing here; {remedy}") from None
            owner = _own(directory, remedy)
        yield
    finally:
        if owner is not None:
            owner.unlink(missing_ok=True)
        os.close(descriptor)


def _own(directory: Path, remedy: str) -> Path:
    """Make the file that names this process as the writer; its path. Raises InputError."""
    path = directory / OWNER_FILE
    me = f"{os.getpid()} {socket.gethostname()}"
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if not _is_left_over(path):
                break
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        else:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(me)
            return path
    raise InputError(
        f"{directory}: another run is writing here, or one has died elsewhere and left "
        f"{path.name}; {remedy}, or delete that file"
    )


def _is_left_over(path: Path) -> bool:
    """Whether the process that the file names has ended on this machine."""
    try:
        pid, _, host = path.read_text(encoding="utf-8").partition(" ")
        if host != socket.gethostname():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # not ours to signal, or not written yet
        return False
    return False
