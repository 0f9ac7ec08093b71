"""The face of the semidefinite cone on which the equality rows of any set of masks hold.

With s = 2 z - 1, a row a . z = k reads (sum of a - 2 k, a) . (1, s) = 0. Let the columns of N span
what all rows annihilate. Where row i of N is +-row j, s_i = +-s_j on every mask: columns in a
block, pairs of which one goes, and with index 0 (the constant) forced columns. They are one class,
of which only the first index is kept, so that no constraint Y_ii = 1 is there twice:

    (1, s) = T (1, s_kept),   Y_kept = B R B^T,   B an orthonormal basis of the kept rows of N.

A smaller face than this holds where inequality rows imply equalities. The relaxation then has no
interior point, and the method comes less near its value; each of its bounds is valid all the same.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector

PARALLEL = 1e-9
"""Rows of N whose angle has a cosine this near to 1 are taken for equal."""

LEAST_SINGULAR = 1e-9
"""Singular values of the rows below this share of the largest count as 0."""

LEAST_SPREAD = 0.05
"""Least 1 - mean^2 that a column of the first iterate is given."""


@dataclass(frozen=True, eq=False)
class RowsFace:
    """kept: indices of 0..n, increasing, the first 0. spread: T (n + 1, kept). basis: B."""

    kept: NDArray[np.intp]
    spread: Matrix
    basis: Matrix

    @property
    def order(self) -> int:
        """Order of R."""
        return int(self.basis.shape[1])

    def project(self, X: Matrix) -> Matrix:
        """B^T X B of a symmetric X (kept, kept)."""
        return np.asarray(self.basis.T @ X @ self.basis)

    def lift(self, R: Matrix) -> Matrix:
        """B R B^T (kept, kept) of a symmetric R (order, order)."""
        return np.asarray(self.basis @ R @ self.basis.T)

    def reduced(self, cost: Matrix) -> Matrix:
        """T^T C T (kept, kept) of a cost C (n + 1, n + 1)."""
        return np.asarray(self.spread.T @ cost @ self.spread)

    def first_iterate(self) -> tuple[Matrix, Vector]:
        """A positive definite R, and v > 0 (kept,) so that B^T Diag(v) B is roughly its inverse.

        With m the shortest (1, s) that meets the rows, Y = m m^T + A Diag(d) A, A = B B^T, has
        diagonal 1 for the d that solves (A * A) d = 1 - m * m. A d that is not well above 0 is
        raised, and Y then misses its diagonal.
        """
        onto = self.basis @ self.basis.T
        mean = onto[:, 0] / onto[0, 0]
        wanted = 1.0 - mean * mean
        d, *_ = np.linalg.lstsq(onto * onto, wanted, rcond=1e-12)
        d = np.maximum(d, LEAST_SPREAD)
        along = self.basis.T @ mean
        primal = np.outer(along, along) + (self.basis.T * d) @ self.basis
        return primal, 1.0 / d


def rows_face(rows: Matrix, budget: Vector) -> RowsFace:
    """The face of the rows a_g . z = k_g; rows: (m, n), budget: (m,), which some 0/1 z meets."""
    lifted = np.concatenate([(rows.sum(axis=1) - 2.0 * budget)[:, None], rows], axis=1)
    null = _null_space(lifted)
    cosine = null @ null.T
    length = np.sqrt(cosine.diagonal())
    cosine /= np.outer(length, length)
    kept: list[int] = []
    spread = np.zeros_like(cosine)
    left = np.ones(len(cosine), dtype=bool)
    for index in range(len(cosine)):
        if left[index]:
            same = left & (np.abs(cosine[index]) > 1.0 - PARALLEL)
            spread[same, len(kept)] = np.sign(cosine[index, same])
            left &= ~same
            kept.append(index)
    basis, _ = scipy.linalg.qr(null[kept], mode="economic")
    return RowsFace(np.array(kept, dtype=np.intp), spread[:, : len(kept)], np.asarray(basis))


def orthonormal_rows(rows: Matrix) -> tuple[Matrix, Matrix]:
    """(N, W): N (n, rank) orthonormal columns that span the rows (m, n), with N^T = W rows."""
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    used = values > LEAST_SINGULAR * values.max(initial=0.0)
    return right[used].T, left[:, used].T / values[used, None]


def _null_space(rows: Matrix) -> Matrix:
    """Orthonormal columns that span what the rows (m, n) annihilate."""
    normal, _ = orthonormal_rows(rows)
    full, _ = scipy.linalg.qr(normal)
    return np.asarray(full[:, normal.shape[1] :])
