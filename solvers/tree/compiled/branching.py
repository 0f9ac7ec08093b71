"""Which column a node is split on. x is its point, P the matrix of its function, s_j = min(x, 1-x).

    curvature       s_j P_jj: what rounding x_j alone would cost
    fractionality   s_j
    gradient        |g_j| among the fractional columns
    strong          of the CANDIDATES best by curvature, the largest product of both children's rise
                    in bound after TRIAL_STEPS steps
    pseudo-cost     the product of the rises expected from what earlier splits of the column gave,
                    for a unit of x_j and of 1 - x_j; curvature stands in until there are some

Cost: n, but strong branching, which minimises two short nodes for each candidate. A column that is
free and integral can be chosen only when all are: its score is near 0.
"""

import numpy as np

from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.frank_wolfe.edges import minimise_along_edges
from maskgap.solvers.frank_wolfe.node import restore, value_of
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.oracles.equal_groups import is_settled, least_along
from maskgap.solvers.tree.choices import CANDIDATES, IMAGINED
from maskgap.solvers.tree.compiled.rules import FRACTIONALITY, GRADIENT, PSEUDO_COST

TRIAL_STEPS = 32

_LEAST = 1e-9
"""Added to shares, so that integral columns are still ordered."""

_KEPT_SIDE, _PRUNED_SIDE = 0, 1


@strict
def learn(rules, pseudo, via, share, rise):  # type: ignore[no-untyped-def]
    """Note the rise in bound of a child.

    pseudo: (2, n, 2), sum and number of the rises by side and column. via: column, or -1 - column
    for the kept side; share: its x in the parent.
    """
    if rules.branching == PSEUDO_COST:
        column, side = (via, _PRUNED_SIDE) if via >= 0 else (-1 - via, _KEPT_SIDE)
        distance = 1.0 - share if side == _PRUNED_SIDE else share
        if distance > 1e-3:
            pseudo[side, column, 0] += max(0.0, rise) / distance
            pseudo[side, column, 1] += 1.0


@strict
def _expected(pseudo, side, column, curvature):  # type: ignore[no-untyped-def]
    """Rise for a unit, the curvature counting as IMAGINED observations."""
    seen = pseudo[side, column, 1] + IMAGINED
    return (pseudo[side, column, 0] + IMAGINED * curvature) / seen


@strict
def _try_side(  # type: ignore[no-untyped-def]
    functions, k, rules, state, x, gradient, j, side, cut, aside
):
    """Bound of a child after a few steps; the cut when it has no mask."""
    child, point, slope = state.copy(), x.copy(), gradient.copy()
    child[j] = side
    if is_settled(rules.size, rules.budget, child) < 0:
        return cut
    matrix, linear = functions.matrix[k], functions.linear[k]
    if not restore(matrix, rules.size, rules.budget, child, point, slope):
        return cut
    value = value_of(linear, functions.constant[k], point, slope)
    minimise_along_edges(
        matrix, rules.size, rules.budget, child, point, slope, value, cut, 0.0, TRIAL_STEPS
    )
    slope[:] = 2.0 * np.dot(matrix, point) + linear
    value = value_of(linear, functions.constant[k], point, slope)
    least = least_along(rules.size, rules.budget, child, slope, aside)
    return min(cut, value - np.dot(slope, point) + least)


@strict
def choose(  # type: ignore[no-untyped-def]
    functions, k, rules, state, x, gradient, bound, cut, pseudo, aside
):
    """The column to split; the node has at least one free column.

    aside: (n,) to work in for strong branching, None for the other rules.
    """
    n = len(x)
    matrix = functions.matrix[k]
    scores = np.full(n, -1.0)
    for t in range(n):
        if state[t] == FREE:
            share = min(x[t], 1.0 - x[t]) + _LEAST
            if rules.branching == FRACTIONALITY:
                scores[t] = share
            elif rules.branching == GRADIENT:
                scores[t] = abs(gradient[t]) if share > 1e-6 else 1e-9 * share
            elif rules.branching == PSEUDO_COST:
                up = _expected(pseudo, _PRUNED_SIDE, t, matrix[t, t]) * (1.0 - x[t])
                scores[t] = (
                    _expected(pseudo, _KEPT_SIDE, t, matrix[t, t]) * x[t] * up + 1e-12 * share
                )
            else:
                scores[t] = share * matrix[t, t]
    best = np.argmax(scores)
    if aside is not None:
        order = np.argsort(-scores)
        most = -1.0
        for c in range(min(CANDIDATES, n)):
            t = order[c]
            if scores[t] <= 0.0 or min(x[t], 1.0 - x[t]) < 1e-6:
                break
            kept = _try_side(functions, k, rules, state, x, gradient, t, KEPT, cut, aside) - bound
            pruned = (
                _try_side(functions, k, rules, state, x, gradient, t, PRUNED, cut, aside) - bound
            )
            worth = max(kept, 1e-9 * cut) * max(pruned, 1e-9 * cut)
            if worth > most:
                most, best = worth, t
    return best
