"""Pairwise steps over stored vertices, of any convex function.

Weight moves from the active vertex of largest g . v to the stored one of least. With d = v_near -
v_away, slope s = g . d < 0 and the weight w of the latter, the step length is the minimiser over
[0, w] of F(x + t d):

    quadratic   -s / (2 d^T P d), in closed form, compiled; and now and then the minimiser over the
                affine hull of the active vertices, for the tail of such steps is long
    other       a root of the derivative t -> grad F(x + t d) . d, which rises, by the secant rule
                kept within the bracket (regula falsi where the secant leaves it)
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.frank_wolfe.pool import NEGLIGIBLE
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.objectives.protocol import Quadratic, Underestimator

STEPS_A_TURN = 256
"""Pairwise steps after which the active weights are corrected."""

TURNS = 16
"""Turns between two oracle calls, at most."""

PLAIN_STEPS = 64
"""Steps between two oracle calls over a function that is no quadratic: each takes gradients."""

SECANTS = 8
"""Gradients for one step length, at most."""

HALVINGS = 60
"""Halvings of a step that leads out of the domain of F, where F is infinite, at most."""

FLAT_SLOPE = 1e-3
"""Share of the first derivative at which a step length is good enough."""


def settle(function: Underestimator, stored: Matrix, weight: Vector, promised: float) -> int:
    """Steps over the stored vertices until pairs promise no more than told; weight is changed.

    stored: (a, n). weight: (a,), of sum 1. promised: negative for a share of what they promise at
    first. Returns the number of steps.
    """
    quadratic = function.quadratic
    if quadratic is None:
        return _settle_plainly(function, stored, weight, promised)
    return _settle_quadratic(quadratic, stored, weight, promised)


def _settle_plainly(
    function: Underestimator, stored: Matrix, weight: Vector, promised: float
) -> int:
    x = weight @ stored
    _, gradient = function.at(x)
    target = _first_target(stored, weight, gradient) if promised < 0.0 else promised
    for step in range(PLAIN_STEPS):
        scores = stored @ gradient
        near = int(scores.argmin())
        away = int(np.where(weight > 0.0, scores, -np.inf).argmax())
        slope = float(scores[near] - scores[away])
        if -slope <= target or near == away:
            return step
        direction = stored[near] - stored[away]
        longest = float(weight[away])
        length = step_length(function, x, direction, slope, longest)
        weight[near] += length
        weight[away] = 0.0 if length == longest else weight[away] - length
        if weight[away] < NEGLIGIBLE:
            weight[near] += weight[away]
            weight[away] = 0.0
        x = weight @ stored
        _, gradient = function.at(x)
    return PLAIN_STEPS


def step_length(
    function: Underestimator, x: Vector, direction: Vector, slope: float, longest: float
) -> float:
    """About where F(x + t direction) is least on [0, longest]. slope: its derivative at 0, < 0."""

    def slope_at(length: float) -> float:
        value, gradient = function.at(x + length * direction)
        return float(gradient @ direction) if value < np.inf else np.inf

    low, low_slope, high = 0.0, slope, longest
    high_slope = slope_at(longest)
    if high_slope <= 0.0:
        return longest
    for _ in range(HALVINGS):
        if high_slope < np.inf:
            break
        middle = 0.5 * high  # the other end is outside of the domain of F
        found = slope_at(middle)
        if found <= 0.0:
            return middle
        high, high_slope = middle, found
    for _ in range(SECANTS):
        middle = low - low_slope * (high - low) / (high_slope - low_slope)
        if not low < middle < high:
            middle = 0.5 * (low + high)
        found = slope_at(middle)
        if abs(found) <= FLAT_SLOPE * abs(slope):
            return middle
        if found < 0.0:
            low, low_slope, high_slope = middle, found, 0.5 * high_slope  # the Illinois rule
        else:
            high, high_slope, low_slope = middle, found, 0.5 * low_slope
    return low if low > 0.0 else 0.5 * high


def _settle_quadratic(function: Quadratic, stored: Matrix, weight: Vector, promised: float) -> int:
    """Steps over the stored vertices until pairs promise no more than told; weight is changed."""
    steps = 0
    for turn in range(TURNS):
        x = weight @ stored
        _, gradient = function.at(x)
        target = _first_target(stored, weight, gradient) if promised < 0.0 else promised
        promised = target
        made = int(_descend(function.matrix, stored, weight, x, gradient, target, STEPS_A_TURN))
        steps += made
        if made < STEPS_A_TURN:
            break
        if turn + 1 < TURNS:
            _correct(function, stored, weight)
    return steps


def _correct(function: Quadratic, stored: Matrix, weight: Vector) -> None:
    """Minimise over the affine hull of the active vertices, as far as the weights stay positive.

    Vertices whose weight comes to 0 leave, until all that are left would stay (Wolfe, Mathematical
    Programming 11, 1976, for the nearest point of a polytope).
    """
    while True:
        active = np.flatnonzero(weight)
        if len(active) < 2:
            return
        atoms = stored[active]
        base, edges = atoms[0], atoms[1:] - atoms[0]
        image = edges @ function.matrix
        slope = 2.0 * (image @ base) + edges @ function.linear
        wanted, *_ = np.linalg.lstsq(2.0 * (image @ edges.T), -slope, rcond=1e-12)
        wanted = np.concatenate([[1.0 - wanted.sum()], wanted])
        own = weight[active]
        falling = wanted < own
        share = float((own[falling] / (own - wanted)[falling]).min(initial=1.0))
        new = own + share * (wanted - own)
        new[new < NEGLIGIBLE] = 0.0
        if function.at(new @ atoms)[0] > function.at(own @ atoms)[0]:
            return  # lost in rounding
        weight[active] = new / new.sum()
        if share >= 1.0 or (new > 0.0).all():
            return


def _first_target(stored: Matrix, weight: Vector, gradient: Vector) -> float:
    """A share of what the stored vertices promise at first."""
    scores = stored @ gradient
    return 0.01 * float(scores[weight > 0.0].max() - scores.min())


@strict
def _descend(matrix, stored, weight, x, gradient, target, most):  # type: ignore[no-untyped-def]
    """Pairwise steps over the stored vertices until a pair promises at most `target`.

    weight, x and gradient are changed in place. Returns the steps made.
    """
    for step in range(most):
        scores = np.dot(stored, gradient)
        near = np.argmin(scores)
        away = -1
        for a in range(len(weight)):
            if weight[a] > 0.0 and (away < 0 or scores[a] > scores[away]):
                away = a
        slope = scores[near] - scores[away]
        if -slope <= target or near == away:
            return step
        direction = stored[near] - stored[away]
        image = np.dot(matrix, direction)
        curve = 2.0 * np.dot(direction, image)
        longest = weight[away]
        length = longest if curve * longest <= -slope else -slope / curve
        weight[near] += length
        weight[away] = 0.0 if length == longest else weight[away] - length
        if weight[away] < NEGLIGIBLE:
            weight[near] += weight[away]
            weight[away] = 0.0
        x += length * direction
        gradient += 2.0 * length * image
    return most


def warm_up() -> None:
    """Compile the kernel, or load it."""
    ones: NDArray[np.float64] = np.eye(2)
    _descend(ones, ones.copy(), np.array([1.0, 0.0]), ones[0].copy(), ones[0].copy(), 0.1, 1)
