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
from dataclasses import dataclass
from typing import Literal

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.perspective import saddle as saddle_point
from maskgap.solvers.bounds.perspective.diagonals import (
    eigenvalue_diagonal,
    inverse_diagonal,
    scaled_diagonal,
)
from maskgap.solvers.bounds.perspective.root import Start, groups_or_one, root_saddle
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.local_search.refit_swap import population
from maskgap.solvers.objectives.refit_loss import RefitLoss
from maskgap.solvers.oracles import closed_form
from maskgap.solvers.protocol import Answer
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.engine import GeneralEngine
from maskgap.solvers.tree.masks import Masks
from maskgap.solvers.tree.refit import visit
from maskgap.solvers.tree.refit.engine import RefitEngine

Diagonal = Literal["nodes", "saddle", "inverse", "scaled", "eigenvalue"]

SHRINK = 1e-8
"""Share by which the diagonal of a saddle point is shrunk, so that it has a factor for certain."""

STEPS = 60

POPULATION = 4
"""Last population of the search for a first mask, which takes a small part of a tree's time."""


@dataclass(frozen=True, slots=True)
class RefitPlan:
    """What a search is to do. max_nodes: -1 for no limit."""

    choices: Choices
    diagonal: Diagonal
    max_nodes: int


def search_refit(masks: Masks, start: Kept | None, plan: RefitPlan) -> Answer:
    """Search the masks of a part for the least refit loss. start: a legal mask (n,), or None."""
    part, limits = masks.part, masks.limits
    objective, groups = RefitLoss(part), part.legal.equal_groups
    diagonal, choices = plan.diagonal, plan.choices
    mask = masks.better(start, POPULATION)
    with limits.journal.phase("build"):
        engine: Engine
        if diagonal == "nodes" and groups is not None and choices.oracle == "closed-form":
            engine = RefitEngine(part, groups, objective, limits, choices)
        else:
            objective.add(_diagonal(part, diagonal, mask))
            engine = GeneralEngine(part, objective, limits, choices)
    engine.offer(mask)
    engine.run(plan.max_nodes)
    return engine.answer()


def warm_ups(diagonal: Diagonal, choices: Choices) -> tuple[Callable[[], object], ...]:
    """What compiles the kernels of such a search, on any set of masks, but for its record."""
    own: list[Callable[[], object]] = [population.warm_up, improve.warm_up, cycles.warm_up]
    if choices.oracle == "closed-form":
        own.insert(0, visit.warm_up if diagonal == "nodes" else closed_form.warm_up)
    if diagonal in ("nodes", "saddle"):
        own.insert(0, saddle_point.warm_up)
    return tuple(own)


def _diagonal(part: Part, kind: Diagonal, mask: Kept) -> Vector:
    """(n,) a feasible diagonal of a kind for the whole part."""
    hessian, n = part.hessian, part.n
    if kind == "eigenvalue":
        return eigenvalue_diagonal(hessian)
    if kind == "scaled":
        return scaled_diagonal(hessian)
    inverse = inverse_diagonal(hessian)
    groups = groups_or_one(part.legal.equal_groups, n, int(pruned_of(mask).sum()))
    if kind == "inverse" or not 0 < groups.pruned < groups.size:
        return inverse
    found = root_saddle(hessian, part.target, groups, Start(0.5 * inverse, STEPS))
    if found is None:
        raise Refused("its Hessian is too near to singular for a diagonal; give a larger ridge")
    best: Vector = (1.0 - SHRINK) * found[0] + 0.5 * SHRINK * inverse
    return best
