"""The diagonal of largest sum that a definite matrix can spare, and a proof that it can.

    maximise  sum of D_j   over   D > 0  with  H - Diag(D) positive semidefinite

is a semidefinite programme. Its barrier problem

    maximise  sum of D_j + mu (log det (H - Diag(D)) + sum of log D_j)

has, with V = (H - Diag(D))^-1, the gradient 1 - mu V_jj + mu / D_j and the second derivative
-mu (V * V + Diag(1 / D^2)); Newton steps follow it as mu falls, and its sum lacks 2 n mu at most of
the largest. What comes out is feasible by a factor in float64 alone; a diagonal, this or any other,
is lowered until a factor, multiplied out, shows that H - Diag(D) is semidefinite
(`instances.definite`): an e with

    least eigenvalue of (H - Diag(D))  >=  -e          gives        H - Diag(D - e)  >=  0.
"""

from math import inf, isfinite, nextafter

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.definite import UNIT, defect
from maskgap.instances.layer import unit_exponent
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal

CLOSE = 1e-4
"""Share of the sum that may be lacking."""

FALL = 0.2
"""Of mu, where Newton steps have nearly converged."""

STEPS = 100

SHORTEST = 1e-8
"""Of a step, at least."""

TRIES = 40
"""Times that a diagonal is lowered before it is given up."""

EIGEN = 2.0**-50
"""Share of the largest entry, for each variable, by which it is lowered at first."""


def largest_diagonal(hessian: Matrix) -> Vector:
    """(n,) D > 0 of about the largest sum, feasible within float64. hessian: (n, n).

    Raises Refused where H is not positive definite within float64.
    """
    exponent = unit_exponent(float(np.abs(hessian).max(initial=0.0)))
    unit = np.ldexp(hessian, -exponent)
    diagonal = 0.9 * inverse_diagonal(unit)
    mu = float(diagonal.mean())
    for _ in range(STEPS):
        inverse = _inverse(unit - np.diag(diagonal))
        if inverse is None:
            break
        slope = 1.0 - mu * inverse.diagonal() + mu / diagonal
        curve = mu * (inverse * inverse + np.diag(diagonal**-2.0))
        step = scipy.linalg.solve(curve, slope, assume_a="pos")
        decrement = float(step @ slope) / mu
        length = _length(unit, diagonal, step, mu)
        if length == 0.0:
            break
        diagonal = diagonal + length * step
        if decrement < 0.5:
            if 2.0 * len(diagonal) * mu <= CLOSE * float(diagonal.sum()):
                break
            mu *= FALL
    return np.asarray(np.ldexp(diagonal, exponent))


def shown_diagonal(hessian: Matrix, diagonal: Vector) -> Vector | None:
    """D (n,), lowered by one number until H - Diag(D) is shown to be semidefinite; None if never.

    hessian: (n, n), exactly symmetric. None, too, where an entry of D is then not above 0.
    """
    n, exponent = len(diagonal), unit_exponent(float(np.abs(hessian).max(initial=0.0)))
    unit, wanted = np.ldexp(hessian, -exponent), np.ldexp(diagonal, -exponent)
    low = max(0.0, -float(np.linalg.eigvalsh(unit - np.diag(wanted))[0]))
    for _ in range(TRIES):
        tried = wanted - low
        rest = unit - np.diag(tried)
        missed = defect(rest) + UNIT * float(np.abs(rest.diagonal()).max())  # each was rounded
        if isfinite(missed):
            shown = np.nextafter(tried - nextafter(missed, 1.0), -1.0)
            return np.ldexp(shown, exponent) if bool((shown > 0.0).all()) else None
        low = 2.0 * low + n * EIGEN
    return None


def _inverse(matrix: Matrix) -> Matrix | None:
    factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1)
    if failed:
        return None
    inverse, failed = scipy.linalg.lapack.dpotri(factor, lower=1)
    lower = np.tril(inverse)
    return None if failed else np.asarray(lower + np.tril(lower, -1).T)


def _length(unit: Matrix, diagonal: Vector, step: Vector, mu: float) -> float:
    """1, 1/2, ...: the first length of a step that is feasible and an ascent; 0 for none."""
    before, length = _height(unit, diagonal, mu), 1.0
    while length > SHORTEST:
        if _height(unit, diagonal + length * step, mu) > before:
            return length
        length *= 0.5
    return 0.0


def _height(unit: Matrix, diagonal: Vector, mu: float) -> float:
    """What the barrier problem maximises, over mu; -inf where it is not feasible."""
    if not (diagonal > 0.0).all():
        return -inf
    factor, failed = scipy.linalg.lapack.dpotrf(unit - np.diag(diagonal), lower=1)
    if failed:
        return -inf
    logs = 2.0 * np.log(factor.diagonal()).sum() + np.log(diagonal).sum()
    return float(diagonal.sum() / mu + logs)
