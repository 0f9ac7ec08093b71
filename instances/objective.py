"""What is minimised over the legal masks of a row w with Gram G, z = 1 on the pruned columns.

    mask     (w * z)^T G (w * z)            weights that stay are not changed
    refit    min over x, x_j = 0 where z_j = 1, of (x - w)^T H (x - w)        they are re-optimised

with H = G + lambda I and lambda = ridge * mean diagonal of G; `instances.hessian` says to the last
bit which numbers H has. Nothing is computed here.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from maskgap.instances.errors import InputError
from maskgap.instances.suggestions import did_you_mean

DEFAULT_RIDGE = 0.01
"""Of the mean diagonal of a Gram: the convention of SparseGPT and ALPS."""


class ObjectiveName(StrEnum):
    """What is minimised."""

    MASK = "mask"
    REFIT = "refit"


@dataclass(frozen=True, slots=True)
class ObjectiveSpec:
    """What is minimised. ridge: share of the mean diagonal of G that is added to it, 0 for mask."""

    name: ObjectiveName
    ridge: float = 0.0

    def __str__(self) -> str:
        return (
            f"refit, ridge {repr(self.ridge).removesuffix('.0')}" if self.refits else str(self.name)
        )

    @property
    def refits(self) -> bool:
        """Whether the weights that stay are re-optimised."""
        return self.name is ObjectiveName.REFIT


MASK = ObjectiveSpec(ObjectiveName.MASK)
"""The loss of a mask whose kept weights stay as they are."""


def objective_spec(name: str, ridge: float | None = None) -> ObjectiveSpec:
    """An objective by its name. ridge: None for the default of one that has a ridge.

    Raises InputError for an unknown name, a ridge that is not finite or is negative, and a ridge
    where none is used.
    """
    names = [str(known) for known in ObjectiveName]
    if name not in names:
        meant = did_you_mean(name, names)
        raise InputError(
            f"no objective '{name[:40]}'; the objectives are {', '.join(names)}{meant}"
        )
    chosen = ObjectiveName(name)
    if chosen is ObjectiveName.MASK:
        if ridge is not None:
            raise InputError(
                f"ridge {ridge:g} is of objective refit alone; leave it out, or ask for objective "
                "refit"
            )
        return MASK
    share = DEFAULT_RIDGE if ridge is None else float(ridge)
    if not (isfinite(share) and share >= 0.0):
        raise InputError(
            f"ridge is {share:g}; expected a finite number of at least 0, such as 0.01"
        )
    return ObjectiveSpec(chosen, abs(share))  # -0.0 is 0
