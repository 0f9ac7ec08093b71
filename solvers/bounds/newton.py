"""The system of one step of the interior-point method, solved for steps of y and w.

As every constraint matrix c c^T has rank one, the HKM direction (Helmberg, Rendl, Vanderbei,
Wolkowicz, SIAM Journal on Optimization 6, 1996) is a system that is a product entry by entry:

    M (dy, dw) = r,   M = (A V A^T) * (A Y A^T) + Diag(0, x / w),   V = B S^-1 B^T,

with the constraint vectors as rows of A: one Cholesky factorisation of order n + 1 + m, most of the
time of a step. Large systems are formed and factored in float32, scaled to a diagonal of ones. That
alone would leave primal constraints missed by some digits, so the factor is the preconditioner of
conjugate gradients: M in float64 is never formed, but

    M v = c^T (V W Y) c of each constraint, + x / w * v,   W = sum of v c c^T

is two products of order n, those that a direction needs anyway. The first product mostly is the
last. Where they do not end soon, the system is factored in float64.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.bounds.iterate import Iterate, inverse
from maskgap.solvers.bounds.triangles import products

SINGLE_ORDER = 1000
"""Order from which a system is factored in float32."""

REFINED, ROUGHLY = 1e-5, 1e-2
"""What may be missed of the right side, as a share of its largest entry; in a first direction."""

MOST_CORRECTIONS = 12
"""Products with M at most; two or three do where float32 is enough."""

LEAST_PIVOT, SINGLE_PIVOT = 1e-13, 1e-6
"""Share of the diagonal that is added to it, in float64 and in float32."""


@dataclass(frozen=True, eq=False)
class Direction:
    """Steps of everything in an Iterate, and image = S^-1 (step of S)."""

    y: Vector
    weight: Vector
    primal: Matrix
    slack: Matrix
    excess: Vector
    image: Matrix


@dataclass(frozen=True, eq=False)
class Factored:
    """The Cholesky factor of the system scaled to a diagonal of ones, in its dtype; scale: (m,)."""

    factor: NDArray[np.float32] | Matrix
    scale: Vector

    @staticmethod
    def of(at: Iterate, spread: Matrix, single: bool) -> "Factored | None":
        """spread: V; None where the system is singular in such numbers."""
        n = len(at.y)
        diagonal = _forms(at, at.lifted) * _forms(at, spread)
        diagonal[n:] += at.excess / at.weight
        if not (diagonal > 0.0).all():
            return None
        scale = 1.0 / np.sqrt(diagonal)
        dtype = np.float32 if single else np.float64
        system = products(spread, at.lifted, at.cuts, scale, np.dtype(dtype))
        np.fill_diagonal(system, 1.0 + (SINGLE_PIVOT if single else LEAST_PIVOT))
        # LAPACK reads columns, so the lower triangle of rows is the upper one of its matrix
        factorise = scipy.linalg.lapack.spotrf if single else scipy.linalg.lapack.dpotrf
        factor, info = factorise(system.T, lower=0, overwrite_a=1, clean=0)
        return Factored(factor, scale) if info == 0 else None

    @property
    def exact(self) -> bool:
        """Whether it is in float64."""
        return bool(self.factor.dtype == np.float64)

    def solve(self, right: Vector) -> Vector:
        """An answer as good as the numbers of the factor."""
        scaled = self.scale * right
        if self.exact:
            half, _ = scipy.linalg.lapack.dpotrs(self.factor, scaled, lower=0)
        else:
            half, _ = scipy.linalg.lapack.spotrs(self.factor, scaled.astype(np.float32), lower=0)
        return np.asarray(self.scale * half, np.float64)


@dataclass(frozen=True, eq=False)
class _Moves:
    """What steps of y and w move: S, S^-1 times that, and the symmetric part of that times R."""

    slack: Matrix
    image: Matrix
    primal: Matrix

    def times(self, step: float) -> "_Moves":
        return _Moves(step * self.slack, step * self.image, step * self.primal)

    def plus(self, step: float, other: "_Moves") -> "_Moves":
        return _Moves(
            self.slack + step * other.slack,
            self.image + step * other.image,
            self.primal + step * other.primal,
        )


@dataclass(eq=False)
class Newton:
    """The HKM system at one iterate, solved for any centring and second-order term.

    inverse: S^-1. spread: V. pull: c^T V c of each constraint.
    """

    iterate: Iterate
    factored: Factored
    inverse: Matrix
    spread: Matrix
    pull: Vector

    @staticmethod
    def at(at: Iterate, lower: Matrix) -> "Newton | None":
        """The system, factored; None where it is singular in float64. lower: L L^T = S."""
        inner = inverse(lower)
        if inner is None:
            return None
        spread = at.face.lift(inner)
        single = len(at.y) + len(at.cuts) >= SINGLE_ORDER
        factored = Factored.of(at, spread, single) if single else None
        factored = factored or Factored.of(at, spread, single=False)
        if factored is None:
            return None
        return Newton(at, factored, inner, spread, _forms(at, spread))

    def direction(
        self, centre: float, bent: Matrix | None, crossed: Vector | None
    ) -> Direction | None:
        """Steps that aim at R S = centre I and x w = centre, less the second-order terms.

        None where the system is singular in float64.
        """
        at, n = self.iterate, len(self.iterate.y)
        pairs = (centre if crossed is None else centre - crossed) / at.weight
        right = 1.0 - centre * self.pull
        right[n:] += pairs
        if bent is not None:
            right += _forms(at, at.face.lift(bent))
        found = self._refined(right, ROUGHLY if bent is None else REFINED)
        if found is None:
            return None
        both, moves = found
        primal = centre * self.inverse - at.primal - moves.primal
        excess = pairs - at.excess - at.excess / at.weight * both[n:]
        if bent is not None:
            primal -= bent
        return Direction(both[:n], both[n:], primal, moves.slack, excess, moves.image)

    def _refined(self, right: Vector, share: float) -> tuple[Vector, _Moves] | None:
        """The answer to a right side, and what it moves."""
        missed, wanted = right, share * float(np.abs(right).max())
        towards = ahead = self.factored.solve(missed)
        found, moves = np.zeros(len(right)), None
        for _ in range(MOST_CORRECTIONS):
            own = self._moves(towards)
            if self.factored.exact:
                return towards, own
            image = self._image(towards, own)
            curvature, before = float(towards @ image), float(missed @ ahead)
            if not (curvature > 0.0 and before > 0.0):
                break
            step = before / curvature
            found = found + step * towards
            moves = own.times(step) if moves is None else moves.plus(step, own)
            missed = missed - step * image
            if float(np.abs(missed).max()) <= wanted:
                return found, moves
            ahead = self.factored.solve(missed)
            towards = ahead - step * float(ahead @ image) / before * towards
        exact = Factored.of(self.iterate, self.spread, single=False)
        if exact is None:
            return None
        self.factored = exact
        return self._refined(right, share)

    def _moves(self, both: Vector) -> _Moves:
        n = len(self.iterate.y)
        slack = -self.iterate.weighted(both[:n], both[n:])
        image = self.inverse @ slack
        return _Moves(slack, image, symmetric(image @ self.iterate.primal))

    def _image(self, both: Vector, moves: _Moves) -> Vector:
        """M times steps that move so much."""
        at, n = self.iterate, len(self.iterate.y)
        out = -_forms(at, at.face.lift(moves.primal))
        out[n:] += at.excess / at.weight * both[n:]
        return out


def _forms(at: Iterate, lifted: Matrix) -> Vector:
    """c^T lifted c of each constraint. lifted: (n + 1, n + 1)."""
    return np.concatenate([lifted.diagonal(), at.cuts.forms(lifted)])


def symmetric(matrix: Matrix) -> Matrix:
    """Its symmetric part."""
    return np.asarray(0.5 * (matrix + matrix.T))
