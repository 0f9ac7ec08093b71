"""The oracle that a set of masks has itself (`instances.masks`), behind the common interface.

Sorts, flows and dynamic programmes compare sums of at most n gradients, in float64; the minimum is
missed by no more than the rounding of these. With v the vertex,

    bound = < g, v > - 4 n eps sum |g_j| - error n max |g_j|,     j over free columns,

where `error` is that of the set: 0 but for sets whose own oracle is a mixed-integer solver.
"""

from math import fsum

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.solvers.oracles.closed_form import check_finite

_EPS = float(np.finfo(np.float64).eps)


class OwnOracle:
    """Minimum over the legal masks of a node by the set's own oracle; see `Oracle`."""

    def __init__(self, legal: MaskSet) -> None:
        self.legal = legal

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """As `Oracle.minimise`. Raises Refused where a mixed-integer solver fails."""
        check_finite(gradient)
        ones, zeros, n = state == PRUNED, state == KEPT, len(gradient)
        cost = np.where(state == FREE, gradient, 0.0)
        pruned = self.legal.oracle(cost, ones, zeros)
        if pruned is None:
            return float("inf")
        vertex[:] = pruned
        sizes = np.abs(cost)
        margin = 4.0 * n * _EPS * fsum(sizes.tolist())
        margin += self.legal.error * n * float(sizes.max(initial=0.0))
        return fsum(gradient[pruned].tolist()) - margin
