"""The search whose nodes make their own functions: truth by enumeration, proofs that check."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline, Limits, Stop, solve_part
from maskgap.solvers.tree import driver
from maskgap.solvers.tree.fw_bnb import FwBnb
from maskgap.solvers.tree.reoptimised import close, raising, record
from maskgap.solvers.tree.reoptimised import engine as engine_module
from maskgap.solvers.tree.reoptimised.engine import ReoptimisedEngine
from maskgap.solvers.tree.reoptimised.record import SubtreeRecord
from tests.helpers.proofs import whole
from tests.helpers.tiny import brute_force, random_layer

ON = FwBnb(reoptimise="on")


def one_row(seed, n, pattern="50%", tokens=None):
    layer = random_layer(seed, n, tokens=tokens)
    return Problem.of(layer, parse_pattern(pattern)).part_of(0)


def solved(problem, solver=ON, limits=None):
    limits = limits or Limits(Deadline(60.0))
    answer = solve_part(solver, problem, limits, 0)
    return answer, certify_part(
        problem,
        answer.mask,
        answer.claimed_objective,
        answer.claimed_bound,
        answer.proof,
        tolerance=limits.gap,
    )


@pytest.fixture
def no_endings(monkeypatch):
    """Every node is split; none is given to the compiled engine."""
    monkeypatch.setattr(close, "FIRST_REACH", -1.0)


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "keep=11", "keep=1"])
@pytest.mark.parametrize("seed", range(3))
def test_optimum_is_found_and_proved(seed, pattern, no_endings):
    problem = one_row(seed, 12, pattern, tokens=6)
    best, _ = brute_force(problem.weight, problem.layer.gram, 12, problem.groups.pruned)
    answer, certificate = solved(problem)
    assert certificate.verdict is Verdict.PROVED, certificate
    assert certificate.objective == pytest.approx(best, rel=1e-9)
    assert certificate.bound <= best * (1 + 1e-9)
    assert answer.stop is Stop.FINISHED
    assert answer.counters["nodes"] == answer.notes["relaxations"] + alone(answer)


def alone(answer):
    return int((answer.proof.evidence.function == -1).sum())


def test_nodes_make_functions_that_hold_in_their_subtrees_only(no_endings):
    problem = one_row(3, 40, tokens=14)
    answer, certificate = solved(problem, limits=Limits(Deadline(60.0), gap=1e-4))
    other, known = solved(problem, FwBnb(reoptimise="off"))
    assert certificate.verdict is Verdict.PROVED
    assert certificate.objective == pytest.approx(known.objective, rel=1e-6)
    holds = [function.holds for function in answer.proof.evidence.functions]
    assert len(set(holds)) == len(holds) > 3
    assert answer.counters["nodes"] < other.counters["nodes"]


def test_endings_are_grafted_into_the_proof(monkeypatch):
    problem = one_row(3, 40, tokens=14)
    monkeypatch.setattr(close, "FIRST_REACH", 0.05)
    answer, certificate = solved(problem, limits=Limits(Deadline(60.0), gap=1e-4))
    assert certificate.verdict is Verdict.PROVED
    assert answer.counters["nodes"] > 2 * answer.notes["relaxations"]
    assert answer.proof.evidence.leaf_count > 2 * len(answer.proof.evidence.functions)


@pytest.mark.parametrize("max_nodes", [0, 1, 2, 5])
def test_a_search_cut_short_has_a_checked_bound(max_nodes, no_endings):
    problem = one_row(3, 40, tokens=14)
    full, _ = solved(problem, FwBnb(reoptimise="off"))
    answer, certificate = solved(problem, FwBnb(reoptimise="on", max_nodes=max_nodes))
    assert certificate.verdict is Verdict.FEASIBLE
    assert certificate.bound <= full.claimed_objective * (1 + 1e-9)
    assert answer.stop is Stop.NODES
    assert answer.counters["nodes"] == max_nodes
    if max_nodes:
        assert certificate.bound_kind is BoundKind.CHECKED
        assert certificate.bound > 0.1 * full.claimed_objective


@pytest.mark.parametrize("more", [0, 1, -1])
def test_wide_rows_begin_anew_once_one_function_has_not_sufficed(more, monkeypatch, no_endings):
    problem = one_row(3, 40, tokens=14)
    full, _ = solved(problem, FwBnb(reoptimise="off"))
    monkeypatch.setattr(driver, "REOPTIMISED_COLUMNS", 40)
    most = 20 + more if more >= 0 else -1
    solver = FwBnb(triangle_nodes=20, max_nodes=most)
    answer, certificate = solved(problem, solver, Limits(Deadline(60.0), gap=1e-4))
    expected = Verdict.PROVED if more < 0 else Verdict.FEASIBLE
    assert certificate.verdict is expected
    assert certificate.bound_kind is BoundKind.CHECKED
    assert certificate.bound <= full.claimed_objective * (1 + 1e-9)
    assert certificate.objective >= full.claimed_objective * (1 - 1e-9)
    assert ("relaxations" in answer.notes) == (more != 0)
    assert full.counters["nodes"] > 20


def test_what_has_more_than_one_budget_is_searched_by_one_function_unless_told():
    problem = one_row(3, 12, "2:4")
    answer, certificate = solved(problem, FwBnb(triangle_nodes=1))
    assert certificate.verdict is Verdict.PROVED
    assert "relaxations" not in answer.notes


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:6"])
@pytest.mark.parametrize("seed", range(3))
def test_of_several_budgets_the_root_alone_has_a_function_and_is_raised(
    seed, pattern, monkeypatch, no_endings
):
    monkeypatch.setattr(engine_module, "STEP", 0.05)
    problem = one_row(seed, 12, pattern, tokens=6)
    groups = problem.groups
    best, _ = brute_force(problem.weight, problem.layer.gram, groups.size, groups.pruned)
    few, cut_short = solved(problem, FwBnb(reoptimise="on", max_nodes=1))
    answer, certificate = solved(problem)
    assert few.notes["relaxations"] == answer.notes["relaxations"] == 1
    assert cut_short.bound_kind is certificate.bound_kind is BoundKind.CHECKED
    assert cut_short.bound <= certificate.bound <= best * (1 + 1e-9)
    assert certificate.verdict is Verdict.PROVED
    assert certificate.objective == pytest.approx(best, rel=1e-6)


def test_after_so_many_relaxations_bounds_are_raised(monkeypatch, no_endings):
    monkeypatch.setattr(engine_module, "STEP", 0.05)
    problem = one_row(3, 40, tokens=14)
    answer, certificate = solved(problem, FwBnb(reoptimise="on", relaxations=3))
    assert answer.notes["relaxations"] == 3
    assert certificate.verdict is Verdict.PROVED
    assert certificate.bound_kind is BoundKind.CHECKED


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_a_search_begins_from_the_function_of_an_earlier_bound(pattern, no_endings):
    problem = one_row(3, 40, pattern, tokens=14)
    first, before = solved(problem, FwBnb(reoptimise="on", max_nodes=1))
    (function,) = first.proof.evidence.functions
    own = FwBnb(reoptimise="on", relaxations=1, max_nodes=200)
    answer, certificate = solved(replace(problem, minorant=function), own)
    assert answer.notes["relaxations"] == 0
    assert certificate.bound_kind is BoundKind.CHECKED
    assert before.bound < certificate.bound <= certificate.objective
    (again,) = answer.proof.evidence.functions
    np.testing.assert_array_equal(again.u, function.u)


def test_a_function_that_is_no_minorant_proves_nothing(no_endings):
    problem = one_row(3, 40, tokens=14)
    first, _ = solved(problem, FwBnb(reoptimise="on", max_nodes=1))
    (function,) = first.proof.evidence.functions
    best, _ = solved(problem, FwBnb(reoptimise="off"))
    own = FwBnb(reoptimise="on", relaxations=1, max_nodes=200)
    for wrong in (replace(function, u=function.u + 1.0), replace(function, u=function.u[::-1])):
        _, certificate = solved(replace(problem, minorant=wrong), own)
        checked = certificate.bound_kind is BoundKind.CHECKED
        assert not checked or certificate.bound <= best.claimed_objective * (1 + 1e-9)


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
@pytest.mark.parametrize("stride", [1e-4, 0.01, 10.0])
def test_nodes_that_wait_are_in_the_proof_as_they_were_bounded(
    stride, pattern, monkeypatch, no_endings
):
    monkeypatch.setattr(raising, "STRIDE", stride)
    problem = one_row(3, 40, pattern, tokens=14)
    full, _ = solved(problem, FwBnb(reoptimise="off"))
    bounds = []
    for most in (1, 2, 40, 400):
        answer, certificate = solved(problem, FwBnb(reoptimise="on", relaxations=1, max_nodes=most))
        assert answer.counters["nodes"] <= most
        assert certificate.bound_kind is BoundKind.CHECKED
        assert certificate.bound == pytest.approx(answer.claimed_bound, rel=1e-6)
        assert certificate.bound <= full.claimed_objective * (1 + 1e-9)
        bounds.append(certificate.bound)
    assert min(np.diff(bounds)) > -1e-9
    assert bounds[0] < bounds[-1]


def test_a_root_may_have_more_inequalities(no_endings):
    problem = one_row(5, 60)
    bounds = [
        solved(problem, FwBnb(reoptimise="on", max_nodes=1, root_triangles=most))[1].bound
        for most in (1, 30, 600)
    ]
    assert bounds[0] < bounds[1] < bounds[2]


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.5])
def test_a_deadline_leaves_what_there_is(seconds):
    problem = one_row(6, 96)
    answer, certificate = solved(problem, limits=Limits(Deadline(seconds)))
    assert certificate.verdict in (Verdict.FEASIBLE, Verdict.PROVED)
    assert problem.groups.is_legal(answer.mask)


def test_before_the_deadline_nodes_are_raised_by_the_functions_of_their_parents(
    monkeypatch, no_endings
):
    problem = one_row(3, 40, tokens=14)
    full, _ = solved(problem, FwBnb(reoptimise="off"))
    few, _ = solved(problem, FwBnb(reoptimise="on", max_nodes=4))
    monkeypatch.setattr(engine_module, "SPLITTING", 1e-9)
    monkeypatch.setattr(engine_module, "STEP", 0.1)
    answer, certificate = solved(problem, limits=Limits(Deadline(60.0), gap=1e-4))
    assert answer.notes["relaxations"] < 4, "all but the first nodes are raised"
    assert answer.counters["oracle_calls"] > 0
    assert certificate.verdict is Verdict.PROVED
    assert certificate.bound_kind is BoundKind.CHECKED
    assert certificate.objective == pytest.approx(full.claimed_objective)
    assert certificate.bound > few.claimed_bound


def test_a_function_restricted_to_a_child_is_the_same_there():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 6))
    convex = Quadratic(half @ half.T, rng.normal(size=6), 0.7)
    state = np.array([FREE, PRUNED, FREE, KEPT, PRUNED, FREE], np.int8)
    own = raising._restricted(convex, state)
    for _ in range(5):
        x = rng.random(6)
        x[[1, 4]], x[3] = 1.0, 0.0
        assert own.at(x[state == FREE])[0] == pytest.approx(convex.at(x)[0])
        assert own.at(x[state == FREE])[1] == pytest.approx(convex.at(x)[1][state == FREE])


def test_the_bound_rises_with_every_node_and_stays_below_the_optimum(no_endings):
    problem = one_row(5, 36, tokens=12)
    full, _ = solved(problem, FwBnb(reoptimise="off"))
    answer, _ = solved(problem, limits=Limits(Deadline(60.0), gap=1e-4))
    bounds = [point.bound for point in answer.trace if point.bound is not None]
    assert len(bounds) > 3
    assert bounds == sorted(bounds)
    assert bounds[-1] <= full.claimed_objective * (1 + 1e-9)


def test_threads_search_the_same_nodes_every_time(no_endings):
    problem = one_row(3, 40, tokens=14)
    limits = [Limits(Deadline(60.0), gap=1e-4, threads=2) for _ in range(2)]
    first, second = (solved(problem, limits=own)[0] for own in limits)
    assert first.counters == second.counters
    assert first.claimed_bound == second.claimed_bound
    assert check_part(problem, first.proof).bound == check_part(problem, second.proof).bound


def test_a_proof_survives_its_file(tmp_path, no_endings):
    problem = one_row(3, 40, tokens=14)
    answer, _ = solved(problem, FwBnb(reoptimise="on", max_nodes=9))
    path = tmp_path / "proof.safetensors"
    write_proof(path, whole(problem), [answer.proof])
    (again,) = read_proof(path).proofs
    assert check_part(problem, again) == check_part(problem, answer.proof)


def test_a_proof_too_large_is_given_up_and_the_bound_stays(no_endings):
    problem = one_row(3, 40, tokens=14)
    limits = Limits(Deadline(60.0), gap=1e-4)
    choices = FwBnb().choices(1e-4)
    engine = ReoptimisedEngine(problem, problem.groups, MaskLoss(problem), limits, choices)
    engine._record = SubtreeRecord(problem.n, 1 << 13)
    engine.offer(problem.groups.prune_lowest(problem.quad.diagonal()))
    engine.run(-1)
    answer = engine.answer()
    assert answer.proof is None
    assert answer.stop is Stop.FINISHED
    assert 0.0 < answer.claimed_bound <= answer.claimed_objective
    few = replace(choices, most_bytes=1 << 13)
    engine = ReoptimisedEngine(problem, problem.groups, MaskLoss(problem), limits, few)
    engine.offer(problem.groups.prune_lowest(problem.quad.diagonal()))
    engine.run(-1)
    assert engine.answer().stop is Stop.MEMORY


@pytest.mark.parametrize("kind", ["dead", "equal", "nothing"])
def test_degenerate_rows(kind, no_endings):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 5))
    w = rng.normal(size=10)
    if kind == "dead":
        w[:3] = 0.0
    elif kind == "equal":
        x[1:4], w[1:4] = x[0], w[0]
    else:
        w[:] = 0.0
    problem = Problem.of(Layer(w[None], x @ x.T), parse_pattern("50%")).part_of(0)
    best, _ = brute_force(problem.weight, problem.layer.gram, 10, 5)
    _, certificate = solved(problem)
    assert certificate.verdict is Verdict.PROVED
    assert certificate.objective == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("max_nodes", [1, 3, 5, 9])
@pytest.mark.parametrize("seed", range(3))
def test_a_proof_of_nodes_that_nothing_bounds_is_none(seed, max_nodes, no_endings):
    """Columns that are nearly one another have roots that no relaxation lifts above 0."""
    rng = np.random.default_rng(seed)
    inputs = np.tile(rng.normal(size=14), (9, 1))
    layer = Layer.from_arrays(rng.normal(size=(1, 9)), inputs @ inputs.T)
    problem = Problem.of(layer, parse_pattern("30%")).part_of(0)
    answer, certificate = solved(problem, replace(ON, max_nodes=max_nodes))
    assert not certificate.reason
    best, _ = brute_force(problem.weight, layer.gram, 9, problem.groups.pruned)
    if answer.proof is None:
        assert answer.claimed_bound == 0.0
    else:
        assert answer.claimed_bound <= check_part(problem, answer.proof).bound <= best * (1 + 1e-9)


def test_a_search_ends_before_it_has_more_functions_than_a_proof_can_number(
    monkeypatch, no_endings
):
    monkeypatch.setattr(record, "MOST_FUNCTIONS", 4)
    problem = one_row(1, 20, tokens=10)
    answer, certificate = solved(problem)
    assert answer.stop is Stop.MEMORY
    assert 1 < len(answer.proof.evidence.functions) <= 4
    assert certificate.bound_kind is BoundKind.CHECKED
    assert 0.0 < certificate.bound < certificate.objective
