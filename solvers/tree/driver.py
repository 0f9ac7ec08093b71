"""The branch and bound from a part to an answer, whatever the engine.

    a mask          searched for by swaps in a small population (`local_search`)
    functions       convex, at most the loss on legal masks (`bounds.reformulate`)
    an engine       searches the tree: compiled for equal groups seen through their closed form,
                    general for all else
    more            a search that has outgrown some nodes while its gap is wide gets functions with
                    triangle inequalities, and masks from a larger population

Triangles cost more than a small tree, and deep in the tree they take more off the function than
they bring, so a search that will soon end does without; one whose bound has far to rise has them
early. A stage that asks for no more effort than was made is passed over.
"""

from dataclasses import dataclass

from maskgap.instances.arrays import Kept
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.reformulate import reformulate
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.compiled.engine import CompiledEngine
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.engine import GeneralEngine
from maskgap.solvers.tree.masks import Masks


@dataclass(frozen=True, slots=True)
class Stage:
    """When a search gets more functions.

    times: of `Plan.triangle_nodes`, the nodes after which. gap: at which at least. effort: what
    triangles may cost. population: the last in the search for masks; 0: none.
    """

    times: float
    gap: float
    effort: Effort
    population: int = 0


SOME = Effort()
MANY = Effort(rounds=16, most=3000, least=0.05)

COMPILED_STAGES = (
    Stage(1, 0.16, MANY, 128),
    Stage(1, 0.10, SOME, 128),
    Stage(40, 0.0, MANY, 512),
)
GENERAL_STAGES = (Stage(0.1, 0.02, SOME),)
"""Nodes of the general engine cost many times as much."""

FIRST_POPULATION = 32
"""Last population of the first search for a mask; it takes a small part of the time of the SDP."""

COUPLED_POPULATION = 16
"""The same where masks are not those of equal groups."""

SMALL_PART = 32
"""Columns up to which one descent is enough there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search is to do beside its choices.

    method: of `reformulate`. triangle_nodes: nodes after which triangles are thought of; 0: at
    once, and once only. max_nodes: -1 for no limit.
    """

    choices: Choices
    method: str
    triangle_nodes: int
    max_nodes: int


def branch_and_bound(
    part: Part, start: Kept | None, plan: Plan, limits: Limits, seed: int
) -> Answer:
    """Search the masks of a part for the least mask loss. start: a legal mask (n,), or None."""
    objective = MaskLoss(part)
    masks = Masks(part, limits, [seed, part.row])
    found = masks.better(start, _first_population(part))
    later = plan.method == "sdp-triangles" and plan.triangle_nodes > 0
    with limits.journal.phase("build"):
        method = "sdp" if later else plan.method
        objective.add(reformulate(part.quad, part.legal, method, limits.deadline).functions)
        engine, stages = _engine(part, objective, limits, plan.choices)
    engine.offer(found)
    if later:
        _run_stages(engine, stages, objective, masks, plan)
    engine.run(plan.max_nodes)
    return engine.answer()


def _engine(
    part: Part, objective: MaskLoss, limits: Limits, choices: Choices
) -> tuple[Engine, tuple[Stage, ...]]:
    groups = part.legal.equal_groups
    if groups is not None and choices.oracle == "closed-form":
        # the hull of equal groups is their relaxation
        return CompiledEngine(part, groups, objective, limits, choices), COMPILED_STAGES
    return GeneralEngine(part, objective, limits, choices), GENERAL_STAGES


def _run_stages(
    engine: Engine, stages: tuple[Stage, ...], objective: MaskLoss, masks: Masks, plan: Plan
) -> None:
    part, deadline, made = engine.part, engine.limits.deadline, 0
    for stage in stages:
        pause, most = int(stage.times * plan.triangle_nodes), plan.max_nodes
        engine.run(pause if most < 0 else min(pause, most))
        if not engine.open or engine.stop is not Stop.NODES or deadline.expired():
            return
        if 0 <= most <= engine.nodes:
            return
        if engine.gap() >= stage.gap and stage.effort.rounds > made:
            with engine.limits.journal.phase("build"):
                more = reformulate(part.quad, part.legal, "sdp-triangles", deadline, stage.effort)
                objective.add(more.functions[1:])
                engine.take_functions()
            if stage.population:
                engine.offer(masks.better(engine.mask, stage.population))
            made = stage.effort.rounds


def _first_population(part: Part) -> int:
    if part.legal.equal_groups is not None:
        return FIRST_POPULATION
    return COUPLED_POPULATION if part.n > SMALL_PART else 1
