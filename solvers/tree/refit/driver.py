"""The branch and bound of the refit objective, from a part to an answer.

    a mask      by exchanges on a tableau (`local_search.refit_swap`)
    diagonal    `nodes`: every node its own, by saddle points (`tree.refit.engine`), for equal
                groups seen through their closed form; for all else, and with any other diagonal,
                one for the whole tree, whose perspective function the general engine minimises over
                the hull of the masks

A diagonal for sets other than equal groups is that of the saddle point for one budget of as many
columns as the first mask prunes: any diagonal gives bounds that hold.
"""

from typing import Literal

import numpy as np

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.perspective.diagonals import (
    eigenvalue_diagonal,
    inverse_diagonal,
    scaled_diagonal,
)
from maskgap.solvers.bounds.perspective.saddle import saddle
from maskgap.solvers.local_search.refit_swap.walker import descend_row
from maskgap.solvers.objectives.refit_loss import RefitLoss
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.engine import GeneralEngine
from maskgap.solvers.tree.refit.engine import RefitEngine

Diagonal = Literal["nodes", "saddle", "inverse", "scaled", "eigenvalue"]

SHRINK = 1e-8
"""Share by which the diagonal of a saddle point is shrunk, so that it has a factor for certain."""

STEPS = 60


def search_refit(
    part: Part, start: Kept | None, diagonal: Diagonal, choices: Choices, limits: Limits
) -> Engine:
    """A search of the masks of a part, set up but not run. start: a legal mask (n,), or None."""
    objective, groups = RefitLoss(part), part.legal.equal_groups
    mask = _first_mask(part, start)
    with limits.journal.phase("build"):
        engine: Engine
        if diagonal == "nodes" and groups is not None and choices.oracle == "closed-form":
            engine = RefitEngine(part, groups, objective, limits, choices)
        else:
            objective.add(_diagonal(part, diagonal, mask))
            engine = GeneralEngine(part, objective, limits, choices)
    engine.offer(mask)
    return engine


def branch_and_bound(engine: Engine, max_nodes: int) -> Answer:
    """Run a search and say what came of it. max_nodes: -1 for no limit."""
    engine.run(max_nodes)
    return engine.answer()


def _first_mask(part: Part, start: Kept | None) -> Kept:
    groups = part.legal.equal_groups
    if start is None:
        start = part.legal.prune_lowest(part.target**2 * inverse_diagonal(part.hessian))
    if groups is None:
        return start
    mask, _ = descend_row(part.hessian, part.target, start, groups)
    return mask


def _diagonal(part: Part, kind: Diagonal, mask: Kept) -> Vector:
    """(n,) a feasible diagonal of a kind for the whole part."""
    hessian, n = part.hessian, part.n
    if kind == "eigenvalue":
        return eigenvalue_diagonal(hessian)
    if kind == "scaled":
        return scaled_diagonal(hessian)
    inverse = inverse_diagonal(hessian)
    pruned = int(pruned_of(mask).sum())
    if kind == "inverse" or not 0 < pruned < n:
        return inverse
    groups = part.legal.equal_groups
    if groups is None:
        of_column, left = np.zeros(n, np.int64), np.array([pruned])
    else:
        of_column = np.arange(n) // groups.size
        left = np.full(groups.count, groups.pruned)
    if groups is not None and not 0 < groups.pruned < groups.size:
        return inverse
    share = np.full(n, pruned / n)
    found = saddle(
        hessian, part.target, of_column, left, np.inf, 0.5 * inverse, share, 0.0, 0.0, STEPS
    )
    if not found[0] > -np.inf:
        raise Refused("its Hessian is too near to singular for a diagonal; give a larger ridge")
    best: Vector = (1.0 - SHRINK) * found[2] + 0.5 * SHRINK * inverse
    return best
