"""Instances of our own, drawn by numpy's seed, of kinds that published ones are not drawn of.

`logistic`, size n: m = 4 n observations with labels s = +-1 of a sparse truth,

    minimise sum log(1 + exp(-s_i <a_i, b>)) / m + mu |b|^2,   |b_j| <= M z_j,  sum z <= k.

`poisson`: counts c_i with means exp(<a_i, truth>),

    minimise sum (exp(<a_i, b>) - c_i <a_i, b>) / m + mu |b|^2,   the same set.

Both have k = ceil(n / 5), M = 1, mu = 0.01, variables (b, z).

`a_design`, `d_design`, size n: of n experiments a_i in R^d, d = ceil(n / 4), N = 2 d are chosen,
with repetition, at most 3 of each,

    minimise trace X^-1  or  -log det X,   X = sum x_i a_i a_i^T,  sum x = N,  x whole.
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.special

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.program import MixedSet, Program, Smooth
from maskgap.instances.sources.published.instance import Instance

REACH = 1.0
RIDGE = 0.01
REPEATS = 3

KINDS = ("logistic", "poisson", "a_design", "d_design")


def own(family: str, seed: int, n: int) -> Instance:
    """An instance of one of KINDS. Raises InputError for another."""
    if family not in KINDS:
        raise InputError(f"'{family}' is none of {', '.join(KINDS)}")
    random = np.random.default_rng([seed, n, KINDS.index(family)])
    make = _design if family.endswith("design") else _sparse
    program = make(family, random, n)
    return Instance(family, seed, f"dimension={n}", program, lambda x: program.objective(x)[0])


def _sparse(family: str, random: np.random.Generator, n: int) -> Program:
    A = random.standard_normal((4 * n, n)) / 2.0
    truth = np.where(random.random(n) < 0.2, random.standard_normal(n), 0.0)
    if family == "logistic":
        chance = scipy.special.expit(2.0 * (A @ truth))
        signs = np.where(random.random(4 * n) < chance, 1.0, -1.0)
        loss = _logistic(signs[:, None] * A)
    else:
        loss = _poisson(A, random.poisson(np.exp(A @ truth)).astype(np.float64))

    def objective(x: Vector) -> tuple[float, Vector]:
        b = x[:n]
        value, gradient = loss(b)
        slope = np.concatenate([gradient + 2.0 * RIDGE * b, np.zeros(n)])
        return value + RIDGE * float(b @ b), slope

    eye = np.eye(n)
    rows = np.block([[eye, -REACH * eye], [eye, REACH * eye], [np.zeros((1, n)), np.ones((1, n))]])
    free, zero = np.full(n, np.inf), np.zeros(n)
    space = MixedSet(
        rows,
        np.concatenate([-free, zero, [-np.inf]]),
        np.concatenate([zero, free, [float(-(-n // 5))]]),
        np.concatenate([np.full(n, -REACH), zero]),
        np.concatenate([np.full(n, REACH), np.ones(n)]),
        np.arange(2 * n) >= n,
        tuple((j, n + j) for j in range(n)),
    )
    return Program(objective, space)


def _logistic(signed: Matrix) -> Smooth:
    def loss(b: Vector) -> tuple[float, Vector]:
        margins = signed @ b
        share = -scipy.special.expit(-margins) / len(signed)
        return float(np.logaddexp(0.0, -margins).mean()), signed.T @ share

    return loss


def _poisson(A: Matrix, counts: Vector) -> Smooth:
    def loss(b: Vector) -> tuple[float, Vector]:
        rates = A @ b
        means = np.exp(rates)
        return float((means - counts * rates).mean()), A.T @ (means - counts) / len(A)

    return loss


def _design(family: str, random: np.random.Generator, n: int) -> Program:
    d = -(-n // 4)
    A = random.standard_normal((n, d))
    of: Callable[[Matrix, Matrix], tuple[float, Vector]]
    of = _trace_inverse if family == "a_design" else _log_determinant

    def objective(x: Vector) -> tuple[float, Vector]:
        information = (A.T * x) @ A
        try:
            factor = scipy.linalg.cholesky(information, lower=True)
        except scipy.linalg.LinAlgError:  # outside of the domain
            return np.inf, np.zeros(n)
        return of(factor, A)

    space = MixedSet(
        np.ones((1, n)),
        np.array([2.0 * d]),
        np.array([2.0 * d]),
        np.zeros(n),
        np.full(n, float(REPEATS)),
        np.ones(n, dtype=np.bool_),
    )
    return Program(objective, space)


def _log_determinant(factor: Matrix, A: Matrix) -> tuple[float, Vector]:
    half = scipy.linalg.solve_triangular(factor, A.T, lower=True)  # (d, n)
    return -2.0 * float(np.log(factor.diagonal()).sum()), -(half * half).sum(axis=0)


def _trace_inverse(factor: Matrix, A: Matrix) -> tuple[float, Vector]:
    inverse = scipy.linalg.cho_solve((factor, True), np.eye(len(factor)))
    half = inverse @ A.T
    return float(np.trace(inverse)), -(half * half).sum(axis=0)
