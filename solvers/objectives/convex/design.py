"""Optimal designs of experiments: how often each of n experiments is made.

With rows a_i of A (n, d) and M(x) = prior + sum of x_i a_i a_i^T,

    D-optimal   f(x) = -log det M(x)
    A-optimal   f(x) = tr M(x)^-1

both convex where M is definite and +inf elsewhere. With S = A M^-1 A^T,

    grad_i = -S_ii,                second derivative S_ij^2                      (D)
    grad_i = -|M^-1 a_i|^2,        second derivative 2 S_ij (A M^-2 A^T)_ij      (A)
"""

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite
from maskgap.solvers.objectives.convex.smooth import model_of
from maskgap.solvers.objectives.protocol import Quadratic

SINGULAR = 1e-13
"""A Cholesky factor whose diagonal falls below this share of its largest counts as singular."""


class Design:
    """A design of experiments; see `SmoothObjective`. trace: A-optimal, else D-optimal."""

    diagonal: Vector | None = None

    def __init__(self, A: Matrix, prior: Matrix, trace: bool) -> None:
        self.A, self.prior, self.trace = A, prior, trace
        self.n = len(A)

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """As `SmoothObjective.__call__`."""
        factor = self._factor(x)
        if factor is None:
            return np.inf, np.zeros(self.n)
        half = scipy.linalg.solve_triangular(factor, self.A.T, lower=True)  # S = half^T half
        if not self.trace:
            return -2.0 * float(np.log(np.diag(factor)).sum()), -(half * half).sum(axis=0)
        solved = scipy.linalg.solve_triangular(factor, half, lower=True, trans=1)
        inverse = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
        return float((inverse * inverse).sum()), -(solved * solved).sum(axis=0)

    def model(self, x: Vector) -> Quadratic:
        """As `SmoothObjective.model`."""
        factor = self._factor(x)
        if factor is None:
            raise InputError("the design is singular there: it has no second-order model")
        half = scipy.linalg.solve_triangular(factor, self.A.T, lower=True)
        joint = half.T @ half
        if not self.trace:
            return model_of(self(x), joint * joint, x)
        solved = scipy.linalg.solve_triangular(factor, half, lower=True, trans=1)
        return model_of(self(x), 2.0 * joint * (solved.T @ solved), x)

    def _factor(self, x: Vector) -> Matrix | None:
        """The lower Cholesky factor of M(x), None where it is not definite."""
        information = self.prior + (self.A.T * x) @ self.A
        try:
            factor = scipy.linalg.cholesky(information, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        roots = np.diag(factor)
        definite = np.isfinite(roots).all() and roots.min() > SINGULAR * roots.max()
        return np.asarray(factor) if definite else None


def d_optimal(A: ArrayLike, prior: ArrayLike | None = None) -> Design:
    """-log det of the information. A: (n, d), an experiment a row. prior: (d, d), None for 0."""
    return _design(A, prior, trace=False)


def a_optimal(A: ArrayLike, prior: ArrayLike | None = None) -> Design:
    """Trace of the inverse information. A: (n, d), an experiment a row. prior: (d, d), or None."""
    return _design(A, prior, trace=True)


def _design(A: ArrayLike, prior: ArrayLike | None, trace: bool) -> Design:
    experiments = finite("A", A, 2)
    d = experiments.shape[1]
    known = np.zeros((d, d)) if prior is None else finite("prior", prior, 2)
    if known.shape != (d, d):
        raise InputError(f"prior: expected ({d}, {d}), not {known.shape}")
    return Design(experiments, 0.5 * (known + known.T), trace)
