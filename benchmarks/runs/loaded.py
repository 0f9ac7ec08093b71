"""What the server of runs loads last: the kernels of the solvers that it will be asked for.

A run is forked from the server and finds them there. They have been compiled before and are loaded
from where they are kept; where nothing can be kept, the server compiles for itself, once.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress

from maskgap.instances.errors import InputError
from maskgap.instances.objective import ObjectiveName
from maskgap.solvers import registry
from maskgap.solvers.kernels.cache import is_compiled, place
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import warm_up

_VARIABLE = "MASKGAP_WARM_UPS"


def tell(wanted: Sequence[Wanted]) -> None:
    """Name the kernels to a server that has not begun yet."""
    os.environ[_VARIABLE] = json.dumps(wanted, default=str)


def _load() -> None:
    for solver, settings, objective in json.loads(os.environ.pop(_VARIABLE)):
        wanted = Wanted(solver, settings, ObjectiveName(objective))
        if place() is None or is_compiled(wanted):
            with suppress(ImportError, InputError):  # the run that needs it says so
                warm_up(registry.build(solver, settings), wanted.objective)


if _VARIABLE in os.environ:
    _load()
