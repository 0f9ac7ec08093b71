"""The perspective function of a diagonal: convex, and the refit loss on masks.

For H, w of a part and D > 0 with R = H - Diag(D) positive semidefinite, with z the pruned shares
and y = 1 - z,

    f(z) = max over delta of  sum_j z_j c_j - const,
    c_j = (D_j w_j + q_j)^2 / D_j,   const = delta^T q + sum_j q_j^2 / D_j,   q = R delta,

is the least of (x - w)^T R (x - w) + sum_j D_j (x_j^2 / y_j - 2 w_j x_j + w_j^2) over x (Guenluek,
Linderoth, Mathematical Programming 124, 2010, on perspectives). It is g on masks, c is its gradient
at the maximiser, and any delta at all makes an affine minorant of g. The maximiser takes one solve
with eigenvalues of at least 1 and no division by y:

    s = (y / D)^(1/2),   (I + Diag(s) R Diag(s)) v = s * R (z * w),   delta = z * w - s * v.

With h = H delta, q = h - D delta: the minorant is delta^T h - sum h^2 / D + sum z c, with
c = (h + D (w - delta))^2 / D, which is how it is evaluated here and by a checker. Cost: n^3 / 3.
"""

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.objectives.protocol import Minorant

_UNIT = 2.0**-53


class Perspective:
    """f of one diagonal. hessian: (n, n); target, diagonal: (n,)."""

    quadratic = None

    def __init__(self, hessian: Matrix, target: Vector, diagonal: Vector) -> None:
        self._hessian, self._target, self.diagonal = hessian, target, diagonal
        self._rest = hessian - np.diag(diagonal)
        n = len(target)
        self._lowered = 20.0 * n * (n + 8) * _UNIT * hessian.diagonal()

    def change(self, x: Vector) -> Vector:
        """(n,) the maximising delta at pruned shares x (n,)."""
        gone = np.clip(x, 0.0, 1.0)
        s = np.sqrt((1.0 - gone) / self.diagonal)
        gone = gone * self._target
        system = s[:, None] * self._rest * s
        system[np.diag_indices(len(s))] += 1.0
        factor = scipy.linalg.cho_factor(system, lower=True, check_finite=False)
        v = scipy.linalg.cho_solve(factor, s * (self._rest @ gone), check_finite=False)
        return np.asarray(gone - s * v)

    def at(self, x: Vector) -> tuple[float, Vector]:
        """f(x) and its gradient c (n,)."""
        delta = self.change(x)
        h, d = self._hessian @ delta, self.diagonal
        slope: Vector = (h + d * (self._target - delta)) ** 2 / d
        return float(delta @ h - (h * h / d).sum() + slope @ x), slope

    def minorant(self, x: Vector) -> Minorant:
        """That of the maximiser at x, less its rounding; its witness is delta, then D, (2 n,)."""
        delta, n = self.change(x), len(x)
        gamma = 2.0 * (n + 24) * _UNIT
        h, d = self._hessian @ delta, self.diagonal - self._lowered
        roots = np.sqrt(self._hessian.diagonal())
        off = 1.1 * gamma * float(roots @ np.abs(delta)) * roots
        upper = (np.abs(h) + off) ** 2 / d
        kept = d * (self._target - delta)
        force = np.abs(h + kept)
        force -= off + gamma * (np.abs(kept) + force)
        slope = np.maximum(force, 0.0) ** 2 / d * (1.0 - 8.0 * gamma)
        constant = float(delta @ h - upper.sum())
        constant -= float(np.abs(delta) @ off + gamma * (np.abs(delta * h) + upper).sum())
        witness = np.concatenate([delta, self.diagonal])
        return Minorant(constant + float(slope @ x), constant, slope, witness)

    def curvature(self) -> Vector:
        """(n,) D w^2: what a column alone costs in the separable part."""
        values: Vector = self.diagonal * self._target**2
        return values
