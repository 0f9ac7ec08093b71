"""Losses of linear predictors t = A x, with a ridge and a linear term.

f(x) = sum over rows i of l_i(t_i) + sum of ridge_j x_j^2 + linear . x,

logistic   l_i(t) = log(1 + exp(-s_i t)),     labels s_i = 1 or -1
Poisson    l_i(t) = exp(t) - c_i t,           counts c_i >= 0
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite
from maskgap.solvers.objectives.convex.quadratic import for_each
from maskgap.solvers.objectives.convex.smooth import model_of
from maskgap.solvers.objectives.protocol import Quadratic


class PredictorLoss(ABC):
    """A loss of A x (m, n) with a ridge (n,) and a linear term (n,); see `SmoothObjective`."""

    def __init__(self, A: Matrix, ridge: Vector, linear: Vector) -> None:
        self.A, self.ridge, self.linear = A, ridge, linear
        self.n = A.shape[1]
        self.diagonal: Vector | None = ridge

    @abstractmethod
    def terms(self, t: Vector) -> tuple[float, Vector, Vector]:
        """The sum of all l_i(t_i), and their first and second derivatives (m,)."""

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """As `SmoothObjective.__call__`."""
        value, first, _ = self.terms(self.A @ x)
        own = self.ridge * x
        gradient = self.A.T @ first + 2.0 * own + self.linear
        return value + float(own @ x + self.linear @ x), gradient

    def model(self, x: Vector) -> Quadratic:
        """As `SmoothObjective.model`."""
        _, _, second = self.terms(self.A @ x)
        matrix = (self.A.T * second) @ self.A + 2.0 * np.diag(self.ridge)
        return model_of(self(x), matrix, x)


class Logistic(PredictorLoss):
    """See the module. labels: (m,) of 1 and -1."""

    def __init__(self, A: Matrix, labels: Vector, ridge: Vector, linear: Vector) -> None:
        super().__init__(A, ridge, linear)
        self._labels = labels

    def terms(self, t: Vector) -> tuple[float, Vector, Vector]:
        """As `PredictorLoss.terms`."""
        margin = self._labels * t
        share = np.exp(-np.logaddexp(0.0, margin))  # 1 / (1 + exp(margin)), without overflow
        value = float(np.logaddexp(0.0, -margin).sum())
        return value, -self._labels * share, share * (1.0 - share)


class Poisson(PredictorLoss):
    """See the module. counts: (m,)."""

    def __init__(self, A: Matrix, counts: Vector, ridge: Vector, linear: Vector) -> None:
        super().__init__(A, ridge, linear)
        self._counts = counts

    def terms(self, t: Vector) -> tuple[float, Vector, Vector]:
        """As `PredictorLoss.terms`; +inf where exp overflows."""
        with np.errstate(over="ignore"):
            rate = np.exp(t)
        return float(rate.sum() - self._counts @ t), rate - self._counts, rate


def logistic(
    A: ArrayLike, labels: ArrayLike, *, ridge: ArrayLike = 0.0, linear: ArrayLike = 0.0
) -> Logistic:
    """Sum of log(1 + exp(-s_i a_i . x)) + sum of ridge_j x_j^2 + linear . x.

    A: (m, n), rows a_i. labels: (m,) of 1 and -1, or of 1 and 0. ridge, linear: (n,) or a number.
    Raises InputError.
    """
    design, signs = finite("A", A, 2), finite("labels", labels, 1)
    if np.isin(signs, (0.0, 1.0)).all():
        signs = 2.0 * signs - 1.0
    if len(signs) != len(design) or not np.isin(signs, (-1.0, 1.0)).all():
        raise InputError(f"labels: expected ({len(design)},) of 1 and -1, or of 1 and 0")
    return Logistic(design, signs, *_terms(design.shape[1], ridge, linear))


def poisson(
    A: ArrayLike, counts: ArrayLike, *, ridge: ArrayLike = 0.0, linear: ArrayLike = 0.0
) -> Poisson:
    """Sum of exp(a_i . x) - c_i a_i . x, + sum of ridge_j x_j^2 + linear . x.

    A: (m, n), rows a_i. counts: (m,), at least 0. ridge, linear: (n,) or a number. Raises
    InputError.
    """
    design, seen = finite("A", A, 2), finite("counts", counts, 1)
    if len(seen) != len(design) or (seen < 0.0).any():
        raise InputError(f"counts: expected ({len(design)},) numbers from 0 on")
    return Poisson(design, seen, *_terms(design.shape[1], ridge, linear))


def _terms(n: int, ridge: ArrayLike, linear: ArrayLike) -> tuple[Vector, Vector]:
    own = for_each("ridge", ridge, n)
    if (own < 0.0).any():
        raise InputError("ridge: expected numbers from 0 on")
    return own, for_each("linear", linear, n)
