"""The face of the semidefinite cone on which the budgets hold.

With s = 2 z - 1 and Y = (1, s)(1, s)^T, a budget reads a_g . (1, s) = sum of z over the group - k
= 0, hence Y a_g = 0 and Y = B R B^T with the columns of B an orthonormal basis of the space
orthogonal to every a_g. The basis used here:

    column 0       (1, m, ..., m) / norm,  m = 2 k / size - 1, the mean of s
    the others     within one group each: the Householder reflection I - b w w^T of the group,
                   w = e / sqrt(size) + e_1, without its first column (which is -e / sqrt(size))

so that B^T X B and B R B^T take O(n^2) operations and no product of matrices.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups


@dataclass(frozen=True)
class Face:
    """The face of some budget groups, which must have a legal mask to choose (0 < k < size)."""

    groups: BudgetGroups

    @property
    def order(self) -> int:
        """Order of R: n + 1 - groups."""
        return self.groups.n + 1 - self.groups.count

    @cached_property
    def _mean(self) -> tuple[float, float]:
        """The mean of s, and the norm of (1, m, ..., m)."""
        mean = 2.0 * self.groups.pruned / self.groups.size - 1.0
        return mean, float(np.sqrt(1.0 + self.groups.n * mean * mean))

    @cached_property
    def _mirror(self) -> tuple[Vector, Vector]:
        """The vector w (size,) and b w."""
        w = np.full(self.groups.size, 1.0 / np.sqrt(self.groups.size))
        w[0] += 1.0
        return w, 2.0 / float(w @ w) * w

    def _down(self, X: Matrix) -> Matrix:
        """B^T X for X (n + 1, columns)."""
        count, size = self.groups.count, self.groups.size
        (mean, norm), (w, scaled) = self._mean, self._mirror
        grouped = X[1:].reshape(count, size, -1)
        out = np.empty((self.order, X.shape[1]))
        out[0] = (X[0] + mean * X[1:].sum(axis=0)) / norm
        rest = grouped[:, 1:] - scaled[1:, None] * (w @ grouped)[:, None, :]
        out[1:] = rest.reshape(count * (size - 1), -1)
        return out

    def _up(self, R: Matrix) -> Matrix:
        """B R for R (order, columns)."""
        count, size = self.groups.count, self.groups.size
        (mean, norm), (w, scaled) = self._mean, self._mirror
        inner = R[1:].reshape(count, size - 1, -1)
        along = w[1:] @ inner
        out = np.empty((self.groups.n + 1, R.shape[1]))
        body = out[1:].reshape(count, size, -1)
        body[:, 0] = -scaled[0] * along
        body[:, 1:] = inner - scaled[1:, None] * along[:, None, :]
        body += mean / norm * R[0]
        out[0] = R[0] / norm
        return out

    def project(self, X: Matrix) -> Matrix:
        """B^T X B (order, order) of a symmetric X (n + 1, n + 1)."""
        return self._down(np.ascontiguousarray(self._down(X).T))

    def lift(self, R: Matrix) -> Matrix:
        """B R B^T (n + 1, n + 1) of a symmetric R (order, order)."""
        return self._up(np.ascontiguousarray(self._up(R).T))

    def mean_of_masks(self) -> tuple[Vector, Vector]:
        """The diagonal d of R for the mean of (1, s)(1, s)^T over all legal masks; a y to match.

        That R is diagonal: (order,). y (n + 1,) is such that B^T Diag(y) B = Diag(1 / d).
        """
        (mean, norm), size = self._mean, self.groups.size
        inner = (1.0 - mean * mean) * size / (size - 1.0)
        diagonal = np.full(self.order, inner)
        diagonal[0] = norm * norm
        y = np.full(self.groups.n + 1, 1.0 / inner)
        y[0] = 1.0 - (norm * norm - 1.0) / inner
        return diagonal, y
