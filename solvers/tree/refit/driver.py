"""The branch and bound of the refit objective, from a part to an answer.

    a mask      by exchanges in a small population (`local_search.neighbours.parts`)
    diagonal    `nodes`: every node its own, by saddle points (`tree.refit.engine`), for equal
                groups seen through their closed form; for all else, and with any other diagonal,
                one for the whole tree, whose perspective function the general engine minimises over
                the hull of the masks

A diagonal for sets other than equal groups is that of the saddle point for one budget of as many
columns as the first mask prunes: any diagonal gives bounds that hold.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.perspective import saddle as saddle_point
from maskgap.solvers.bounds.perspective.diagonals import (
    eigenvalue_diagonal,
    inverse_diagonal,
    scaled_diagonal,
)
from maskgap.solvers.bounds.perspective.saddle import saddle
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.local_search.refit_swap import population
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.objectives.refit_loss import RefitLoss
from maskgap.solvers.oracles import closed_form
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.engine import GeneralEngine
from maskgap.solvers.tree.refit import visit
from maskgap.solvers.tree.refit.engine import RefitEngine

Diagonal = Literal["nodes", "saddle", "inverse", "scaled", "eigenvalue"]

SHRINK = 1e-8
"""Share by which the diagonal of a saddle point is shrunk, so that it has a factor for certain."""

STEPS = 60

POPULATION = 4
"""Of the search for a first mask."""


def search_refit(
    part: Part, terms: Terms, diagonal: Diagonal, choices: Choices, limits: Limits
) -> Engine:
    """A search of a part, set up but not run. terms: those of the search for a first mask."""
    objective, groups = RefitLoss(part), part.legal.equal_groups
    mask = improve_part(part, terms).mask
    with limits.journal.phase("build"):
        engine: Engine
        if diagonal == "nodes" and groups is not None and choices.oracle == "closed-form":
            engine = RefitEngine(part, groups, objective, limits, choices)
        else:
            objective.add(_diagonal(part, diagonal, mask))
            engine = GeneralEngine(part, objective, limits, choices)
    engine.offer(mask)
    return engine


def warm_ups(diagonal: Diagonal, choices: Choices) -> tuple[Callable[[], object], ...]:
    """What compiles the kernels of such a search, on any set of masks, but for its record."""
    own: list[Callable[[], object]] = [population.warm_up, improve.warm_up, cycles.warm_up]
    if choices.oracle == "closed-form":
        own.insert(0, visit.warm_up if diagonal == "nodes" else closed_form.warm_up)
    if diagonal in ("nodes", "saddle"):
        own.insert(0, saddle_point.warm_up)
    return tuple(own)


def branch_and_bound(engine: Engine, max_nodes: int) -> Answer:
    """Run a search and say what came of it. max_nodes: -1 for no limit."""
    engine.run(max_nodes)
    return engine.answer()


def terms_of(part: Part, start: Kept | None, limits: Limits, seed: int) -> Terms:
    """Those of the search for a first mask, which takes a small part of the time of a tree."""
    return Terms(
        start,
        [seed, part.row],
        POPULATION,
        expired=limits.deadline.expired,
        report=lambda mask, _: limits.journal.incumbent(mask, part.scaled_loss(mask)),
    )


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
        hessian,
        part.target,
        of_column,
        left,
        np.inf,
        0.5 * inverse,
        share,
        0.0,
        0.0,
        np.full(1, STEPS),
    )
    if not found[0] > -np.inf:
        raise Refused("its Hessian is too near to singular for a diagonal; give a larger ridge")
    best: Vector = (1.0 - SHRINK) * found[2] + 0.5 * SHRINK * inverse
    return best
