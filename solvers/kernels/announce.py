"""Telling people that kernels are being compiled, which happens once on a machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from maskgap.solvers.kernels.cache import COMPILING, is_temporary, place


def announce() -> None:
    """One line for people: where compiled kernels go, if that is no lasting place."""
    where = place()
    more = ""
    if where is None:
        more = "; no folder can be written to, so for each run anew: name one in NUMBA_CACHE_DIR"
    elif is_temporary():
        more = f"; kept in {where}, since neither the installation nor a home can be written to"
    with suppress(OSError):
        print(f"compiling kernels, once: half a minute or so{more}", file=sys.stderr, flush=True)


@contextmanager
def announced() -> Iterator[None]:
    """Whatever is compiled within is announced, and who listened before is told as well."""
    before, told = COMPILING.listener, False

    def listener(seconds: float | None) -> None:
        nonlocal told
        if not told:
            announce()
        told = True
        before(seconds)

    COMPILING.listener = listener
    try:
        yield
    finally:
        COMPILING.listener = before
