"""Sparse logistic regression, as Boscia's suite draws it.

`sparse_log_reg`, size n with a spread v and a reach M, p = 5 n; drawn in this order: G =
randn(n, p), labels y = +-1 by `bitrand(n)`, 1 for a set bit, mu = 10 rand(). With rows
a_i = v y_i g_i,

    minimise (1 / n) sum log(1 + exp(-y_i a_i . b)) + (mu / 2) |b|^2,   |b_j| <= M z_j,  sum z <= 5,

z binary. (Labels come in twice: in the rows and in the loss.) Up to 64 bits of `bitrand` are the
low ones of one word.
"""

import numpy as np
import scipy.special

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.program import MixedSet, Program
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.xoshiro import Xoshiro
from maskgap.instances.sources.published.ziggurat import normal_matrix

MOST = 5
"""Coefficients that may differ from 0."""

BITS = 64


class SparseLogistic:
    """The objective of variables (b, z). A: (n, p) rows a_i. labels: (n,). ridge: mu / 2."""

    def __init__(self, seed: int, n: int, spread: float) -> None:
        random = Xoshiro(seed)
        drawn = normal_matrix(random, n, 5 * n)
        word = random.word()
        self.labels: Vector = np.array([1.0 if word >> i & 1 else -1.0 for i in range(n)])
        self.ridge = 0.5 * (10.0 * random.uniform())
        self.A = spread * drawn * self.labels[:, None]

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Value and gradient (2 p,) at x (2 p,)."""
        p = self.A.shape[1]
        b, margins = x[:p], self.labels * (self.A @ x[:p])
        pull = -self.labels * scipy.special.expit(-margins) / len(margins)
        value = float(np.logaddexp(0.0, -margins).mean()) + self.ridge * float(b @ b)
        return value, np.concatenate([self.A.T @ pull + 2.0 * self.ridge * b, np.zeros(p)])


def sparse_logistic(seed: int, n: int, spread: float, reach: float) -> Instance:
    """`sparse_log_reg` of size n, 1 to 64. Raises InputError for another."""
    if not 1 <= n <= BITS:
        raise InputError(f"sparse_log_reg: size {n}, expected 1 to {BITS}")
    p, eye, objective = 5 * n, np.eye(5 * n), SparseLogistic(seed, n, spread)
    free, zero = np.full(p, np.inf), np.zeros(p)
    space = MixedSet(
        np.block([[eye, -reach * eye], [eye, reach * eye], [np.zeros((1, p)), np.ones((1, p))]]),
        np.concatenate([-free, zero, [-np.inf]]),
        np.concatenate([zero, free, [float(MOST)]]),
        np.concatenate([np.full(p, -reach), zero]),
        np.concatenate([np.full(p, reach), np.ones(p)]),
        np.arange(2 * p) >= p,
        tuple((j, p + j) for j in range(p)),
    )
    size = f"dimension={n};var_A={spread:g};M={float(reach)}"
    program = Program(objective, space)
    return Instance("sparse_log_reg", seed, size, program, lambda x: objective(x)[0])
