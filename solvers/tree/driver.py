"""The branch and bound from a part to an answer, whatever the engine.

    a mask          searched for by swaps in a small population (`local_search`)
    functions       convex, at most the loss on legal masks (`bounds.reformulate`)
    an engine       searches the tree: compiled for equal groups seen through their closed form,
                    general for all else
    more            a search that has outgrown some nodes while its gap is wide gets functions with
                    triangle inequalities, and masks from a larger population; on wide rows of one
                    budget it begins anew with functions of their own for all nodes
                    (`reoptimised.engine`)

Triangles cost more than a small tree, and deep in the tree they take more off the function than
they bring, so a search that will soon end does without; one whose bound has far to rise has them
early. A stage that asks for no more effort than was made is passed over.
"""

from dataclasses import dataclass

from maskgap.instances.arrays import Kept
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.reformulate import reformulate
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.tree.choices import Choices, Reoptimise
from maskgap.solvers.tree.compiled.engine import CompiledEngine
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.engine import GeneralEngine
from maskgap.solvers.tree.masks import Masks
from maskgap.solvers.tree.reoptimised.engine import ReoptimisedEngine


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

REOPTIMISED_COLUMNS = 224
"""Rows of one budget with as many columns have functions of their own at every node, once a search
with one function has not ended soon."""

MORE_MASKS = 128
"""Last population of the search for masks before that."""

FIRST_POPULATION = 32
"""Last population of the first search for a mask; it takes a small part of the time of the SDP."""

COUPLED_POPULATION = 16
"""The same where masks are not those of equal groups."""

SMALL_PART = 32
"""Columns up to which one descent is enough there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search is to do beside its choices.

    method: of `reformulate`. reoptimise: whether nodes make their own functions. triangle_nodes:
    nodes after which triangles are thought of; 0: at once, and once only. max_nodes: -1 for
    no limit.
    """

    choices: Choices
    method: str
    triangle_nodes: int
    max_nodes: int
    reoptimise: Reoptimise = "off"


def branch_and_bound(
    part: Part, start: Kept | None, plan: Plan, limits: Limits, seed: int
) -> Answer:
    """Search the masks of a part for the least mask loss. start: a legal mask (n,), or None."""
    objective = MaskLoss(part)
    masks = Masks(part, limits, [seed, part.row])
    found = masks.better(start, _first_population(part))
    own = _own_functions(part, plan)
    if own is not None and plan.reoptimise == "on":
        at_once = ReoptimisedEngine(part, own, objective, limits, plan.choices)
        at_once.offer(found)
        at_once.run(plan.max_nodes)
        return at_once.answer()
    later = plan.method == "sdp-triangles" and plan.triangle_nodes > 0
    with limits.journal.phase("build"):
        method = "sdp" if later else plan.method
        objective.add(reformulate(part.quad, part.legal, method, limits.deadline).functions)
        engine, stages = _engine(part, objective, limits, plan.choices)
    engine.offer(found)
    if own is not None and later and part.n >= REOPTIMISED_COLUMNS:
        engine.run(_least(plan.triangle_nodes, plan.max_nodes))
        if _goes_on(engine, plan.max_nodes):
            return _anew(engine, own, masks, plan)
    elif later:
        _run_stages(engine, stages, objective, masks, plan)
    engine.run(plan.max_nodes)
    return engine.answer()


def _own_functions(part: Part, plan: Plan) -> BudgetGroups | None:
    """The groups of a part whose nodes may make their own functions, else None."""
    groups = part.legal.equal_groups
    fit = plan.method == "sdp-triangles" and plan.choices.oracle == "closed-form"
    if groups is None or groups.single or not part.quad.any():
        return None
    wanted = plan.reoptimise == "on" or (plan.reoptimise == "auto" and groups.count == 1)
    return groups if fit and wanted else None


def _least(pause: int, max_nodes: int) -> int:
    return pause if max_nodes < 0 else min(pause, max_nodes)


def _goes_on(engine: Engine, max_nodes: int) -> bool:
    """Whether a search that was to pause has more to do, and may."""
    if not engine.open or engine.stop is not Stop.NODES or engine.limits.deadline.expired():
        return False
    return not 0 <= max_nodes <= engine.nodes


def _anew(first: Engine, groups: BudgetGroups, masks: Masks, plan: Plan) -> Answer:
    """A search whose nodes make their own functions; the answer of whichever proves more."""
    part, limits = first.part, first.limits
    engine = ReoptimisedEngine(part, groups, MaskLoss(part), limits, plan.choices)
    engine.offer(masks.better(first.mask, MORE_MASKS))
    engine.nodes, engine.steps, engine.calls = first.nodes, first.steps, first.calls
    engine.run(plan.max_nodes)
    if first.bound() <= engine.bound() or engine.mask is None:
        return engine.answer()
    first.offer(engine.mask)
    first.nodes, first.steps, first.calls = engine.nodes, engine.steps, engine.calls
    first.stop = engine.stop
    return first.answer()


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
        engine.run(_least(int(stage.times * plan.triangle_nodes), plan.max_nodes))
        if not _goes_on(engine, plan.max_nodes):
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
