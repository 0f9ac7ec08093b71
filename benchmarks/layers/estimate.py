"""The gap of a layer estimated from some of its rows, drawn at random.

With losses L_i of the masks of all rows and a checked bound B_i of each row that was drawn,

    gap = (sum L_i - sum B_i) / sum L_i,

where sum L_i is known and sum B_i is estimated. Rows are drawn one after another without
replacement, each with probability proportional to its size x_i among those that are left. So the
first k rows drawn are themselves such a sample, whatever N was asked for: a sample can be cut short
by time, or gone on with. With p_i = x_i / sum x and rows i_1, i_2, ... in the order drawn,

    t_k = B_{i_1} + ... + B_{i_{k-1}}  +  (1 - p_{i_1} - ... - p_{i_{k-1}}) B_{i_k} / p_{i_k}

has the expectation sum B_i given the rows before, for each k (Des Raj, Some estimators in sampling
with varying probabilities without replacement, Journal of the American Statistical Association 51,
1956). So the mean of t_1 ... t_N is an unbiased estimate of sum B_i, the t_k are uncorrelated, and
sum (t_k - mean)^2 / (N (N - 1)) is an unbiased estimate of its variance. Divided by sum L_i, which
is no random number once the masks stand, it remains so. The sizes are the losses of the masks that
all rows had when the rows were drawn: bounds are nearly proportional to those, and where they are
exactly so, the variance is 0. The order is that of E_i / x_i with independent exponential E_i
(Efraimidis and Spirakis, Weighted random sampling with a reservoir, Information Processing Letters
97, 2006), seeded.

The interval is that of Student's t with N - 1 degrees of freedom. It is an approximation: a few
rows that are unlike all others and were not drawn are not seen by it. It is cut to what is certain:
the rows drawn have the gaps that they have, and the bounds that stand hold; where it has nothing in
common with that, what is certain is all there is. What is estimated is
the gap if every row had had the passes that the rows drawn had; it is no bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """estimate: of the gap, None without a row. low, high: its interval at a confidence.

    rows_sampled: rows that it rests on, each with a checked bound.
    """

    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    rows_sampled: int


@dataclass(frozen=True, eq=False)
class Population:
    """What is known of all rows. losses: sum over the masks. certain: sum of the bounds that stand.

    sizes: (rows,), those that rows were drawn by. order: places of rows as drawn, the first first.
    """

    losses: float
    certain: float
    sizes: Vector
    order: NDArray[np.intp]


def drawn(sizes: Vector, seed: int) -> NDArray[np.intp]:
    """Places of all rows of a size above 0 in the order in which they are drawn."""
    keys = np.random.default_rng([seed, len(sizes)]).exponential(size=len(sizes))
    live = np.flatnonzero(sizes > 0.0)
    return np.asarray(live[np.argsort(keys[live] / sizes[live], kind="stable")])


def raj(bounds: Vector, shares: Vector) -> Vector:
    """(k,) the t_k of rows in the order drawn. bounds: B, shares: p, (k,) each."""
    before = np.concatenate([[0.0], np.cumsum(bounds)[:-1]])
    left = np.maximum(0.0, 1.0 - np.concatenate([[0.0], np.cumsum(shares)[:-1]]))
    return np.asarray(before + left * bounds / shares)


def estimate(
    population: Population, losses: Sequence[float], bounds: Sequence[float], confidence: float
) -> Estimate:
    """The gap from the first rows drawn. losses, bounds: of their masks, and checked; in order."""
    count, whole = len(bounds), population.losses
    if not whole > 0.0:
        return Estimate(0.0, 0.0, 0.0, confidence, count)
    if not count:
        return Estimate(None, None, None, confidence, 0)
    least = max(0.0, fsum([*losses, *(-bound for bound in bounds)])) / whole
    most = max(least, 1.0 - population.certain / whole)
    if count == len(population.order):  # all of them: nothing is left to chance
        return Estimate(most, most, most, confidence, count)
    shares = population.sizes[population.order[:count]] / fsum(population.sizes.tolist())
    found = raj(np.array(bounds), shares)
    middle = 1.0 - float(found.mean()) / whole
    low, high = least, most
    if count > 1:
        half = _quantile(confidence, count - 1) * sqrt(float(found.var(ddof=1)) / count) / whole
        if least <= middle + half and middle - half <= most:
            low, high = max(least, middle - half), min(most, middle + half)
    middle = min(high, max(low, middle))
    return Estimate(middle, low, high, confidence, count)


def _quantile(confidence: float, freedom: int) -> float:
    """Of Student's t, two-sided."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + 0.5 * confidence))
