"""Portfolios of whole shares, as Boscia's suite draws them.

Size n; drawn in this order: r = rand(n), w = rand(), A = randn(n, n), a = rand(n). With
M = A^T A, made symmetric, and b = sum of a,

    minimise (w / 2) x^T M x - r^T x,   a^T x <= b,  sum x >= 1,  x >= 0,

x whole in `portfolio_integer`, its first floor(n / 2) numbers whole in `portfolio_mixed`. No x_j is
above b / a_j, which bounds the set.
"""

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.program import MixedSet, Program, QuadraticForm
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.xoshiro import Xoshiro
from maskgap.instances.sources.published.ziggurat import normal_matrix


def portfolio(seed: int, n: int, *, mixed: bool = False) -> Instance:
    """`portfolio_integer` of size n, or `portfolio_mixed`."""
    random = Xoshiro(seed)
    reward, aversion = random.uniforms(n), random.uniform()
    A = normal_matrix(random, n, n)
    M = A.T @ A
    M = (M + M.T) / 2.0
    price = random.uniforms(n)
    budget = float(price.sum())
    whole = np.arange(n) < (n // 2 if mixed else n)
    most = budget / price
    space = MixedSet(
        np.vstack([price, np.ones(n)]),
        np.array([-np.inf, 1.0]),
        np.array([budget, np.inf]),
        np.zeros(n),
        np.where(whole, np.floor(most), most),
        whole,
    )

    def worth(x: Vector) -> float:
        return 0.5 * aversion * float(x @ M @ x) - float(reward @ x)

    form = QuadraticForm(0.5 * aversion * M, -reward, 0.0, np.zeros(n))
    family = "portfolio_mixed" if mixed else "portfolio_integer"
    return Instance(family, seed, f"dimension={n}", Program(form, space), worth)
