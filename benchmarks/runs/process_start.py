"""Starting processes: one at a time, and with nothing of the caller's script or directory."""

import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager

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
