"""Which column of a node of the refit search is split.

Pruning a free column j alone costs the node w'_j^2 / (H'^-1)_jj at once, its saliency s_j (Optimal
Brain Surgeon); where z_j is the share by which the node prunes it,

    fractionality    z (1 - z)
    gradient         z (1 - z) c
    curvature        z (1 - z) s
    pseudo-cost      z (1 - z) s (r_pruned r_kept)^(1/2)

with r_side the mean of how much the bound rose on a side of j, over s_j times the change of z_j,
together with `IMAGINED` times the mean over all columns; 1 while nothing was seen.
"""

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import Refused
from maskgap.solvers.tree.choices import Branching

IMAGINED = 8.0
"""For how many observed rises of a column the mean of all counts."""

LEAST_CHANGE = 1e-3
"""A change of z counts as at least this."""


class PseudoCosts:
    """What splits were seen to bring. sides: 0 for kept, 1 for pruned."""

    def __init__(self, n: int) -> None:
        self._sum, self._count = np.zeros((2, n)), np.zeros((2, n))

    def learn(self, column: int, side: int, rise: float, expected: float) -> None:
        """A side of a column raised the bound. expected: s times the change of z; 0: unknown."""
        if expected > 0.0:
            self._sum[side, column] += max(0.0, rise) / expected
            self._count[side, column] += 1.0

    def ratios(self) -> Vector:
        """(n,) (r_pruned r_kept)^(1/2)."""
        seen = self._count.sum(axis=1)
        mean = np.where(seen > 0.0, self._sum.sum(axis=1) / np.maximum(seen, 1.0), 1.0)
        ratio = (self._sum + IMAGINED * mean[:, None]) / (self._count + IMAGINED)
        return np.asarray(np.sqrt(np.maximum(ratio[0], 1e-9) * np.maximum(ratio[1], 1e-9)))


def inner(z: Vector) -> Vector:
    """(n,) z so far inside that a split changes it either way."""
    return np.clip(z, LEAST_CHANGE, 1.0 - LEAST_CHANGE)


def require_known(rule: Branching) -> None:
    """Raise Refused for a rule that this search does not have."""
    if rule == "strong":
        raise Refused("branching=strong is not there under refit; take pseudo-cost")


def scores(
    rule: Branching, z: Vector, saliency: Vector, slope: Vector, known: PseudoCosts
) -> Vector:
    """(n,) of all columns; those that are not free have z of 0 or 1, and so score 0."""
    share = inner(z)
    between = share * (1.0 - share)
    if rule == "fractionality":
        return between
    if rule == "gradient":
        return np.asarray(between * slope)
    found = between * saliency
    return np.asarray(found * known.ratios() if rule == "pseudo-cost" else found)
