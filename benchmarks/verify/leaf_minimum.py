"""Lower bounds on min g . v over the masks v of a leaf, for sets given by integer rows.

    { v in {0,1}^n : lower <= A v <= upper },  some columns forced to 0 or 1

with no code of the sets' own oracles. Columns that a row ties together (v_i - v_j = 0) are first
made one. Then, by what the rows are:

Knapsack. sum of v = k and c . v >= C for whole c >= 0, C > 0: with V[a][r] the least sum of g over
    the columns seen so far that prunes a of them and costs r in all, costs beyond C counted as C,
    a column j adds V'[a + 1][min(C, r + c_j)] = V[a][r] + g_j. The answer is V[k][C].
Listing. Columns that no row connects make parts; where each has at most LISTED columns, all 0/1
    vectors of a part are looked at, and the least sums of the parts are added.
Linear dual. Else, for any multipliers y of the rows,

        g . v >= sum over rows of (y_r lower_r if y_r > 0 else y_r upper_r)
                 + sum over columns of min over v_j of (g - A^T y)_j v_j.

    SciPy's HiGHS is asked for good ones, and is not trusted. This is the minimum where the rows'
    relaxation is integral, and may lie below it elsewhere; there, leaves of at most FEW free
    columns are listed. If y gives a positive bound for g = 0, the leaf is empty.

Whether a leaf is empty is decided in whole numbers by the first two. Their sums are of at most n
terms in float64; that is left to the caller's allowance. The dual's own rounding is taken off: with
c the most rows in a column, no path from data to result has more than m + n + c + 8 roundings, of
terms whose absolute sum is sum_r |y_r side_r| + sum_j (|g_j| + sum_r |A_rj y_r|).
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

from maskgap.benchmarks.verify.clock import Clock
from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.errors import ProofError
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import KEPT, PRUNED

LISTED = 16
"""Most columns of a part whose 0/1 vectors are listed."""

FEW = 10
"""Most free columns of a leaf that is listed where the dual may be weak."""

LARGEST_TABLE = 1 << 24
"""Most entries of a knapsack's table; beyond, the dual has to do."""

BATCH = 1 << 22
"""Entries of leaves times masks or table evaluated at once."""

WHOLE = 2**53
"""Whole numbers up to here are float64 numbers."""

UNIT = 2.0**-53

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LeafMinimum:
    """A set made ready. of_column: (n,) the class of each column. A, lower, upper: over classes.

    pruned, kept: (classes,) forced by the set. integral: whether the relaxation is the hull.
    possible: False where some row has no whole solution.
    """

    of_column: NDArray[np.integer]
    matrix: Whole
    lower: Whole
    upper: Whole
    pruned: Flags
    kept: Flags
    integral: bool
    possible: bool

    @staticmethod
    def of(rows: LinearRows, integral: bool) -> "LeafMinimum":
        """A set's rows with tied columns made one, and rows that say nothing left out."""
        full = np.asarray(rows.matrix, dtype=np.int64)
        sides = np.stack([rows.lower, rows.upper])
        if max(int(np.abs(full).sum(axis=1).max(initial=0)), int(np.abs(sides).max())) >= WHOLE:
            raise ProofError("the rows of the set have numbers that float64 does not hold")
        ties = (np.abs(full).sum(axis=1) == 2) & (full.sum(axis=1) == 0)
        ties &= (full.max(axis=1, initial=0) == 1) & (rows.lower == 0) & (rows.upper == 0)
        count, of_column = scipy.sparse.csgraph.connected_components(_links(full[ties]), False)
        entries = np.ones(len(of_column), dtype=np.int64), of_column, np.arange(len(of_column) + 1)
        spread = scipy.sparse.csr_matrix(entries, shape=(full.shape[1], count))
        merged = rows.system[np.flatnonzero(~ties)].astype(np.int64) @ spread
        matrix = np.asarray(merged.toarray(), dtype=np.int64)
        lower, upper = rows.lower[~ties], rows.upper[~ties]
        least = np.minimum(matrix, 0).sum(axis=1)
        most = np.maximum(matrix, 0).sum(axis=1)
        says = (lower > least) | (upper < most)
        matrix, lower, upper = matrix[says], lower[says].copy(), upper[says].copy()
        for r in range(len(matrix)):
            unit = max(1, gcd(*matrix[r].tolist()))
            matrix[r] //= unit
            lower[r], upper[r] = -(-lower[r] // unit), upper[r] // unit
        pruned, kept = (
            np.bincount(of_column, rows.state == state, count) > 0 for state in (PRUNED, KEPT)
        )
        possible = bool((lower <= upper).all()) and not bool((pruned & kept).any())
        return LeafMinimum(of_column, matrix, lower, upper, pruned, kept, integral, possible)

    def bounds(
        self, gradient: Matrix, pruned: Flags, kept: Flags, clock: Clock | None = None
    ) -> Vector:
        """Lower bounds (leaves,), +inf for an empty leaf; the arguments are (leaves, n)."""
        if not self.possible:
            return np.full(len(gradient), np.inf)
        count = self.matrix.shape[1]
        merge = np.zeros((len(self.of_column), count))
        merge[np.arange(len(merge)), self.of_column] = 1.0
        cost = gradient @ merge
        ones, zeros = (pruned @ merge > 0.0) | self.pruned, (kept @ merge > 0.0) | self.kept
        found = np.full(len(gradient), np.inf)
        left = np.flatnonzero(~(ones & zeros).any(axis=1))
        knapsack = self._knapsack()
        parts = None if knapsack else self._parts()
        if knapsack:
            size = (knapsack[0] + 1) * (knapsack[1] + 1)
        elif parts:
            size = max(len(masks) for _, masks in parts)
        else:
            size = BATCH
        step = max(1, BATCH // max(1, size))
        for first in range(0, len(left), step):
            if clock is not None:
                clock.look(f"{first} of a block of {len(left)} leaves are")
            some = left[first : first + step]
            leaf = cost[some], ones[some], zeros[some]
            if knapsack:
                found[some] = self._by_table(*leaf, knapsack)
            elif parts:
                found[some] = _by_listing(*leaf, parts)
            else:
                found[some] = self._by_dual(cost[some[0]], ones[some[0]], zeros[some[0]])
        return found

    def tied(self, pruned: Flags) -> Flags:
        """(leaves, n): pruned columns, those that the set forces, and all that are tied to them."""
        merge = np.zeros((len(self.of_column), self.matrix.shape[1]))
        merge[np.arange(len(merge)), self.of_column] = 1.0
        classes = (pruned @ merge > 0.0) | self.pruned
        return np.asarray(classes[:, self.of_column])

    def _knapsack(self) -> tuple[int, int, Whole] | None:
        """(k, C, c) where the rows are a budget and a cost that is to be reached, else None."""
        budgets = np.flatnonzero((self.matrix == 1).all(axis=1) & (self.lower == self.upper))
        if len(self.matrix) != 2 or len(budgets) != 1:
            return None
        budget, other = int(budgets[0]), 1 - int(budgets[0])
        c, least, k = self.matrix[other], int(self.lower[other]), int(self.lower[budget])
        if c.min() < 0 or self.upper[other] < c.sum() or not 0 <= k <= len(c) or least <= 0:
            return None
        return (k, least, c) if (k + 1) * (least + 1) <= LARGEST_TABLE else None

    def _by_table(
        self, cost: Matrix, ones: Flags, zeros: Flags, knapsack: tuple[int, int, Whole]
    ) -> Vector:
        k, least, c = knapsack
        value = np.full((len(cost), k + 1, least + 1), np.inf)
        value[:, 0, 0] = 0.0
        for j, step in enumerate(c.tolist()):
            taken = np.full_like(value, np.inf)
            step = min(step, least)
            added = value[:, :-1] + cost[:, j, None, None]
            taken[:, 1:, step:] = added[:, :, : least + 1 - step]
            if step:  # what goes beyond counts as the most
                beyond = added[:, :, least + 1 - step :].min(axis=2)
                taken[:, 1:, least] = np.minimum(taken[:, 1:, least], beyond)
            taken[zeros[:, j]] = np.inf
            value[ones[:, j]] = np.inf
            value = np.minimum(value, taken)
        return np.asarray(value[:, k, least])

    def _parts(self) -> list[tuple[NDArray[np.intp], Matrix]] | None:
        """Columns of each part and its masks (masks, columns), or None where one is too wide."""
        count, part = scipy.sparse.csgraph.connected_components(_links(self.matrix), False)
        if np.bincount(part, minlength=count).max() > LISTED:
            return None
        found = []
        for number in range(count):
            columns = np.flatnonzero(part == number)
            rows = (self.matrix[:, columns] != 0).any(axis=1)
            found.append(
                (
                    columns,
                    _listed(self.matrix[np.ix_(rows, columns)], self.lower[rows], self.upper[rows]),
                )
            )
        return found

    def _by_dual(self, cost: Vector, ones: Flags, zeros: Flags) -> float:
        free = ~(ones | zeros)
        if not self.integral and int(free.sum()) <= FEW:
            given = self.matrix[:, ones].sum(axis=1)
            masks = _listed(self.matrix[:, free], self.lower - given, self.upper - given)
            least = (masks @ cost[free]).min(initial=np.inf)
            return float(cost[ones].sum() + least)
        scale = float(np.abs(cost).max(initial=0.0)) or 1.0
        y = self._multipliers(cost / scale, ones, zeros, elastic=False)
        if y is not None:
            return self._dual(cost, ones, free, scale * y)
        y = self._multipliers(np.zeros_like(cost), ones, zeros, elastic=True)
        if y is not None and self._dual(np.zeros_like(cost), ones, free, y) > 0.0:
            return np.inf
        return self._dual(cost, ones, free, np.zeros(len(self.matrix)))

    def _multipliers(self, cost: Vector, ones: Flags, zeros: Flags, elastic: bool) -> Vector | None:
        """Multipliers that HiGHS gives; elastic: of the least sum by which rows are missed."""
        equal = self.lower == self.upper
        above = np.concatenate([self.matrix[~equal], -self.matrix[~equal]]).astype(np.float64)
        sides = np.concatenate([self.upper[~equal], -self.lower[~equal]]).astype(np.float64)
        exact, at = self.matrix[equal].astype(np.float64), self.lower[equal].astype(np.float64)
        box = np.stack([ones.astype(np.float64), (~zeros).astype(np.float64)], axis=1)
        if elastic:
            slack = np.eye(len(above)), np.eye(len(exact))
            wide = np.zeros((len(above), 2 * len(exact)))
            above = np.concatenate([above, -slack[0], wide], axis=1)
            tall = np.zeros((len(exact), len(slack[0])))
            exact = np.concatenate([exact, tall, slack[1], -slack[1]], axis=1)
            more = above.shape[1] - len(cost)
            cost = np.concatenate([cost, np.ones(more)])
            box = np.concatenate([box, np.tile([0.0, np.inf], (more, 1))])
        linprog: Any = scipy.optimize.linprog  # its stubs know no arrays of bounds
        result = linprog(
            cost,
            above if len(above) else None,
            sides if len(above) else None,
            exact if len(exact) else None,
            at if len(exact) else None,
            box,
            method="highs",
            options={"dual_feasibility_tolerance": 1e-10},
        )
        if result.status != 0:
            return None
        y = np.zeros(len(self.matrix))
        if len(exact):
            y[equal] = result.eqlin.marginals
        if len(above):
            upper, lower = np.split(np.asarray(result.ineqlin.marginals), 2)
            y[~equal] = upper - lower
        return y if np.isfinite(y).all() else None

    def _dual(self, cost: Vector, ones: Flags, free: Flags, y: Vector) -> float:
        """The bound of multipliers y, less its rounding."""
        matrix = self.matrix.astype(np.float64)
        rest = cost - matrix.T @ y
        side = np.where(y > 0.0, self.lower, self.upper).astype(np.float64)
        value = float((y * side).sum() + rest[ones].sum() + np.minimum(rest[free], 0.0).sum())
        size = float((np.abs(y) * np.abs(side)).sum() + np.abs(cost).sum())
        size += float((np.abs(matrix).T @ np.abs(y)).sum())
        rows, columns = matrix.shape
        meeting = int((matrix != 0.0).sum(axis=0).max(initial=0))
        product = (rows + columns + meeting + 8) * UNIT
        found = float(value - 1.01 * product / (1.0 - product) * size)
        return found if np.isfinite(found) else -np.inf  # multipliers may be anything


def _links(matrix: Whole) -> scipy.sparse.csr_matrix:
    """Columns of a row are linked: a path through each row's columns."""
    first, second = [], []
    for row in matrix:
        columns = np.flatnonzero(row)
        first.extend(columns[:-1].tolist())
        second.extend(columns[1:].tolist())
    n = matrix.shape[1]
    return scipy.sparse.csr_matrix((np.ones(len(first)), (first, second)), shape=(n, n))


def _listed(matrix: Whole, lower: Whole, upper: Whole) -> Matrix:
    """All 0/1 vectors (masks, columns) that meet rows of few columns."""
    columns = matrix.shape[1]
    codes = np.arange(1 << columns, dtype=np.int64)
    vectors = (codes[:, None] >> np.arange(columns, dtype=np.int64)) & 1
    sums = vectors.astype(np.float64) @ matrix.T.astype(np.float64)  # whole, so exact
    met = ((lower <= sums) & (sums <= upper)).all(axis=1)
    return np.asarray(vectors[met], dtype=np.float64)


def _by_listing(
    cost: Matrix, ones: Flags, zeros: Flags, parts: list[tuple[NDArray[np.intp], Matrix]]
) -> Vector:
    total = np.zeros(len(cost))
    for columns, masks in parts:
        missed = ones[:, columns].astype(np.float64) @ (1.0 - masks).T
        missed += zeros[:, columns].astype(np.float64) @ masks.T
        values = np.where(missed > 0.0, np.inf, cost[:, columns] @ masks.T)
        total += values.min(axis=1, initial=np.inf)
    return total
