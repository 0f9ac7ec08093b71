"""What the server of runs loads last: the kernels of the solvers that it will be asked for.

A run is forked from the server and finds them there. They have been compiled before and are loaded
from where they are kept; where nothing can be kept, the server compiles for itself, once.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress

from maskgap.instances.errors import InputError
from maskgap.solvers import registry
from maskgap.solvers.kernels.cache import is_compiled, place
from maskgap.solvers.protocol import warm_up

_VARIABLE = "MASKGAP_WARM_UPS"


def tell(wanted: Sequence[tuple[str, dict[str, object]]]) -> None:
    """Name the solvers, with settings, to a server that has not begun yet."""
    os.environ[_VARIABLE] = json.dumps(wanted, default=str)


def _load() -> None:
    for solver, settings in json.loads(os.environ.pop(_VARIABLE)):
        if place() is None or is_compiled(solver, settings):
            with suppress(ImportError, InputError):  # the run that needs it says so
                warm_up(registry.build(solver, settings))


if _VARIABLE in os.environ:
    _load()
