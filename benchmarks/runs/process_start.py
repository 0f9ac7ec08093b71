"""Starting processes, one at a time, with nothing of the caller's; what they do at their start."""

import ctypes
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver

processes = threading.Lock()
"""Held while a process is started or its exit code read: `multiprocessing` looks at all children at
each start, and of two threads that read one exit code one finds nothing."""


@contextmanager
def bare_main() -> Iterator[None]:
    """What a process is started with: nothing of the caller's script, nor the current directory.

    The child would import the script at each start. It is begun as `python -c`, for which Python
    puts the current directory first on the path, unless told not to: any `random.py` there would be
    run.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def mute() -> None:
    """Keep off standard output, which has results: Python's prints go to standard error.

    SCIP and Gurobi write to it on an interrupt, however quiet they are told to be: that goes
    nowhere.
    """
    sys.stdout = sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that forked it ends (Linux).

    That is the server, which ends when nobody holds the far end of a pipe of its any more. Every
    process that it forks is given that end too, lest it need the server: a run does not, and would
    keep its own server alive.
    """
    alive: int | None = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    if alive is not None:
        os.close(alive)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
