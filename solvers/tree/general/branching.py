"""Which column a node of a general search is split on: the rules of `tree.compiled.branching`.

Strong branching asks the oracle for both sides of the CANDIDATES best by curvature, with the
minorant c + g . z of the node: the bound of a side is c + min over it of g . v, with no further
step. Pseudo-costs are the rises in bound that splits have brought, for a unit of x.
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.frank_wolfe.vertices import Minimum
from maskgap.solvers.objectives.protocol import Minorant
from maskgap.solvers.oracles.protocol import Oracle
from maskgap.solvers.tree.choices import CANDIDATES, IMAGINED
from maskgap.solvers.tree.general.nodes import KEPT_SIDE, PRUNED_SIDE, Node

INTEGRAL = 1e-6
"""x this near to 0 or 1 is taken for it."""

_LEAST = 1e-12
"""Added to shares, so that integral columns are still ordered."""


class PseudoCosts:
    """Rises in bound seen for a unit of each column, by side."""

    def __init__(self, n: int) -> None:
        self._sums, self._seen = np.zeros((2, n)), np.zeros((2, n))

    def learn(self, node: Node, rise: float) -> None:
        """Note what a split has brought one of its children."""
        distance = 1.0 - node.share if node.side == PRUNED_SIDE else node.share
        if node.column >= 0 and distance > 1e-3 and np.isfinite(rise):
            self._sums[node.side, node.column] += max(0.0, rise) / distance
            self._seen[node.side, node.column] += 1.0

    def worth(self, x: Vector, curvature: Vector) -> Vector:
        """(n,) product of both children's expected rises, the curvature standing in for data."""
        rise = (self._sums + IMAGINED * curvature) / (self._seen + IMAGINED)
        return np.asarray(rise[KEPT_SIDE] * x * rise[PRUNED_SIDE] * (1.0 - x))


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """What a choice is made from.

    found: of the node, with its minorant. free: (n,) columns to choose from. curvature: (n,) of the
    node's function. cut: the bound at which a side is closed.
    """

    found: Minimum
    minorant: Minorant
    free: Flags
    curvature: Vector
    cut: float


def choose(rule: str, node: Node, split: Split, pseudo: PseudoCosts, oracle: Oracle) -> int:
    """A free column. rule: one of BRANCHING."""
    x = split.found.x
    share = np.minimum(x, 1.0 - x) + _LEAST
    if rule == "fractionality":
        scores = share
    elif rule == "gradient":
        scores = np.where(share > INTEGRAL, np.abs(split.minorant.linear), _LEAST * share)
    elif rule == "pseudo-cost":
        scores = pseudo.worth(x, split.curvature) + _LEAST * share
    else:
        scores = share * split.curvature
    scores = np.where(split.free, scores, -np.inf)
    if rule == "strong":
        return _strongest(node, split, scores, oracle)
    return int(scores.argmax())


def _strongest(node: Node, split: Split, scores: Vector, oracle: Oracle) -> int:
    """Of the best by `scores`, the column with the largest product of both sides' rises."""
    x, cut, best = split.found.x, split.cut, int(scores.argmax())
    most, vertex = -1.0, np.empty(len(x))
    for j in np.argsort(-scores, kind="stable")[:CANDIDATES]:
        if not split.free[j] or min(x[j], 1.0 - x[j]) < INTEGRAL:
            break
        worth = 1.0
        for side in (KEPT, PRUNED):
            node.state[j] = side
            least = oracle.minimise(split.minorant.linear, node.state, vertex)
            worth *= max(min(split.minorant.constant + least, cut) - node.bound, 1e-9 * abs(cut))
        node.state[j] = FREE
        if worth > most:
            most, best = worth, int(j)
    return best
