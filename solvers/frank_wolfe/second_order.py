"""Steps over stored vertices of a function that has second-order models.

At x = sum of w_a v_a the model m is a convex quadratic with the value, gradient and second
derivative of F at x. It is minimised over the stored vertices by the steps that quadratics have
(`frank_wolfe.steps`), and w goes as far towards what that gives as F keeps falling:

    w + t (w' - w),   t = 1, 1/2, 1/4, ...

so that F is called a few times where pairwise steps of its own would call it at each of hundreds.
"""

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.solvers.frank_wolfe.steps import settle
from maskgap.solvers.objectives.protocol import SecondOrder

ROUNDS = 12
"""Models between two oracle calls, at most."""

SHORTEST = 1e-6
"""Least share of a step."""

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
        wanted = weight.copy()
        steps += settle(function.model(x), stored, wanted, 0.1 * target)
        change = wanted - weight
        fall, share = -float(scores @ change), 1.0
        if fall <= 0.0:
            return steps
        while share > SHORTEST:
            tried = weight + share * change
            if function.at(tried @ stored)[0] <= value - FALL * share * fall:
                break
            share *= 0.5
        else:
            return steps
        weight[:] = np.maximum(tried, 0.0) / np.maximum(tried, 0.0).sum()
    return steps
