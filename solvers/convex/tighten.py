"""Bounds of variables that the best point allows to tighten, in the subtree of a node.

With minorant c + < g, z > <= f(z), the oracle's bound b <= f on the node, and `cut` at which nodes
close, a better point z of the node satisfies, for each j alone,

    rises_j |z_j - v_j|  <=  cut - b      (reduced costs r of the oracle at its point v)

and for a quadratic f(z) = z^T P z + ..., P positive definite, by f(z) >= f(x) + < g, z - x > +
(z - x)^T P (z - x) and < g, z - x > >= b - f(x),

    (z_j - x_j)^2  <=  (cut - b) (P^-1)_jj.

What is left out closes at its own bound, `cut` or more.
"""

from typing import Protocol

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.solvers.convex.hull import Minimum
from maskgap.solvers.convex.watched import Watched
from maskgap.solvers.oracles.mixed.protocol import Space

ROUNDING = 1e-6
"""Whole variables keep a value that is this near to being allowed."""


class Box(Protocol):
    """What is tightened."""

    lower: Vector
    upper: Vector
    bound: float


def tighten(node: Box, found: Minimum, function: Watched, space: Space, cut: float) -> bool:
    """Tighten the bounds of whole variables of a node, in place; whether anything was left out."""
    left = cut - found.bound
    if not np.isfinite(left) or left <= 0.0 or found.vertex is None or found.minorant is None:
        return False
    before = float((node.upper - node.lower)[space.integral].sum())
    vertex, reach = found.vertex, np.full(space.n, np.inf)
    if vertex.rises is not None and vertex.point is not None:
        used = (vertex.rises > 0.0) & space.integral
        reach[used] = left / vertex.rises[used]
        _shrink(node, vertex.point, reach)
    spread = function.spread()
    if spread is not None:
        reach = np.where(space.integral, np.sqrt(left * spread), np.inf)
        _shrink(node, found.minorant.witness.astype(np.float64), reach)
    return float((node.upper - node.lower)[space.integral].sum()) < before


def _shrink(node: Box, centre: Vector, reach: Vector) -> None:
    near = np.isfinite(reach)
    low = np.ceil(centre[near] - reach[near] - ROUNDING)
    high = np.floor(centre[near] + reach[near] + ROUNDING)
    node.lower[near] = np.maximum(node.lower[near], low)
    node.upper[near] = np.minimum(node.upper[near], high)
