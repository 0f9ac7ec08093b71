"""The parts of the branch and bound: steps over vertices, frontier, record, branching, threads."""

from itertools import pairwise

import numpy as np
import pytest

from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.frank_wolfe import hull, node
from maskgap.solvers.frank_wolfe.active_set import fitting, minimise_on_vertices, room
from maskgap.solvers.frank_wolfe.edges import minimise_along_edges
from maskgap.solvers.frank_wolfe.variants import VARIANTS
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline, Limits
from maskgap.solvers.tree.choices import BRANCHING
from maskgap.solvers.tree.compiled import branching, frontier, rules
from maskgap.solvers.tree.compiled import rounding as masks
from maskgap.solvers.tree.compiled.engine import CompiledEngine
from maskgap.solvers.tree.compiled.record import Record
from maskgap.solvers.tree.fw_bnb import FwBnb
from tests.helpers.tiny import random_layer

VERTEX_VARIANTS = VARIANTS[1:]


def model(seed, n, pattern):
    """A problem, and P, q of its repaired semidefinite reformulation."""
    problem = Problem.of(random_layer(seed, n), parse_pattern(pattern)).part_of(0)
    quad, groups = problem.quad, problem.groups
    function = convexify.repair(quad, groups, solve_sdp(quad, groups, Deadline(60)).function)
    matrix, linear, constant = convexify.quadratic(quad, groups, function)
    return problem, matrix, linear, constant


def rules_of(problem, **settings):
    chosen = FwBnb(**settings, node_tolerance=0.0).choices(1e-6)
    return rules.Rules.of(chosen, problem.groups, np.inf)


def start(groups, matrix, linear):
    x, gradient = np.full(groups.n, groups.pruned / groups.size), np.zeros(groups.n)
    node.gradient_of(matrix, linear, x, gradient)
    return x, gradient, np.zeros(groups.n, np.int8)


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("variant", VERTEX_VARIANTS)
def test_every_variant_descends_to_the_minimum_over_the_hull(variant, lazy, pattern):
    problem, matrix, linear, constant = model(3, 16, pattern)
    groups = problem.groups
    best = hull.minimise(Quadratic(matrix, linear, constant), groups, Deadline(60)).value
    x, gradient, state = start(groups, matrix, linear)
    atoms, weights, counts = np.zeros((room(16), 16)), np.zeros(room(16)), np.zeros(2, np.int32)
    steps, calls = minimise_on_vertices(
        matrix, linear, constant, rules_of(problem, variant=variant, lazy=lazy), state, x,
        gradient, np.inf, atoms, weights, counts,
    )  # fmt: skip
    value = node.value_of(linear, constant, x, gradient)
    slack = 1e-2 if variant == "vanilla" else 1e-4  # vanilla converges like 1 / steps
    assert best * (1 - 1e-6) <= value <= best * (1 + slack)
    active = counts[0]
    assert weights[:active].min() > 0.0
    assert weights[:active].sum() == pytest.approx(1.0)
    assert weights[:active] @ atoms[:active] == pytest.approx(x)
    assert all(groups.is_legal(v == 0.0) for v in atoms[: counts[1]])
    assert 0 < calls <= steps + 2


def test_lazy_steps_and_a_shadow_set_save_oracle_calls():
    problem, matrix, linear, constant = model(4, 16, "50%")
    asked = {}
    for lazy in (True, False):
        x, gradient, state = start(problem.groups, matrix, linear)
        atoms, weights, counts = np.zeros((room(16), 16)), np.zeros(room(16)), np.zeros(2, np.int32)
        _, asked[lazy] = minimise_on_vertices(
            matrix, linear, constant, rules_of(problem, variant="pairwise", lazy=lazy), state, x,
            gradient, np.inf, atoms, weights, counts,
        )  # fmt: skip
        if lazy:
            assert counts[1] > counts[0], "vertices that lost their weight are kept"
    assert asked[True] < asked[False]


def test_a_child_keeps_the_vertices_that_fit_it():
    atoms = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1.0]])
    weights, counts = np.array([0.5, 0.3, 0.2, 0.0]), np.array([3, 4], np.int32)
    fitting(np.array([FREE, PRUNED, FREE, FREE], np.int8), atoms, weights, counts)
    assert counts.tolist() == [2, 2]
    assert atoms[:2].tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]
    assert weights[:2] == pytest.approx([0.625, 0.375])
    fitting(np.array([2, 0, 2, 0], np.int8), atoms, weights, counts)
    assert counts.tolist() == [0, 0]


def test_steps_along_edges_end_at_the_minimum_over_the_hull():
    problem, matrix, linear, constant = model(6, 32, "2:4")
    groups = problem.groups
    x, gradient, state = start(groups, matrix, linear)
    value = node.value_of(linear, constant, x, gradient)
    minimise_along_edges(
        matrix, groups.size, groups.pruned, state, x, gradient, value, np.inf, 0.0, 5000
    )
    node.gradient_of(matrix, linear, x, gradient)
    best = hull.minimise(Quadratic(matrix, linear, constant), groups, Deadline(60))
    assert node.value_of(linear, constant, x, gradient) == pytest.approx(best.value)
    assert x.reshape(-1, groups.size).sum(axis=1) == pytest.approx(groups.pruned)


def filled(bounds, by_bound=True):
    open_nodes = frontier.new_frontier(3, 2, 16)
    for number, bound in enumerate(bounds):
        slot = frontier.take_slot(open_nodes)
        open_nodes.bound[slot], open_nodes.node[slot] = bound, number
        open_nodes.x[slot] = bound
        frontier.put(open_nodes, slot, by_bound)
    return open_nodes


def drained(open_nodes):
    taken = []
    while open_nodes.counts[frontier.OPEN]:
        slot = frontier.take(open_nodes)
        assert open_nodes.x[slot, 0] == np.float32(open_nodes.bound[slot])
        taken.append((float(open_nodes.bound[slot]), int(open_nodes.node[slot])))
    return taken


def test_the_frontier_gives_the_least_bound_or_the_latest_node():
    bounds = np.random.default_rng(0).permutation(12).astype(float)
    assert frontier.least_bound(filled(bounds), True) == 0.0
    assert frontier.least_bound(filled(bounds, False), False) == 0.0
    assert [b for b, _ in drained(filled(bounds))] == sorted(bounds)
    assert [i for _, i in drained(filled(bounds, False))] == list(range(12))[::-1]


def test_growing_and_sharing_lose_no_node():
    bounds = np.random.default_rng(1).permutation(16).astype(float)
    full = filled(bounds)
    assert full.counts[frontier.ROOM] == 0
    larger = frontier.enlarged(full)
    assert larger.counts[frontier.ROOM] == 16
    other = frontier.new_frontier(3, 2, 16)
    assert frontier.share_out(larger, other, 8, True) == 8
    here, there = drained(larger), drained(other)
    assert [b for b, _ in there] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sorted(here + there) == sorted((b, i) for i, b in enumerate(bounds))


def test_a_record_gives_disjoint_blocks_and_ends_when_it_is_too_large():
    record, blocks = Record(8, 1 << 20), [np.zeros(4, np.int64) for _ in range(2)]
    given = []
    for _ in range(3):
        for block in blocks:
            block[0], block[2] = block[1], block[3]  # all used
            record.refill(block, 16)
            given.append(tuple(block.tolist()))
    for low, high in ((0, 1), (2, 3)):
        ends = sorted((g[low], g[high]) for g in given)
        assert all(b[0] >= a[1] for a, b in pairwise(ends))
    assert min(g[0] for g in given) == 1, "row 0 is the root"
    assert len(record.table.column) >= max(g[1] for g in given)
    assert len(record.table.points) >= max(g[3] for g in given)
    small = Record(8, 1 << 8)
    small.refill(np.zeros(4, np.int64), 64)
    assert not small.recording


@pytest.mark.parametrize("name", BRANCHING)
def test_branching_takes_a_fractional_free_column_by_its_rule(name):
    problem, matrix, linear, constant = model(7, 12, "50%")
    groups = problem.groups
    functions = rules.Functions(matrix[None], linear[None], np.array([constant]))
    x, gradient, state = start(groups, matrix, linear)
    state[[0, 5]] = PRUNED, KEPT
    node.restore(matrix, 12, groups.pruned, state, x, gradient)
    minimise_along_edges(matrix, 12, groups.pruned, state, x, gradient, 1.0, 9.0, 0.0, 50)
    node.gradient_of(matrix, linear, x, gradient)
    pseudo = np.zeros((2, 12, 2))
    chosen = rules_of(problem, branching=name)
    trial = np.empty(12) if name == "strong" else None
    arguments = (functions, 0, chosen, state, x, gradient, 0.0, 9.0, pseudo, trial)
    column = branching.choose(*arguments)
    share = np.where(state == FREE, np.minimum(x, 1 - x), -1.0)
    assert share[column] > 1e-6
    expected = {
        "fractionality": share,
        "curvature": share * matrix.diagonal(),
        "gradient": np.where(share > 1e-6, np.abs(gradient), -1.0),
        "pseudo-cost": np.where(share > 0, matrix.diagonal() ** 2 * x * (1 - x), -1.0),
    }
    if name in expected:
        assert column == np.argmax(expected[name])
    if name == "pseudo-cost":  # a column that has raised no bound is not taken again
        for _ in range(200):
            for via in (int(column), -1 - int(column)):
                branching.learn(chosen, pseudo, via, 0.5, 0.0)
        assert branching.choose(*arguments) != column


def test_the_root_teaches_no_pseudo_cost():
    problem = Problem.of(random_layer(5, 48), parse_pattern("50%")).part_of(0)
    quad, groups = problem.quad, problem.groups
    function = convexify.repair(quad, groups, solve_sdp(quad, groups, Deadline(60)).function)
    limits, objective = Limits(Deadline(60.0)), MaskLoss(problem)
    objective.add([function])
    search = CompiledEngine(problem, groups, objective, limits, FwBnb().choices(limits.gap))
    search.offer(groups.prune_lowest(quad.diagonal()))
    search.run(-1)
    pseudo = search._workers[0].pseudo
    assert search.nodes > 10
    assert np.isfinite(pseudo).all()
    assert 0 < pseudo[:, :, 1].sum() <= search.nodes - 1


def test_rounding_prunes_the_largest_of_each_group_and_breaks_ties_low():
    x, z = np.array([0.5, 0.5, 0.5, 0.1, 0.2, 0.9, 0.3, 0.3]), np.zeros(8)
    masks.round_to_legal(4, 2, x, z)
    assert z.tolist() == [1, 1, 0, 0, 0, 1, 1, 0]
    masks.round_to_legal(4, 0, x, z)
    assert not z.any()
    assert BudgetGroups(8, 8, 3).is_legal(z == 0.0) is False
