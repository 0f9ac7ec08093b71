"""Which column a node of a general search is split on: the rules of `tree.branching`.

Strong branching asks the oracle for both sides of the CANDIDATES best by curvature, at the x of the
node: the bound of a side is F(x) - g . x + min over it of g . v, with no further step.
"""

import numpy as np

from maskgap.instances.arrays import Mask, Vector
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.frank_wolfe.vertices import Convex, LinearOracle
from maskgap.solvers.tree.branching import CANDIDATES
from maskgap.solvers.tree.nodes import Node, PseudoCosts

INTEGRAL = 1e-6
"""x this near to 0 or 1 is taken for it."""

_LEAST = 1e-12
"""Added to shares, so that integral columns are still ordered."""


def choose(
    rule: str,
    function: Convex,
    node: Node,
    x: Vector,
    free: Mask,
    pseudo: PseudoCosts,
    oracle: LinearOracle,
    cut: float,
) -> int:
    """A free column. rule: one of BRANCHING; cut: the bound at which a side is closed."""
    curvature = np.maximum(function.matrix.diagonal(), 0.0)
    share = np.minimum(x, 1.0 - x) + _LEAST
    value, gradient = function.at(x)
    if rule == "fractionality":
        scores = share
    elif rule == "gradient":
        scores = np.where(share > INTEGRAL, np.abs(gradient), _LEAST * share)
    elif rule == "pseudo-cost":
        scores = pseudo.worth(x, curvature) + _LEAST * share
    else:
        scores = share * curvature
    scores = np.where(free, scores, -np.inf)
    best = int(scores.argmax())
    if rule != "strong":
        return best
    most, vertex = -1.0, np.empty(len(x))
    for j in np.argsort(-scores, kind="stable")[:CANDIDATES]:
        if not free[j] or share[j] < INTEGRAL:
            break
        worth = 1.0
        for side in (KEPT, PRUNED):
            node.state[j] = side
            bound = value - float(gradient @ x) + oracle.minimise(gradient, node.state, vertex)
            worth *= max(min(bound, cut) - node.bound, 1e-9 * cut)
        node.state[j] = FREE
        if worth > most:
            most, best = worth, int(j)
    return best
