"""Julia's `randn`: the ziggurat of Marsaglia and Tsang (2000) with 256 strips of equal area.

With f(x) = exp(-x^2 / 2) the strips have right ends x_255 = R > ... > x_1 and area

    v = R f(R) + the integral of f from R,    x_(i-1) = f^-1(f(x_i) + v / x_i),

and R is where the last strip closes, f(x_1) + v / x_1 = 1. A draw takes 52 bits: a sign, and 51
bits r whose lowest 8 choose the strip i; x = +- r w_i with w_i = x_i / 2^51 is taken at once where
r < k_i = 2^51 x_(i-1) / x_i, else by the shape of f or, in the strip with the tail (0), by two
logarithms. The tables come of R by arithmetic of 40 digits. An array of FILLED numbers and more
takes its bits as an array of words first, and what a rejection needs from the parent after that; a
shorter one is drawn number by number.

Logarithm and exponential decide rejected draws alone, 1 in 150; a tail, 1 in 4000, is a logarithm
itself, which libraries round within one unit in the last place.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from itertools import pairwise

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.sources.published.xoshiro import Xoshiro

STRIPS = 256
FILLED = 7
DIGITS = 40

_SCALE = 1 << 51
_END = Decimal("3.65415288536100879635194725185604664812733315920964")
"""R, where f(x_1) + v / x_1 = 1 but for 6e-16, which the tables keep."""


@dataclass(frozen=True, slots=True)
class Tables:
    """width: w_i, whole: k_i, height: f(x_i), each (256,); tail: R."""

    width: tuple[float, ...]
    whole: tuple[int, ...]
    height: tuple[float, ...]
    tail: float


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp()


def _area(end: Decimal) -> Decimal:
    """R f(R) + f(R) / (R + 1 / (R + 2 / (R + ...))), the continued fraction of the tail."""
    fraction = end
    for k in range(400, 0, -1):
        fraction = end + Decimal(k) / fraction
    return _density(end) * (end + 1 / fraction)


def _ends(end: Decimal) -> list[Decimal]:
    """x_255 to x_1."""
    area = _area(end)
    ends = [end]
    while len(ends) < STRIPS - 1:
        ends.append((-2 * (_density(ends[-1]) + area / ends[-1]).ln()).sqrt())
    return ends


@cache
def tables() -> Tables:
    """The tables of 256 strips."""
    with localcontext() as context:
        context.prec = DIGITS
        area, ends = _area(_END), _ends(_END)
        xs = [Decimal(0), *reversed(ends)]  # x_0 = 0, x_1, ..., x_255
        base = area / _density(_END)
        width = [base, *xs[1:]]
        whole = [_END / base, *(below / x for below, x in pairwise(xs))]
        return Tables(
            tuple(float(x / _SCALE) for x in width),
            tuple(int(ratio * _SCALE) for ratio in whole),
            tuple(1.0 if i == 0 else float(_density(x)) for i, x in enumerate(xs)),
            float(_END),
        )


def normal(random: Xoshiro) -> float:
    """`randn()`."""
    return _normal(random, random.word() >> 12)


def normals(random: Xoshiro, count: int) -> Vector:
    """(count,) `randn(count)`."""
    if count < FILLED:
        return np.array([normal(random) for _ in range(count)])
    return np.array([_normal(random, word >> 12) for word in random.words(count).tolist()])


def normal_matrix(random: Xoshiro, rows: int, columns: int) -> Matrix:
    """(rows, columns) `randn(rows, columns)`."""
    return normals(random, rows * columns).reshape((rows, columns), order="F")


def _normal(random: Xoshiro, bits: int) -> float:
    table = tables()
    while True:
        size = bits >> 1
        strip = size & (STRIPS - 1)
        x = (-size if bits & 1 else size) * table.width[strip]
        if size < table.whole[strip]:
            return x
        if strip == 0:
            return _beyond(random, table.tail, (size >> 8) & 1 == 1)
        above, below = table.height[strip - 1], table.height[strip]
        if (above - below) * random.uniform() + below < math.exp(-0.5 * x * x):
            return x
        bits = random.word() >> 12


def _beyond(random: Xoshiro, tail: float, negative: bool) -> float:
    """A number past R, by two exponential ones."""
    inverse = 1.0 / tail
    while True:
        step = -inverse * math.log(random.uniform())
        if -2.0 * math.log(random.uniform()) > step * step:
            return -tail - step if negative else tail + step
