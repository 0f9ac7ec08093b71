"""Sparse regression, and regression with a tailed cardinality, as Boscia's suite draws them.

`sparse_reg`, size n, with p = 5 n and k = ceil(n / 5); drawn in this order: lambda = rand(),
mu = 10 rand(), A = rand(n, p), y = rand(n). With M = 2 var(A) over all entries of A,

    minimise |y - A b|^2 + lambda sum z + mu |b|^2,   |b_j| <= M z_j,  sum z <= k,  z binary.

`tailed_cardinality`, size m, with n = round(m / 10), halves to even; drawn: lambda = rand(),
mu = 10 rand(), A = rand(m, n), y = rand(m), tau = 6 rand(n);

    minimise |A t - y|^2 + mu |t|^2 - lambda sum z,   |t_j| <= B - (B - tau_j) z_j,  z binary,

B = 20. Variables are (b, z) and (t, z). The ridge mu is the diagonal that is strongly convex.
"""

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.program import MixedSet, Program, QuadraticForm
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.xoshiro import Xoshiro

FAR = 20.0
"""B: what a tail is cut off at."""


def sparse_regression(seed: int, n: int) -> Instance:
    """`sparse_reg` of size n, at least 1."""
    random = Xoshiro(seed)
    p, k = 5 * n, -(-n // 5)
    price, ridge = random.uniform(), 10.0 * random.uniform()
    A, y = random.uniform_matrix(n, p), random.uniforms(n)
    reach = 2.0 * float(A.var(ddof=1))
    eye = np.eye(p)
    rows = np.block([[eye, -reach * eye], [eye, reach * eye], [np.zeros((1, p)), np.ones((1, p))]])
    free, least, most = np.full(p, np.inf), np.zeros(p), np.array([float(k)])
    space = MixedSet(
        rows,
        np.concatenate([-free, least, [-np.inf]]),
        np.concatenate([least, free, most]),
        np.concatenate([np.full(p, -reach), np.zeros(p)]),
        np.concatenate([np.full(p, reach), np.ones(p)]),
        np.arange(2 * p) >= p,
        tuple((j, p + j) for j in range(p)),
    )

    def worth(x: Vector) -> float:
        b, z = x[:p], x[p:]
        left = y - A @ b
        return float(left @ left) + price * float(z.sum()) + ridge * float(b @ b)

    form = _least_squares(A, y, ridge, price)
    return Instance("sparse_reg", seed, f"dimension={n}", Program(form, space), worth)


def tailed_cardinality(seed: int, m: int) -> Instance:
    """`tailed_cardinality` of size m, at least 6."""
    random = Xoshiro(seed)
    n = round(m / 10)
    price, ridge = random.uniform(), 10.0 * random.uniform()
    A, y = random.uniform_matrix(m, n), random.uniforms(m)
    near = 6.0 * random.uniforms(n)
    eye, cut = np.eye(n), np.diag(FAR - near)
    far = np.full(n, FAR)
    space = MixedSet(
        np.block([[eye, cut], [eye, -cut]]),
        np.concatenate([np.full(n, -np.inf), -far]),
        np.concatenate([far, np.full(n, np.inf)]),
        np.concatenate([-far, np.zeros(n)]),
        np.concatenate([far, np.ones(n)]),
        np.arange(2 * n) >= n,
    )

    def worth(x: Vector) -> float:
        t, z = x[:n], x[n:]
        left = A @ t - y
        return float(left @ left) + ridge * float(t @ t) - price * float(z.sum())

    form = _least_squares(A, y, ridge, -price)
    return Instance("tailed_cardinality", seed, f"n0={n};m0={m}", Program(form, space), worth)


def _least_squares(A: Matrix, y: Vector, ridge: float, price: float) -> QuadraticForm:
    """|y - A b|^2 + ridge |b|^2 + price sum z in (b, z)."""
    p = A.shape[1]
    matrix = np.zeros((2 * p, 2 * p))
    matrix[:p, :p] = A.T @ A + ridge * np.eye(p)
    linear = np.concatenate([-2.0 * (A.T @ y), np.full(p, price)])
    diagonal = np.concatenate([np.full(p, ridge), np.zeros(p)])
    return QuadraticForm(matrix, linear, float(y @ y), diagonal)
