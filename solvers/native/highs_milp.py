"""HiGHS on a linearised row: each product z_i z_j of binaries becomes a variable y_ij in [0, 1].

    min  sum_i Q_ii z_i + 2 sum_{i<j} Q_ij y_ij
    a . z = b                                               each equality row of the set
    sum_{j != i} a_j y_ij = (b - a_i) z_i                   each column i and equality row
    y_ij <= z_i,  y_ij <= z_j                               where Q_ij < 0
    y_ij >= z_i + z_j - 1                                   where Q_ij > 0
    a . z >= b                                              each other row, by sides
    sum_j a_j y_ij >= b z_i,  a . z - sum_j a_j y_ij >= b (1 - z_i)      with y_ii = z_i

The second family is a row times z_i (the reformulation-linearisation technique of Adams and
Sherali, 1986), and the last one that of an inequality times z_i and 1 - z_i. The budgets alone make
the model exact: with a = 1 on a group and b = k, y_ij = 0 where z_i = 0, so for z_i = 1 its k - 1
(or k) other terms must all be 1. The third and fourth are McCormick's, on the side that Q_ij pulls
to. Forced columns are bounds.
There are n (n - 1) / 2 products, and HiGHS's dual bound is claimed as it stands
(`solvers.mip.adapter`).
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import KEPT, PRUNED, States
from maskgap.instances.problem import Part
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.settings import WarmStart, settings

TOLERANCE = 1e-7
"""Absolute slack of the dual bound in units of the model; its rows are met to 1e-9 each."""

LARGEST_ROW = 1000
"""Columns; that is half a million products."""


class _Entries:
    """Rows of the model, gathered as parts; columns are z, then y_ij for i < j in row order."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = 0
        self._rows: list[NDArray[np.int64]] = []
        self._columns: list[NDArray[np.int64]] = []
        self._values: list[Vector] = []
        self._sides: list[tuple[Vector, Vector]] = []

    def product(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of y_ij, i != j."""
        low, high = np.minimum(i, j), np.maximum(i, j)
        return np.asarray(self.n + low * (2 * self.n - low - 1) // 2 + high - low - 1)

    def put(self, rows: NDArray[Any], columns: NDArray[Any], values: ArrayLike) -> None:
        """Entries of rows that are numbered from the next one on; those of one place add up."""
        self._rows.append(self.count + rows)
        self._columns.append(columns)
        self._values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape))

    def close(self, lower: ArrayLike, upper: ArrayLike, count: int) -> None:
        """Give the next `count` rows, whose entries are in, their sides."""
        sides = (
            np.broadcast_to(np.asarray(side, dtype=np.float64), count) for side in (lower, upper)
        )
        self._sides.append((*sides,))  # type: ignore[arg-type]
        self.count += count

    def times_columns(self, matrix: scipy.sparse.coo_matrix) -> None:
        """Put sum_{j != i} a_j y_ij of each row a of a matrix, times each column i."""
        height, a = matrix.shape[0], matrix
        i, entry = np.divmod(np.arange(self.n * a.nnz), max(1, a.nnz))
        j = a.col[entry]
        off = i != j
        rows = (i * height + a.row[entry])[off]
        self.put(rows, self.product(i[off], j[off]), a.data[entry][off])

    def model(self, cost: Vector, state: States) -> highs.LinearModel:
        """The finished model."""
        width = len(cost)
        places = np.concatenate(self._rows), np.concatenate(self._columns)
        matrix = scipy.sparse.csr_matrix(
            (np.concatenate(self._values), places), shape=(self.count, width)
        )
        matrix.eliminate_zeros()
        lower, upper = np.zeros(width), np.ones(width)
        lower[: self.n], upper[: self.n] = state == PRUNED, state != KEPT
        return highs.LinearModel(
            cost,
            lower,
            upper,
            matrix,
            np.concatenate([low for low, _ in self._sides]),
            np.concatenate([high for _, high in self._sides]),
            integers=self.n,
        )


def linearise(quad: Matrix, legal: MaskSet) -> highs.LinearModel:
    """The model for Q (n, n): columns z, then y_ij for i < j in row order.

    Each column must be in an equality row of entries above 0, as those of budgets are.
    """
    n, system = len(quad), legal.linear_rows()
    entries = _Entries(n)
    _add_equalities(entries, system)
    first, second = np.triu_indices(n, 1)
    products = quad[first, second]

    y = n + np.arange(len(first))
    below = np.flatnonzero(products < 0)
    for side in (first, second):
        at = np.arange(len(below))
        entries.put(at, y[below], 1.0)
        entries.put(at, side[below], -1.0)
        entries.close(-np.inf, 0.0, len(below))
    above = np.flatnonzero(products > 0)
    at = np.arange(len(above))
    entries.put(at, y[above], 1.0)
    entries.put(at, first[above], -1.0)
    entries.put(at, second[above], -1.0)
    entries.close(-1.0, np.inf, len(above))

    for row in system.as_rows():
        if not row.is_equality:
            if row.lower is not None:
                _add_inequality(entries, row.columns, row.values, row.lower)
            if row.upper is not None:
                _add_inequality(entries, row.columns, -row.values, -row.upper)
    return entries.model(np.concatenate([quad.diagonal(), 2.0 * products]), system.state)


def _add_equalities(entries: _Entries, system: LinearRows) -> None:
    """Each equality row times each column, then the rows themselves."""
    n, chosen = entries.n, np.flatnonzero(system.lower == system.upper)
    matrix = scipy.sparse.coo_matrix(system.system[chosen])
    at = system.lower[chosen].astype(np.float64)
    count = len(at)
    entries.times_columns(matrix)
    place = np.arange(n * count)
    entries.put(place, place // count, -np.tile(at, n))
    entries.put(matrix.col * count + matrix.row, matrix.col, matrix.data)
    entries.close(0.0, 0.0, n * count)
    entries.put(matrix.row, matrix.col, matrix.data)
    entries.close(at, at, count)


def _add_inequality(
    entries: _Entries, columns: NDArray[np.int64], values: NDArray[np.int64], side: int
) -> None:
    """The row a . z >= b, and that times z_i and 1 - z_i for each column i."""
    n, every = entries.n, np.arange(entries.n)
    own = np.zeros(n)
    own[columns] = values
    row = scipy.sparse.coo_matrix(own[None, :])
    entries.put(np.zeros(len(columns), dtype=np.int64), columns, values)
    entries.close(side, np.inf, 1)
    entries.times_columns(row)
    entries.put(every, every, own - side)
    entries.close(0.0, np.inf, n)
    entries.times_columns(-row)
    i, j = np.repeat(every, len(columns)), np.tile(columns, n)
    entries.put(i[i != j], j[i != j], own[j[i != j]])
    entries.put(every, every, float(side))
    entries.close(side, np.inf, n)


def complete(mask: Kept) -> Vector:
    """All columns of the model for a mask (n,): z and its products."""
    z = pruned_of(mask).astype(np.float64)
    first, second = np.triu_indices(len(z), 1)
    return np.concatenate([z, z[first] * z[second]])


def build(run: NativeRun, seed: int) -> Any:
    """A Highs object with model and start. Raises OutOfTime."""
    model = linearise(run.quad, run.legal)
    run.check_time()
    native = highs.load(model, run.limits, run.native_gap, seed)
    if run.start is not None:
        highs.give_start(native, complete(run.start))
    run.check_time()
    return native


@settings
class HighsMilp:
    """HiGHS, products linearised."""

    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, TOLERANCE)
        n = problem.n

        def finish(native: Any) -> Answer:
            highs.optimise(native, limits, lambda x: run.offer_vector(x[:n]), run.offer_bound)
            return run.answer(highs.read_back(native, n))

        return run.three_steps(
            LARGEST_ROW,
            "the model has a variable for each of n^2 / 2 products",
            lambda: build(run, seed),
            finish,
        )
