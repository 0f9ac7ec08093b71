"""The decorators of compiled kernels.

All are kept compiled (`solvers.kernels.cache`) where there is a place for that, and release the
lock of the interpreter. Nothing is compiled when a module is imported: a module with kernels has a
function `warm_up` that calls them with arguments of the types that they are called with, and a
solver names these functions (`solvers.protocol.Compiled`).
"""

from collections.abc import Callable
from typing import Any

from numba import config, njit
from numba.core import event

from maskgap.solvers.kernels.cache import COMPILING, place

_make: Any = njit
_config: Any = config


class _Watch(event.Listener):
    def on_start(self, event: Any) -> None:
        COMPILING.begin()

    def on_end(self, event: Any) -> None:
        COMPILING.end()


_events: Any = event
_events.register("numba:compile", _Watch())

KERNELS: list[Any] = []
"""All kernels of the modules imported so far."""


def kernel(
    fastmath: frozenset[str] = frozenset(), error_model: str = "python"
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator of kernels. fastmath: liberties with floats, error_model: as numba has them."""
    folder = place()

    def compiled(function: Callable[..., Any]) -> Any:
        before = _config.CACHE_DIR
        # only while the decorator looks for a place: other code of this process keeps its own
        _config.CACHE_DIR = "" if folder is None else str(folder)
        try:
            made = _make(
                cache=folder is not None,
                nogil=True,
                fastmath=set(fastmath),
                error_model=error_model,
            )(function)
        finally:
            _config.CACHE_DIR = before
        KERNELS.append(made)
        return made

    return compiled


strict = kernel()
"""Floats as they are written."""

unchecked = kernel(error_model="numpy")
"""The same, where a division by zero gives an infinity or no number, and is no error. Loops with
divisions are taken in vector registers, and are compiled in half the time."""

exact = kernel(frozenset({"nnan", "nsz"}))
"""No NaN, and no sign of zero to keep: a minimum can be taken in vector registers. Products and
sums are neither fused nor put in another order, so results are bit for bit those of `strict`."""

reordered = kernel(frozenset({"contract", "reassoc", "nsz", "arcp"}))
"""Sums may be put in another order."""

fast = kernel(frozenset({"contract", "reassoc", "nsz", "arcp", "nnan"}))
"""The same where no NaN and no infinity is ever given."""
