"""Intervals that hold e^T A e for the real numbers behind e and A: what all losses come down to.

A is a Gram G, or the Hessian H of the refit objective; e is what a mask takes from the weights of a
row. The float64 numbers that A holds are taken as exact, and so is e, or where it is the
difference w - x of two float64 vectors, those. Two ways, the cheap one first:

Float64. e and A are scaled by powers of two. In whatever order the n^2 products are added, what is
    computed is off by at most gamma_{2n+8} sum_ij |e_i A_ij e_j| (notation of
    `benchmarks.verify.quadratic`; gamma_{2n+12} where e is a rounded difference), and that sum is
    at most c (sum_i |e_i| sqrt(A_ii))^2 with c from `Layer.correlation`. Cost: one product of rows
    with A, as for the value alone; where that bound is too wide, a second one.
Whole numbers. Mantissas become Python integers with one exponent, and nothing is rounded but the
    end. Cost: k^2 products of integers for k entries of e that are not 0, about 0.15 us each. It is
    taken where the first interval is wider than a share of the value: where terms cancel.

Free entries. Where e may be chosen on a set S, its other entries standing, the least value is
    e^T A e - r_S^T A_SS^-1 r_S with r = A e, and lambda_min(A_SS) >= lambda_min(A) >= l > 0, so

        e^T A e - |r_S|^2 / l  <=  min over e_S of e^T A e  <=  e^T A e

    for every e, however it was found. A computed r is off by at most
    gamma_{n+2} c sqrt(A_ii) sum_j sqrt(A_jj) |e_j| in entry i. Where no l > 0 is shown, 0 is what
    is below.

Resolution. An A that was stored with unit roundoff s has values known to s sum_ij |e_i A_ij e_j| at
best: see `Loss.resolution`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import inf, nextafter
from operator import mul

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.definite import gamma
from maskgap.instances.errors import InputError
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer, unit_rows
from maskgap.instances.problem import LOSS_ROWS

WIDTH = 1e-7
"""Width of an interval, as a share of its upper end, from which on the exact value is found."""

TINY = 2.0**-900
"""Above what underflow can lose in rows and matrices scaled to about 1."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss in units of the layer's loss.

    value: nearest float64, or where the interval is wider, one inside. low, high: what it lies
    between. resolution: below it the data cannot tell losses apart, or, for a loss above it, a
    number that is not smaller; 0 where all terms are 0.
    """

    value: float
    low: float
    high: float
    resolution: float = 0.0

    @property
    def unresolved(self) -> bool:
        """Whether the data cannot tell it from 0, although it has terms that are not 0."""
        return 0.0 < self.high <= self.resolution

    def reason(self) -> str:
        """What to say of it, or nothing."""
        if not self.unresolved:
            return ""
        return (
            f"the loss lies below the data's resolution {self.resolution:.3g}: its terms cancel, "
            "and the rounding of the stored Gram decides which mask is best"
        )


@dataclass(frozen=True, eq=False)
class Metric:
    """The matrix A of a layer. name: of the layer, for errors.

    unit: (n, n) A / 2^exponent. correlation: c with |A_ij| <= c sqrt(A_ii A_jj). roundoff: unit
    roundoff of what it was stored in. block: its entries at rows and columns (indices), as they
    stand. least: at most the least eigenvalue of `unit`; 0 where none is known.
    """

    name: str
    unit: Matrix
    exponent: int
    correlation: float
    roundoff: float
    block: Callable[[NDArray[np.intp], NDArray[np.intp]], Matrix]
    least: float = 0.0

    @staticmethod
    def of_gram(layer: Layer) -> "Metric":
        """G."""
        unit, exponent = layer.gram_unit

        def block(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Matrix:
            return layer.gram[np.ix_(rows, columns)]

        return Metric(layer.name, unit, exponent, layer.correlation, layer.gram_roundoff, block)

    @staticmethod
    def of_hessian(hessian: Hessian) -> "Metric":
        """H."""
        return Metric(
            hessian.name,
            *hessian.unit,
            hessian.correlation,
            hessian.gram_roundoff,
            hessian.block,
            hessian.least,
        )

    @cached_property
    def roots(self) -> Vector:
        """(n,) square roots of the diagonal of `unit`."""
        return np.asarray(np.sqrt(np.maximum(self.unit.diagonal(), 0.0)))


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors e, one a row: `first`, or where there is a second, first - second.

    first, second: (rows, n) float64. free: (rows, n), where e may be chosen; None: nowhere.
    """

    first: Matrix
    second: Matrix | None = None
    free: Kept | None = None

    def block(self, rows: slice) -> "Rows":
        """Some of them."""
        second = None if self.second is None else self.second[rows]
        free = None if self.free is None else Kept(self.free[rows])
        return Rows(self.first[rows], second, free)


def enclosed(metric: Metric, vectors: Rows, width: float = WIDTH) -> list[Loss]:
    """e^T A e of each row, at least 0, and at most so wide as a share of it.

    width: negative for whole numbers in any case. Where entries are free, the lower end is that of
    the least value over them. Raises InputError where float64 ends.
    """
    found: list[Loss] = []
    for top in range(0, len(vectors.first), LOSS_ROWS):
        found += _block(metric, vectors.block(slice(top, top + LOSS_ROWS)), width)
    return found


def _block(metric: Metric, vectors: Rows, width: float) -> list[Loss]:
    rounded = vectors.second is not None
    plain = vectors.first if vectors.second is None else vectors.first - vectors.second
    unit, exponents = unit_rows(plain)
    pull = unit @ metric.unit
    value = np.einsum("ij,ij->i", pull, unit)
    with np.errstate(invalid="ignore"):  # infinity times 0 is NaN, which encloses nothing
        reach = metric.correlation * (np.abs(unit) @ metric.roots) ** 2  # absolute terms, or more
    powers = 2 * exponents + metric.exponent
    share = gamma(2 * len(metric.unit) + (12 if rounded else 8))
    found = []
    for row in range(len(unit)):
        power, size = int(powers[row]), float(reach[row])
        sure = _Sure(metric, share, power, width)
        loss = sure.around(float(value[row]), size)
        if loss is None or loss.unresolved:
            size = _absolute_sum(metric.unit, np.abs(unit[row]))
            loss = sure.around(float(value[row]), size)
        if loss is None or loss.unresolved:
            loss = _exact_loss(metric, vectors.block(slice(row, row + 1)), size, power)
        if not loss.high < inf:
            raise InputError(
                f"{metric.name}: the loss of a mask leaves the range of float64; divide weight or "
                "gram by a constant"
            )
        if vectors.free is not None and loss.low > 0.0:
            free = np.flatnonzero(vectors.free[row])
            less = _fall(metric, pull[row, free], metric.roots[free], float(reach[row]))
            loss = replace(loss, low=_lowered(loss.low, less, power))
        found.append(loss)
    return found


@dataclass(frozen=True, slots=True)
class _Sure:
    """Intervals from float64 arithmetic, scaled back by 2^power. share: relative rounding."""

    metric: Metric
    share: float
    power: int
    width: float

    def around(self, value: float, size: float) -> Loss | None:
        """None where that is too wide. size: at least the sum of the absolute terms."""
        error = self.share * size + TINY
        low, high = value - error, value + error
        if not (self.width >= 0.0 and low > 0.0 and high - low <= self.width * high):
            return None
        resolution = self.metric.roundoff * size * (1.0 + self.share)
        scaled = np.ldexp([value, low, high, resolution], self.power).tolist()
        return _between(*scaled)


def _fall(metric: Metric, pull: Vector, roots: Vector, reach: float) -> float:
    """At least |r_S|^2 / l, for a computed r_S; in scaled units. roots: those of S."""
    if not metric.least > 0.0:
        return inf
    n = len(metric.unit)
    off = gamma(n + 2) * (metric.correlation * reach) ** 0.5 * float(np.linalg.norm(roots))
    norm = 1.01 * (float(np.linalg.norm(pull)) + off) + n * 2.0**-500
    return float(1.01 * norm * norm / metric.least)


def _lowered(low: float, less: float, power: int) -> float:
    """At most low - less 2^power, and at least 0."""
    with np.errstate(over="ignore"):
        scaled = float(np.ldexp(less, power))
    return max(0.0, nextafter(low - nextafter(scaled, inf), -inf)) if scaled < inf else 0.0


def _absolute_sum(matrix: Matrix, wide: Vector) -> float:
    """sum_ij |e_i A_ij e_j| of one row |e|, by blocks: |A| is not made whole."""
    return sum(
        float(wide[top : top + LOSS_ROWS] @ (np.abs(matrix[top : top + LOSS_ROWS]) @ wide))
        for top in range(0, len(matrix), LOSS_ROWS)
    )


def _between(value: float, low: float, high: float, resolution: float) -> Loss:
    """A loss from its interval; scaling it may have rounded the ends at the edge of float64."""
    edge = 2.0**-1022
    low = 0.0 if low < edge else low
    high = nextafter(high, inf) if high < edge else high
    if high <= resolution:
        return Loss(resolution, 0.0, resolution, resolution)
    return Loss(value, low, high, resolution)


def _exact_loss(metric: Metric, vector: Rows, size: float, power: int) -> Loss:
    """A loss in whole numbers. size: the sum of the absolute terms, 0 where they underflow."""
    ends = vector.first[0], None if vector.second is None else vector.second[0]
    chosen = np.flatnonzero(ends[0] if ends[1] is None else (ends[0] != 0.0) | (ends[1] != 0.0))
    if size == 0.0 and not metric.block(chosen, chosen).any():
        return Loss(0.0, 0.0, 0.0)
    first = ends[0][chosen]
    if ends[1] is None:
        whole, exponent = _integers(first)
    else:
        both, exponent = _integers(np.concatenate([first, ends[1][chosen]]))
        whole = [a - b for a, b in zip(both[: len(first)], both[len(first) :], strict=True)]
    total, least = 0, 0
    for i in range(len(chosen)):
        entries, own = _integers(metric.block(chosen[i : i + 1], chosen)[0])
        term = whole[i] * sum(map(mul, entries, whole))
        # sums of rows with exponents of their own
        if own < least:
            total, least = total << (least - own), own
        total += term << (own - least)
    exact = total * Fraction(2) ** (2 * exponent + least)
    return _from_fraction(exact, float(np.ldexp(metric.roundoff * size, power)))


def _from_fraction(exact: Fraction, resolution: float) -> Loss:
    """A loss from its exact value; a Gram that is indefinite by rounding may make it negative."""
    exact = max(Fraction(0), exact)
    try:
        value = float(exact)
    except OverflowError:
        return Loss(inf, 0.0, inf)
    low = value if Fraction(value) <= exact else nextafter(value, 0.0)
    high = value if Fraction(value) >= exact else nextafter(value, inf)
    if high <= resolution:
        return Loss(resolution, 0.0, resolution, resolution)
    return Loss(value, low, high, resolution)


def _integers(values: Vector) -> tuple[list[int], int]:
    """Integers m_i and one exponent e with values_i = m_i 2^e."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    live = whole != 0
    least = int(exponent[live].min()) if live.any() else 0
    lifts = np.where(live, exponent.astype(np.int64) - least, 0)
    if not lifts.any():
        return whole.tolist(), least - 53
    return [m << s for m, s in zip(whole.tolist(), lifts.tolist(), strict=True)], least - 53
