"""Where the changes of a row can lie under refit, from a loss that is known to be reached.

A mask of loss at most U with its best change delta = w - x has, by Cauchy and Schwarz in the norm
of H,

    delta_j^2  <=  delta^T H delta (H^-1)_jj  <=  U (H^-1)_jj =: r_j^2,

so |delta_j| <= r_j, and a column with |w_j| > r_j is kept by every such mask, since pruning it is
delta_j = w_j. Models need these bounds: an indicator, or a product with z_j, is as strong as the
range of what it switches.
"""

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.errors import Refused
from maskgap.solvers.mip.adapter import NativeRun

WIDER = 1e-6
"""Relative, for the rounding of U and of the inverse."""


def change_box(run: NativeRun) -> tuple[Vector, Flags]:
    """(r (n,), columns (n,) that every mask as good as the one at hand keeps), in model units.

    Raises Refused where H is not definite within float64.
    """
    try:
        factor = scipy.linalg.cho_factor(run.quad, lower=True)
    except np.linalg.LinAlgError:
        raise Refused("its Hessian is not positive definite; give a larger ridge") from None
    inverse = scipy.linalg.cho_solve(factor, np.eye(len(run.quad))).diagonal()
    reach: Vector = (1.0 + WIDER) * np.sqrt(run.cheap_loss / run.unit * inverse)
    return reach, np.abs(run.target) > reach
