"""The most memory that a process held.

Not `ru_maxrss` where there is another way: Linux hands it on from the process that starts one, so a
small process of a large parent would say what its parent held.
"""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """The most memory that this process held; processes that it started are not counted.

    On Linux since its program began (VmHWM of proc(5)); elsewhere what getrusage(2) says.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
