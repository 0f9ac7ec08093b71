"""The loss of a mask as an interval that holds for the real numbers behind w and G.

For a row, r = w on its pruned columns and 0 elsewhere, and

    L = max(0, r^T G r)                (of a part: the sum over its rows),

of the float64 numbers that the layer holds, taken as exact. Two ways to it, the cheap one first:

Float64. r and G are scaled by powers of two. In whatever order the n^2 products are added, what is
    computed is off by at most gamma_{2n+8} sum_ij |r_i G_ij r_j| (notation of
    `benchmarks.verify.quadratic`), and that sum is at most c (sum_i |r_i| sqrt(G_ii))^2 with c from
    `Layer.correlation`. Cost: one product of rows with G, as for the loss alone; where that bound
    is too wide, a second one.
Whole numbers. Mantissas become Python integers with one exponent, and nothing is rounded but the
    end. Cost: k^2 products of integers for k pruned columns, about 0.15 us each. It is taken where
    the first interval is wider than a share of the loss: where the terms of r^T G r cancel.

Resolution. The Gram that the layer holds was rounded when it was stored, each entry by up to a unit
roundoff, so losses below

    resolution = gram_roundoff * sum_ij |r_i G_ij r_j|

say nothing: between two such masks the data cannot tell. A loss there is reported as that floor,
with the interval from 0 to it, and is never proved. A row without a pruned weight that a live
column has is different: all its terms are 0, and so is its loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum, inf, nextafter
from operator import mul

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, pruned_of
from maskgap.instances.definite import gamma
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer, unit_rows
from maskgap.instances.problem import LOSS_ROWS, Part, Problem

WIDTH = 1e-7
"""Width of an interval, as a share of its upper end, from which on the exact loss is found."""

TINY = 2.0**-900
"""Above what underflow can lose in rows and Grams scaled to about 1."""


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


def loss_of(problem: Part, mask: Kept, width: float = WIDTH) -> Loss:
    """The loss of a mask (n,) of a part. Raises InputError where float64 ends."""
    return total_loss(row_losses(problem, mask, width))


def row_losses(problem: Part, mask: Kept, width: float = WIDTH) -> list[Loss]:
    """The losses of the rows of a part under its mask (n,)."""
    shape = (problem.height, problem.layer.d_in)
    return _row_losses(
        problem.layer, problem.weight.reshape(shape), Kept(mask.reshape(shape)), width
    )


def exact_loss(problem: Part, mask: Kept) -> Loss:
    """The same in whole numbers, whatever the width."""
    return loss_of(problem, mask, width=-1.0)


def losses_of(problem: Problem, masks: Kept, width: float = WIDTH) -> list[Loss]:
    """The losses of masks (rows, d_in) of a problem, one a part. Raises InputError."""
    rows = _row_losses(problem.layer, problem.weight, masks, width)
    height = problem.height
    return [total_loss(rows[top : top + height]) for top in range(0, len(rows), height)]


def total_loss(losses: Sequence[Loss]) -> Loss:
    """The sum of losses; its ends are rounded outwards."""
    if len(losses) == 1:
        return losses[0]
    return Loss(
        fsum(loss.value for loss in losses),
        sum_down([loss.low for loss in losses]),
        sum_up([loss.high for loss in losses]),
        fsum(loss.resolution for loss in losses),
    )


def sum_down(values: Sequence[float]) -> float:
    """A float64 number at most the exact sum of finite numbers, and next to it."""
    total = fsum(values)
    return nextafter(total, -inf) if fsum([*values, -total]) < 0.0 else total


def sum_up(values: Sequence[float]) -> float:
    """A float64 number at least the exact sum of finite numbers, and next to it."""
    return -sum_down([-value for value in values])


def _row_losses(layer: Layer, weight: Matrix, masks: Kept, width: float) -> list[Loss]:
    """Of rows of weights (rows, d_in) and masks alike."""
    found: list[Loss] = []
    for top in range(0, len(weight), LOSS_ROWS):
        rows = slice(top, top + LOSS_ROWS)
        found += _block_losses(layer, weight[rows], Kept(masks[rows]), width)
    return found


def _block_losses(layer: Layer, weight: Matrix, masks: Kept, width: float) -> list[Loss]:
    gram, gram_exponent = layer.gram_unit
    unit, exponents = unit_rows(weight)
    pruned, rest = pruned_of(masks), np.where(masks, 0.0, unit)
    value = np.einsum("ij,ij->i", rest @ gram, rest)
    roots = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    with np.errstate(invalid="ignore"):  # infinity times 0 is NaN, which encloses nothing
        reach = layer.correlation * (np.abs(rest) @ roots) ** 2  # at least the terms' absolute sum
    powers = 2 * exponents + gram_exponent
    found = []
    for row in range(len(rest)):
        own = float(value[row]), float(reach[row])
        loss = _enclosed(layer, *own, int(powers[row]), width)
        if loss is None or loss.unresolved:
            own = own[0], _absolute_sum(gram, np.abs(rest[row]))
            loss = _enclosed(layer, *own, int(powers[row]), width)
        if loss is None or loss.unresolved:
            if own[1] == 0.0 and not _has_terms(layer, weight[row], Pruned(pruned[row])):
                loss = Loss(0.0, 0.0, 0.0)
            else:
                exact = _exact(weight[row], layer.gram, Pruned(pruned[row]))
                resolution = float(np.ldexp(layer.gram_roundoff * own[1], powers[row]))
                loss = _from_fraction(exact, resolution)
        if not loss.high < inf:
            raise InputError(
                f"{layer.name}: the loss of a mask leaves the range of float64; divide weight or "
                "gram by a constant"
            )
        found.append(loss)
    return found


def _enclosed(layer: Layer, value: float, size: float, power: int, width: float) -> Loss | None:
    """A loss from float64 arithmetic, scaled back by 2^power; None where that is too wide.

    size: at least the sum of the absolute terms.
    """
    error = gamma(2 * layer.d_in + 8) * size + TINY
    low, high = value - error, value + error
    if not (width >= 0.0 and low > 0.0 and high - low <= width * high):
        return None
    resolution = layer.gram_roundoff * size * (1.0 + gamma(2 * layer.d_in + 8))
    scaled = np.ldexp([value, low, high, resolution], power).tolist()
    return _between(*scaled)


def _absolute_sum(gram: Matrix, wide: Vector) -> float:
    """sum_ij |r_i G_ij r_j| of one row |r|, by blocks: |G| is not made whole."""
    return sum(
        float(wide[top : top + LOSS_ROWS] @ (np.abs(gram[top : top + LOSS_ROWS]) @ wide))
        for top in range(0, len(gram), LOSS_ROWS)
    )


def _has_terms(layer: Layer, weight: Vector, pruned: Pruned) -> bool:
    """Whether some product of a row's loss is not 0, however small."""
    chosen = np.flatnonzero(pruned & (weight != 0.0))
    return bool(layer.gram[np.ix_(chosen, chosen)].any())


def _between(value: float, low: float, high: float, resolution: float) -> Loss:
    """A loss from its interval; scaling it may have rounded the ends at the edge of float64."""
    edge = 2.0**-1022
    low = 0.0 if low < edge else low
    high = nextafter(high, inf) if high < edge else high
    if high <= resolution:
        return Loss(resolution, 0.0, resolution, resolution)
    return Loss(value, low, high, resolution)


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


def _exact(weight: Vector, gram: Matrix, pruned: Pruned) -> Fraction:
    """r^T G r of one row."""
    chosen = np.flatnonzero(pruned & (weight != 0.0))
    weights, weight_exponent = _integers(weight[chosen])
    total, least = 0, 0
    for i, column in enumerate(chosen):
        entries, exponent = _integers(gram[column, chosen])
        own = weights[i] * sum(map(mul, entries, weights))
        # sums of rows with exponents of their own
        if exponent < least:
            total, least = total << (least - exponent), exponent
        total += own << (exponent - least)
    return total * Fraction(2) ** (2 * weight_exponent + least)


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
