"""Lower bounds, where kept weights are re-optimised, that hold for the real numbers behind float64.

H and w are `Part.hessian` and `Part.target`. For a diagonal D > 0 with H - Diag(D) positive
semidefinite on columns N, all others pruned, and a vector delta that is w on those others, every
mask z has (`instances.formats.evidence.refit_leaves`), with h = H delta and y = w - delta,

    g(z) >= delta^T h - sum_N U_j + sum_N z_j c_j,
    U_j = h_j^2 / D_j,    c_j = (h_j + D_j y_j)^2 / D_j.

Notation as in `benchmarks.verify.quadratic`: r = 2^-53, gamma_m = m r / (1 - m r), every allowance
1 % larger than derived, for the rounding of the allowance itself.

Positive semidefinite. A stated D may be lowered: every D' <= D will do, with one and the same
    delta. With 0 < D_j <= H_jj, R_jj = fl(H_jj - D_j) has H_jj - R_jj exact in float64 (Fast2Sum),
    so H less the diagonal of these t_j = H_jj - R_jj is R, off whose diagonal nothing is rounded.
    Rows and columns are scaled by powers of two that bring H_jj into [1/4, 1): exact. If the scaled
    R with s added on its diagonal, each sum rounded by at most r times itself, has a defect of at
    most e (`instances.definite`), then R + (s + e + 2 r max diagonal) I is semidefinite in scaled
    units, so D'_j is t_j less that, scaled back and rounded down. The least s of LADDER times
    gamma_{2n+8} trace R that has a factor is used. D'_j must be at least LEAST.
Underflow. H and w were divided by powers of two, which moves entries by 2^-1075 at most; so much
    is lost by an operation that underflows. Points are at most LARGEST_MULTIPLIER = 2^100 in size,
    so in any h_j or D_j y_j that comes to less than TINY = 2^-900, which is added to their errors.
    A square divided by D_j >= 2^-200 loses 2^-874, and FLOOR = 2^-800 covers sums of those; in c_j,
    a root below SMALL = 2^-400 counts as 0.
h. |H_ij| <= c s_i s_j with s_i = H_ii^(1/2) and c of `Hessian.correlation`, so in whatever order n
    products are added, computed h_j is off by at most e_j = gamma_n s_j c sum_i s_i |delta_i|.
U and c. y_j and D_j y_j take two roundings, the sum with h_j one: a_j = h_j + D_j y_j is off by at
    most f_j = e_j + gamma_4 (|D_j y_j| + |a_j|). So

        U_j <= (|h_j| + e_j)^2 / D_j,         c_j >= max(0, |a_j| - f_j)^2 / D_j,

    either of four more roundings, for which it is multiplied by 1 + 8 r or 1 - 8 r.
Sums. delta^T h is off by at most sum_j |delta_j| e_j for h and gamma_n sum_j |delta_j h_j| for the
    sum; that of U is off by gamma_n times itself, and three more sums are rounded, so gamma_{n+16}
    of both sums is taken off. The c_j are not negative: the least sum of them over masks that
    a `CheckedSet` gives is at most 1 + gamma_{2n+8} times the exact one, so gamma_{4n+48} times
    itself is taken off.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maskgap.benchmarks.verify.quadratic import LADDER, TINY, require_finite
from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.definite import SMALL, UNIT, defect, gamma
from maskgap.instances.errors import ProofError
from maskgap.instances.hessian import Hessian
from maskgap.instances.problem import Part

LEAST = 2.0**-200
"""Diagonals below this, where the largest H_jj is about 1, are refused."""

FLOOR = 2.0**-800
"""Above what underflow can lose in the sums of a bound."""

LARGEST_CORRELATION = 2.0
"""Above c of any matrix that is positive semidefinite but for rounding, whose own is 1."""


@dataclass(frozen=True, eq=False)
class Minorants:
    """Affine functions base + slope . z that no loss of a mask lies below, of some leaves.

    base: (leaves,), less its rounding. slope: (leaves, n), not negative.
    """

    base: Vector
    slope: Matrix

    def with_sum(self, least: Vector) -> Vector:
        """Base plus the least slope . z as it was computed, (leaves,), rounded down."""
        n = self.slope.shape[1]
        paid = np.maximum(least, 0.0)
        return np.asarray(self.base + paid * (1.0 - gamma(4 * n + 48)))


@dataclass(frozen=True, eq=False)
class Metric:
    """H and w of a part, and what bounds the rounding of a product with H.

    matrix: (n, n). target: (n,). roots: s (n,). correlation: c. where: the part, for errors.
    """

    matrix: Matrix
    target: Vector
    roots: Vector
    correlation: float
    where: str

    @staticmethod
    def of(part: Part) -> "Metric":
        """Those of a part under refit. Raises ProofError where H is far from semidefinite."""
        matrix, where = part.hessian, f"row {part.row}"
        diagonal = matrix.diagonal()
        correlation = Hessian.of(part.layer, part.objective.ridge).correlation
        require_finite(f"{where}: its Hessian", matrix, part.target)
        if not (correlation <= LARGEST_CORRELATION and bool((diagonal >= 0.0).all())):
            raise ProofError(f"{where}: its Hessian is not positive semidefinite")
        return Metric(matrix, part.target, np.sqrt(diagonal), correlation, where)

    def lowered(self, stated: Vector, dropped: Flags, number: int) -> Vector:
        """D' (n,), verified on the columns that are not dropped, and 1 on those that are.

        stated, dropped: (n,). number: of the diagonal, for errors. Raises ProofError.
        """
        columns = np.flatnonzero(~dropped)
        found = np.ones(len(stated))
        if not len(columns):
            return found
        whole = len(columns) == len(stated)
        rest = self.matrix.copy() if whole else self.matrix[np.ix_(columns, columns)]
        own, d, count = rest.diagonal().copy(), stated[columns], len(columns)
        within = (d > 0.0) & (d <= own) & (own >= LEAST)
        if not bool(within.all()):
            column = int(columns[~within][0])
            raise ProofError(
                f"{self.where}: diagonal {number} is {stated[column]:g} at column {column}, "
                f"expected above 0 and at most {self.matrix[column, column]:g}"
            )
        left = own - d
        exact = own - left
        _, doubled = np.frexp(own)
        half = -(-doubled // 2)
        np.ldexp(rest, -half[:, None] - half[None, :], out=rest)
        scaled = np.ldexp(left, -2 * half)
        if not bool(np.isfinite(rest).all()):
            raise ProofError(f"{self.where}: a column's diagonal is too small for its others")
        unit = 1.01 * gamma(2 * count + 8) * float(scaled.sum()) + 2.0 * count * SMALL
        for step in LADDER:
            rest[np.diag_indices(count)] = scaled + step * unit
            off = defect(rest)
            if np.isfinite(off):
                rounded = 2.0 * UNIT * float(rest.diagonal().max())
                less = 1.01 * (step * unit + off + rounded) + count * SMALL
                found[columns] = np.nextafter(exact - np.ldexp(np.full(count, less), 2 * half), 0.0)
                if not bool((found >= LEAST).all()):
                    column = int(np.flatnonzero(found < LEAST)[0])
                    raise ProofError(
                        f"{self.where}: diagonal {number} is not above 0 at column {column} once "
                        "rounding is taken off"
                    )
                return found
        raise ProofError(
            f"{self.where}: the Hessian less diagonal {number} is not positive semidefinite"
        )

    def minorants(self, diagonal: Matrix, delta: Matrix, pruned: Flags) -> Minorants:
        """The affine functions of leaves.

        diagonal: (leaves, n) D', verified on the columns that are not pruned. delta: (leaves, n)
        float64, anything where not pruned. pruned: (leaves, n), as every mask of the leaf has it.
        """
        n, free = len(self.target), ~pruned
        change = np.where(free, delta, self.target)
        wide = np.abs(change)
        product = change @ self.matrix
        reach = self.correlation * (wide @ self.roots)
        off = gamma(n + 2) * reach[:, None] * self.roots + TINY

        upper = (np.abs(product) + off) ** 2 / diagonal * (1.0 + 8.0 * UNIT)
        kept = diagonal * (self.target - change)
        force = np.abs(product + kept)
        force -= off + gamma(4) * (np.abs(kept) + force) + TINY
        force[pruned | (force < SMALL)] = 0.0
        slope = force**2 / diagonal * (1.0 - 8.0 * UNIT)

        energy = np.einsum("ij,ij->i", change, product)
        size = np.einsum("ij,ij->i", wide, np.abs(product))
        spent = np.einsum("ij,ij->i", upper, free)
        allowance = 1.01 * np.einsum("ij,ij->i", wide, off) + gamma(n + 16) * (size + spent) + FLOOR
        base = energy - spent - allowance
        require_finite(f"{self.where}: a leaf's bound", base, slope)
        return Minorants(base, slope)


def blocks_of(leaves: int, n: int, entries: int = 1 << 20) -> Iterator[slice]:
    """Slices of leaves of which no more than so many entries of (leaves, n) are held at once."""
    step = max(1, entries // n)
    return (slice(top, min(top + step, leaves)) for top in range(0, leaves, step))
