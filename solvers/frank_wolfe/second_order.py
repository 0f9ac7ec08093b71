"""Steps over stored vertices of a function, by second-order models in the weights of vertices.

At x = sum of w_a v_a, with d_a = v_a - x and the second derivative H of F at x,

    F(sum of w'_a v_a)  =  F(x) + sum of w'_a < grad F(x), d_a > + w'^T (D H D^T / 2) w' + ...,

a convex quadratic of weights w' >= 0 of sum 1. It is minimised by the steps that quadratics have
(`frank_wolfe.steps`), and w goes as far towards what that gives as F keeps falling, t = 1, 1/2, ...
H is only met in products with the d_a of some vertices: the active ones and those of least
gradient. So F is called some ten times where pairwise steps of its own would call it for thousands.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.frank_wolfe.steps import settle
from maskgap.solvers.objectives.protocol import Quadratic, SecondOrder

ROUNDS = 12
"""Models between two oracle calls, at most."""

BESIDE = 8
"""Vertices beside the active ones that a model takes in, at most."""

SHORTEST = 1e-6
"""Least share of a step."""

ROUNDING = 1e-13
"""Share of a value by which it may seem to rise."""

FALL = 1e-3
"""Share of the promised fall that a step has to bring."""


def settle_by_models(function: SecondOrder, stored: Matrix, weight: Vector, promised: float) -> int:
    """As `steps.settle`: until pairs of stored vertices promise no more than told."""
    steps, target = 0, promised
    for _ in range(ROUNDS):
        x = weight @ stored
        value, gradient = function.at(x)
        scores = stored @ gradient
        offered = float(scores[weight > 0.0].max() - scores.min())
        if target < 0.0:
            target = 0.01 * offered
        if offered <= target:
            return steps
        chosen = _some(scores, weight)
        apart = stored[chosen] - x
        curve = function.images(x, gradient, apart) @ apart.T
        wanted = weight[chosen].copy()
        half = 0.25 * (curve + curve.T)
        # half @ wanted is 0 but for what differences miss, which is not to move the optimum
        model = Quadratic(half, apart @ gradient - 2.0 * (half @ wanted), 0.0)
        steps += settle(model, np.eye(len(chosen)), wanted, 0.1 * target)
        change = np.zeros(len(weight))
        change[chosen] = wanted - weight[chosen]
        fall, share = -float(scores @ change), 1.0
        if fall <= 0.0:
            return steps
        while share > SHORTEST:
            tried = weight + share * change
            there, slopes = function.at(tried @ stored)
            if there <= value - FALL * share * fall:
                break
            # near the end the fall is lost in rounding, and the slope tells it still
            flat = there <= value + ROUNDING * abs(value)
            if flat and abs(float((stored @ slopes) @ change)) <= 0.5 * fall:
                break
            share *= 0.5
        else:
            return steps
        weight[:] = np.maximum(tried, 0.0) / np.maximum(tried, 0.0).sum()
    return steps


def _some(scores: Vector, weight: Vector) -> NDArray[np.int64]:
    """The active vertices and the best others, increasing."""
    others = np.flatnonzero(weight <= 0.0)
    if len(others) > BESIDE:
        others = others[np.argpartition(scores[others], BESIDE)[:BESIDE]]
    return np.sort(np.concatenate([np.flatnonzero(weight > 0.0), others]))
