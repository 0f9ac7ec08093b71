"""Every kind of objective against every choice of whole values, 50 seeded problems each.

Three variables, the first two whole, the third continuous; a row that joins them, an equality in
every third problem.
"""

import itertools

import numpy as np
import pytest
import scipy.optimize

import maskgap
from maskgap import objectives


def _objective(kind, random):
    """An objective of three variables."""
    A, ridge = random.standard_normal((6, 3)), 0.05 + 0.2 * random.random()
    if kind == "logistic":
        return objectives.logistic(A, random.random(6) < 0.5, ridge=ridge)
    if kind == "poisson":
        return objectives.poisson(A, random.poisson(2, 6), ridge=ridge)
    if kind == "least squares":
        return objectives.least_squares(A, 2 * random.standard_normal(6), ridge=ridge)
    if kind == "callable":
        aim = 2 * random.standard_normal(3)
        return lambda x: (float(((x - aim) ** 4).sum() + x @ x), 4 * (x - aim) ** 3 + 2 * x)
    if kind == "torch":
        import torch

        aim = torch.tensor(A[0])
        return objectives.torch(lambda x: torch.logsumexp(3 * (x - aim), 0) + ridge * (x @ x))
    design = random.standard_normal((3, 2))
    prior = 0.1 * np.eye(2)
    if kind == "d-optimal":
        return objectives.d_optimal(design, prior)
    return objectives.a_optimal(design, prior)


def _optimum(f, row, sides, bounds):
    """The least value over the slices of whole values, each an interval of the third variable."""
    best = np.inf
    for a, b in itertools.product(range(int(bounds[0]), int(bounds[1]) + 1), repeat=2):
        paid = row[0] * a + row[1] * b
        low, high = bounds
        if row[2] == 0.0:
            if not sides[0] - 1e-9 <= paid <= sides[1] + 1e-9:
                continue
        else:
            ends = sorted(((sides[0] - paid) / row[2], (sides[1] - paid) / row[2]))
            low, high = max(low, ends[0]), min(high, ends[1])
        if low > high:
            continue

        def value(c, a=a, b=b):
            return f(np.array([a, b, c], dtype=float))[0]

        best = min(best, value(low), value(high))
        if high - low > 1e-9:
            found = scipy.optimize.minimize_scalar(
                value, bounds=(low, high), method="bounded", options={"xatol": 1e-9}
            )
            best = min(best, float(found.fun))
    return best


KINDS = ["logistic", "poisson", "least squares", "callable", "torch", "d-optimal", "a-optimal"]


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_problems(kind):
    for seed in range(50):
        random = np.random.default_rng(seed)
        f = _objective(kind, random)
        row = random.integers(-2, 3, 3).astype(float)
        side = float(random.integers(-1, 3))
        sides = (side, side) if seed % 3 == 0 else (-np.inf, side)
        bounds = (0.0, 2.0) if kind.endswith("optimal") else (-2.0, 2.0)
        best = _optimum(f, row, sides, bounds)
        oracle = maskgap.oracles.milp(row[None], *sides, *bounds, [1, 1, 0])
        result = maskgap.minimise(f, oracle)
        if best == np.inf:
            assert result.stop == "infeasible", seed
            continue
        assert result.objective == pytest.approx(best, rel=2e-6, abs=1e-9), seed
        assert result.bound <= best + 1e-7 * abs(best) + 1e-12, seed
        assert result.gap <= 1e-6, seed
        assert result.violation <= 1e-6, seed
