"""Diagonals D of the perspective function (`solvers.objectives.perspective`) for native models.

`best` is the one that makes the root's bound the highest, which is a semidefinite program of its
own for each row (`solvers.bounds.perspective.saddle`, for equal groups of columns; for other sets
of masks it is that of the budget of all columns together, for wide parts the other one), with a
little of the other; `inverse` is the largest multiple of 1 / Diag(H^-1).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.objective import ObjectiveName
from maskgap.solvers.bounds.perspective import saddle
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.bounds.perspective.root import Start, groups_or_one, root_saddle
from maskgap.solvers.mip.adapter import NativeRun

Diagonal = Literal["best", "inverse"]

STEPS = 200

WIDEST_BEST = 512
"""Columns for which the best one is sought, which takes some seconds that no deadline ends."""

CHEAP_SHARE = 0.02
"""Share of the cheap diagonal in the best one, which alone is nearly 0 on some columns: there
slopes of the perspective function are as large as D is small. A mixture of two is as valid."""

SHRUNK = 1.0 - 1e-8
"""So that H - Diag(D) has a factor."""


def best_point(run: NativeRun) -> tuple[Vector, Vector]:
    """(D (n,), z (n,)), the best diagonal and the pruned shares at its minimum."""
    n = run.problem.n
    groups = groups_or_one(run.legal.equal_groups, n, n - int(run.cheap.sum()))
    start = inverse_diagonal(run.quad)
    share = np.full(n, groups.pruned / groups.size)
    if n > WIDEST_BEST or not 0 < groups.pruned < groups.size:
        return start, share
    found = root_saddle(run.quad, run.target, groups, Start(0.95 * start, STEPS))
    if found is None:
        return start, share
    return SHRUNK * ((1.0 - CHEAP_SHARE) * found[0] + CHEAP_SHARE * start), found[1]


def perspective_diagonal(run: NativeRun, kind: str) -> Vector:
    """D (n,) in units of the model, H - Diag(D) positive definite. Raises Refused."""
    return best_point(run)[0] if kind == "best" else inverse_diagonal(run.quad)


def warm_ups(objective: ObjectiveName, kind: str) -> Sequence[Callable[[], object]]:
    """Functions that compile what a kind of diagonal calls under refit."""
    return (saddle.warm_up,) if kind == "best" and objective is ObjectiveName.REFIT else ()
