"""Whose kernels are wanted: a solver's, with its settings, for what it minimises."""

from typing import NamedTuple

from maskgap.instances.objective import ObjectiveName


class Wanted(NamedTuple):
    """A solver by its name, its settings, and the objective that it is given.

    A solver of the mask loss alone is given that, whatever its masks are judged by.
    """

    solver: str
    settings: dict[str, object]
    objective: ObjectiveName
