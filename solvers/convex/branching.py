"""Which variable a node is split on, and where.

A variable with x_j between whole numbers is split there. Rules give each a score:

    fractionality   the distance to the nearest whole number
    pseudo-cost     the product of the rises in bound that both sides are expected to bring, from
                    those that splits of j have brought for a unit of x; curvature stands in for
                    what was not seen yet
    strong          both sides of the best candidates are asked about: the minorant of the node,
                    minimised over the side by the oracle
    hybrid          strong in the first levels, pseudo-costs below
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Flags, Vector
from maskgap.solvers.objectives.protocol import Minorant
from maskgap.solvers.oracles.mixed.protocol import CountedSet

WHOLE = 1e-6
"""x this near to a whole number is taken for it."""

IMAGINED = 2.0
"""For how many observed rises the curvature counts."""

CANDIDATES = 8
STRONG_DEPTH = 4

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Split:
    """x_j <= below on one side, x_j >= below + 1 on the other. share: x_j - below."""

    variable: int
    below: float
    share: float


class PseudoCosts:
    """Rises in bound seen for a unit of each variable, downwards and upwards."""

    def __init__(self, n: int) -> None:
        self._sums, self._seen = np.zeros((2, n)), np.zeros((2, n))

    def learn(self, split: Split | None, up: bool, rise: float) -> None:
        """Note what a split has brought one of its children."""
        if split is None or not np.isfinite(rise):
            return
        distance = 1.0 - split.share if up else split.share
        if distance > 1e-3:
            self._sums[int(up), split.variable] += max(0.0, rise) / distance
            self._seen[int(up), split.variable] += 1.0

    def worth(self, share: Vector, curvature: Vector) -> Vector:
        """(n,) product of both children's expected rises. share: (n,) x above the whole number."""
        missing = curvature
        if not curvature.any():  # nothing is known of f: the mean of what was seen stands in
            seen = self._seen.sum()
            missing = np.full(len(share), (self._sums.sum() + 1.0) / (seen + 1.0))
        rise = (self._sums + IMAGINED * missing) / (self._seen + IMAGINED)
        return np.asarray(rise[0] * share * rise[1] * (1.0 - share))


@dataclass(frozen=True, eq=False, slots=True)
class Situation:
    """What a split is chosen from.

    x, lower, upper: (n,). integral: (n,). curvature: (n,). minorant: of the node, bound: its.
    depth: splits above it.
    """

    x: Vector
    lower: Vector
    upper: Vector
    integral: Flags
    curvature: Vector
    minorant: Minorant
    bound: float
    depth: int


def fractional(x: Vector, integral: Flags) -> Flags:
    """(n,) integral variables away from whole numbers."""
    return np.asarray(integral & (np.abs(x - np.round(x)) > WHOLE))


def choose(rule: str, at: Situation, pseudo: PseudoCosts, oracle: CountedSet) -> Split | None:
    """Where to split, None where all integral variables are fixed."""
    free = at.integral & (at.lower < at.upper)
    if not free.any():
        return None
    x = np.clip(at.x, at.lower, at.upper)
    away = fractional(x, free)
    below = np.floor(x)
    if not away.any():  # x is whole, and yet the node is open: cut off one of its neighbours
        return widest(x, at.lower, at.upper, free)
    share = x - below
    distance = np.minimum(share, 1.0 - share)
    if rule == "fractionality":
        scores = distance
    else:
        scores = pseudo.worth(share, at.curvature) + _LEAST * distance
    scores = np.where(away, scores, -np.inf)
    j = int(scores.argmax())
    if rule == "strong" or (rule == "hybrid" and at.depth < STRONG_DEPTH):
        j = _strongest(at, scores, below, oracle)
    return Split(j, float(below[j]), float(share[j]))


def widest(x: Vector, lower: Vector, upper: Vector, free: Flags) -> Split:
    """A split beside x (n,) of the widest of the free variables, one at least. free: (n,)."""
    j = int(np.where(free, upper - lower, -1.0).argmax())
    value = float(np.clip(np.round(x[j]), lower[j], upper[j]))
    return Split(j, value if value < upper[j] else value - 1.0, 0.5)


def _strongest(at: Situation, scores: Vector, below: Vector, oracle: CountedSet) -> int:
    """Of the best by `scores`, the variable with the largest product of both sides' rises."""
    best, most = int(scores.argmax()), -1.0
    least = max(1e-9 * abs(at.bound), 1e-300)
    for j in np.argsort(-scores, kind="stable")[:CANDIDATES]:
        if scores[j] == -np.inf:
            break
        worth = 1.0
        for up in (False, True):
            lower, upper = at.lower.copy(), at.upper.copy()
            if up:
                lower[j] = below[j] + 1.0
            else:
                upper[j] = below[j]
            found = oracle.minimise(at.minorant.linear, lower, upper)
            rise = np.inf if found is None else at.minorant.constant + found.bound - at.bound
            worth *= min(max(rise, least), 1e100)
        if worth > most:
            most, best = worth, int(j)
    return best
