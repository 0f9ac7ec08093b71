"""A solver outside the register, a class named 'module:Class': what the register would say of it.

The class is a frozen dataclass, whose fields are its settings, with `solve` or `solve_rows`.
"""

import dataclasses
from functools import cache

from maskgap.instances.errors import InputError
from maskgap.instances.own_modules import load
from maskgap.solvers.spec import ALL_OBJECTIVES, MASK_ALONE, Spec


@cache
def outside(target: str) -> Spec:
    """The entry of a class. Imports its module. Raises InputError for one that is no solver."""
    module, _, attribute = target.partition(":")
    factory = getattr(load(module, f"solver '{target}'"), attribute, None)
    if not dataclasses.is_dataclass(factory):
        raise InputError(
            f"solver '{target}': {module} has no dataclass '{attribute}', whose fields would be "
            "its settings"
        )
    if not (hasattr(factory, "solve") or hasattr(factory, "solve_rows")):
        raise InputError(f"solver '{target}' has neither solve nor solve_rows (solvers/README.md)")
    return Spec(
        target,
        target,
        "outside the register",
        batched=hasattr(factory, "solve_rows"),
        objectives=_objectives(target, factory),
    )


def _objectives(target: str, factory: object) -> tuple[str, ...]:
    """What a class outside the register says that it minimises, by its attribute `objectives`."""
    said = getattr(factory, "objectives", MASK_ALONE)
    if not (isinstance(said, tuple) and said and all(name in ALL_OBJECTIVES for name in said)):
        raise InputError(
            f"solver '{target}': objectives must be a tuple of {', '.join(ALL_OBJECTIVES)}"
        )
    return tuple(str(name) for name in said)
