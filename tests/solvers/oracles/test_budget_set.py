"""Boxes with a budget against HiGHS: minima, and the rises that close variables."""

import numpy as np
import pytest

from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from maskgap.solvers.oracles.mixed.protocol import space_of


def _pair(seed):
    """The same set in closed form and as a row, and a direction with ties and zeros."""
    random = np.random.default_rng(seed)
    n, whole = int(random.integers(1, 7)), seed % 2
    lower = random.integers(-2, 1, n).astype(float)
    upper = lower + random.integers(0, 4, n)
    least, most = np.sort(random.integers(lower.sum() - 1, upper.sum() + 2, 2)).astype(float)
    least, most = [(least, most), (-np.inf, most), (least, np.inf), (most, most)][seed % 4]
    closed = BudgetSet(space_of(lower, upper, whole, n), least, most)
    rows = HighsSet(linear_set(np.ones((1, n)), (least, most), (lower, upper), whole))
    return closed, rows, random.integers(-3, 4, n).astype(float)


@pytest.mark.parametrize("seed", range(120))
def test_minima_and_rises(seed):
    closed, rows, direction = _pair(seed)
    lower, upper = closed.space.lower, closed.space.upper
    found, other = (o.minimise(direction, lower, upper) for o in (closed, rows))
    if other is None:
        assert found is None
        return
    assert closed.violation(found.point) <= 1e-12
    assert direction @ found.point == pytest.approx(other.bound, abs=1e-7)
    assert found.bound == pytest.approx(other.bound, abs=1e-7)
    for oracle, vertex in ((closed, found), (rows, other)):
        for j in np.flatnonzero(vertex.rises if vertex.rises is not None else []):
            for value in np.arange(lower[j], upper[j] + 1):
                low, high = lower.copy(), upper.copy()
                low[j] = high[j] = value
                side = rows.minimise(direction, low, high)
                rise = (
                    vertex.rises[j] * abs(value - vertex.point[j])
                    if value != vertex.point[j]
                    else 0
                )
                least = np.inf if side is None else side.bound
                assert vertex.bound + rise <= least + 1e-6, (j, value, type(oracle))
