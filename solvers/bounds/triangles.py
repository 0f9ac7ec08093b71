"""Triangle inequalities of the cut polytope in the form that the interior-point method wants.

For three of the indices 0..n of Y = (1, s)(1, s)^T and signs c of +1 and -1 on them, c . (1, s) is
an odd number, so its square is at least 1:

    c^T Y c >= 1,   in z eight times a term of `instances.triangles`:   c^T Y c - 1 = 8
    term.

With diag(Y) = 1 it says Y_ab c_a c_b + Y_ac c_a c_c + Y_bc c_b c_c >= -1. A constraint matrix c c^T
has rank one, as those of the diagonal do, and three entries; index 0 among the three makes it a
McCormick inequality. c and -c are the same, so at most one index has the sign -1: its apex.

The scan takes n^3 / 6 looks at Y, in float32. Of each pair i < j it keeps the most violated third
index k > j, and of those, most violated first, only triples that share no pair: neighbours are
violated together, and as many inequalities lift the bound further when they are spread out.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.triangles import Triangles
from maskgap.solvers.kernels.jit import reordered

IN_TERMS = 8.0
"""What one unit of c^T Y c - 1 is in terms of `instances.triangles`."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """Triangle inequalities.

    index: (m, 3) int64, increasing along a row, of 0..n. apex: (m,) int64, the position 0, 1 or 2
    of the sign -1, or -1 for none.
    """

    index: NDArray[np.int64]
    apex: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.apex)

    @cached_property
    def signs(self) -> Matrix:
        """(m, 3) of +1 and -1."""
        return np.where(self.apex[:, None] == np.arange(3), -1.0, 1.0)

    def forms(self, X: Matrix) -> Vector:
        """c^T X c of each, (m,), for a symmetric X (n + 1, n + 1)."""
        a, b, c = self.index.T
        u, v, w = self.signs.T
        products = u * v * X[a, b] + u * w * X[a, c] + v * w * X[b, c]
        return np.asarray(X[a, a] + X[b, b] + X[c, c] + 2.0 * products)

    def weighted(self, weight: Vector, order: int) -> Matrix:
        """Sum of weight c c^T, (order, order)."""
        out = np.zeros((order, order))
        _scatter(weight, self.index, self.signs, out)
        return out

    def touching(self, weight: Vector, order: int) -> Vector:
        """Sum of the weights of the inequalities at each index, (order,)."""
        return np.asarray(np.bincount(self.index.ravel(), np.repeat(weight, 3), order), np.float64)

    def keys(self) -> NDArray[np.int64]:
        """A number for each that no other inequality has."""
        a, b, c = self.index.T
        return np.asarray(((a << 20 | b) << 20 | c) << 2 | (self.apex + 1))

    def where(self, keep: Flags | NDArray[np.int64]) -> "Cuts":
        """Some of them."""
        return Cuts(self.index[keep], self.apex[keep])

    def joined(self, other: "Cuts") -> "Cuts":
        """These, then the others."""
        return Cuts(
            np.concatenate([self.index, other.index]), np.concatenate([self.apex, other.apex])
        )

    def triangles(self, weight: Vector) -> Triangles:
        """The inequalities with weights of c^T Y c - 1 (m,) as those of their terms."""
        columns = (self.index - 1).astype(np.int32)  # index 0 becomes CONSTANT
        return Triangles(columns, self.apex.astype(np.int16), IN_TERMS * weight)


def no_cuts() -> Cuts:
    """None at all."""
    return Cuts(np.zeros((0, 3), np.int64), np.zeros(0, np.int64))


def products(
    spread: Matrix, lifted: Matrix, cuts: Cuts, scale: Vector, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """(c^T V d)(c^T Y d) over all pairs of constraint vectors c, d: unit vectors, then the cuts.

    spread, lifted: V and Y (n + 1, n + 1). scale: (n + 1 + m,), by which rows and columns are
    multiplied. Only the lower triangle of the result, of the dtype given, is set.
    """
    out = np.empty((len(scale), len(scale)), dtype)
    _products(spread, lifted, cuts.index, cuts.signs, scale, out)
    return out


def separate(lifted: Matrix, known: Cuts, most: int, least: float) -> Cuts:
    """At most `most` inequalities that share no pair and miss 1 by more than `least`.

    lifted: Y (n + 1, n + 1) with diagonal near 1. known: inequalities not to find again.
    """
    third = np.empty(lifted.shape, np.int64)
    missed = np.zeros(lifted.shape, np.float32)
    _scan(lifted.astype(np.float32), 0.5 * least, missed, third)
    first, second = np.nonzero(missed)
    order = np.argsort(-missed[first, second], kind="stable")
    first, second = first[order], second[order]
    last = third[first, second]
    pairs = np.stack([lifted[first, second], lifted[first, last], lifted[second, last]])
    # signs (+ + +), then - at the first, second, third index
    sums = np.array([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) @ pairs
    found = Cuts(np.stack([first, second, last], axis=1), np.argmin(sums, axis=0) - 1)
    found = found.where(~np.isin(found.keys(), known.keys()))
    return found.where(_apart(found.index, len(lifted), most))


@reordered
def _scan(lifted, least, missed, third):  # type: ignore[no-untyped-def]
    """The third index k > j that violates most with each pair i < j, and by how much."""
    n = len(lifted)
    for i in range(n):
        for j in range(i + 1, n):
            one, two, pair = lifted[i], lifted[j], lifted[i, j]
            alike = apart = np.float32(-np.inf)  # the last j has no k
            for k in range(j + 1, n):
                total, difference = abs(one[k] + two[k]), abs(one[k] - two[k])
                alike = total if total > alike else alike
                apart = difference if difference > apart else apart
            lowest = min(pair - alike, -pair - apart)
            if lowest >= -1.0 - least:
                continue
            missed[i, j] = -1.0 - lowest
            same = pair - alike <= -pair - apart
            for k in range(j + 1, n):
                if (abs(one[k] + two[k]) == alike) if same else (abs(one[k] - two[k]) == apart):
                    third[i, j] = k
                    break


@reordered
def _apart(index, order, most):  # type: ignore[no-untyped-def]
    """The first `most` rows of index that share no pair with one taken before."""
    taken = np.zeros((order, order), np.bool_)
    rows = np.empty(min(most, len(index)), np.int64)
    count = 0
    for t in range(len(index)):
        if count == len(rows):
            break
        a, b, c = index[t, 0], index[t, 1], index[t, 2]
        if not (taken[a, b] or taken[a, c] or taken[b, c]):
            taken[a, b] = taken[a, c] = taken[b, c] = True
            rows[count] = t
            count += 1
    return rows[:count]


@reordered
def _scatter(weight, index, signs, out):  # type: ignore[no-untyped-def]
    for t in range(len(weight)):
        for p in range(3):
            for q in range(3):
                out[index[t, p], index[t, q]] += weight[t] * signs[t, p] * signs[t, q]


@reordered
def _products(spread, lifted, index, signs, scale, out):  # type: ignore[no-untyped-def]
    n = len(spread)
    for i in range(n):
        for j in range(i + 1):
            out[i, j] = scale[i] * scale[j] * spread[i, j] * lifted[i, j]
    left = np.empty(n)
    right = np.empty(n)
    for t in range(len(index)):
        a, b, c = index[t, 0], index[t, 1], index[t, 2]
        u, v, w = scale[n + t] * signs[t, 0], scale[n + t] * signs[t, 1], scale[n + t] * signs[t, 2]
        for j in range(n):
            left[j] = u * spread[a, j] + v * spread[b, j] + w * spread[c, j]
            right[j] = signs[t, 0] * lifted[a, j] + signs[t, 1] * lifted[b, j]
            right[j] += signs[t, 2] * lifted[c, j]
            out[n + t, j] = scale[j] * left[j] * right[j]
        for s in range(t + 1):
            a, b, c = index[s, 0], index[s, 1], index[s, 2]
            u, v, w = signs[s, 0], signs[s, 1], signs[s, 2]
            out[n + t, n + s] = (
                scale[n + s]
                * (u * left[a] + v * left[b] + w * left[c])
                * (u * right[a] + v * right[b] + w * right[c])
            )


def warm_up() -> None:
    """Compile the kernels, or load them."""
    violated = np.full((3, 3), -0.5) + 1.5 * np.eye(3)
    cuts = separate(violated, no_cuts(), 1, 0.0)
    scale = np.ones(len(violated) + len(cuts))
    for dtype in (np.float32, np.float64):
        products(violated, violated, cuts, scale, np.dtype(dtype))
    cuts.weighted(np.ones(len(cuts)), 3)
