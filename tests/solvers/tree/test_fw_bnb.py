"""The branch and bound: truth by enumeration, proofs that check, and valid bounds at any moment."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.reformulate import METHODS
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.frank_wolfe import edges, node
from maskgap.solvers.frank_wolfe.variants import VARIANTS
from maskgap.solvers.objectives import convexify
from maskgap.solvers.oracles import equal_groups
from maskgap.solvers.protocol import Deadline, Limits, Stop, solve_part
from maskgap.solvers.tree import driver
from maskgap.solvers.tree.choices import BRANCHING, HEURISTICS, TRAVERSALS
from maskgap.solvers.tree.compiled import engine
from maskgap.solvers.tree.compiled import rounding as legal
from maskgap.solvers.tree.compiled.record import Record
from maskgap.solvers.tree.fw_bnb import FwBnb
from tests.helpers.proofs import whole
from tests.helpers.tiny import brute_force, random_layer


def solved(problem, solver=None, seconds=60.0, gap=1e-6):
    answer = solve_part(solver or FwBnb(), problem, Limits(Deadline(seconds), gap=gap), 0)
    return answer, certify_part(
        problem,
        answer.mask,
        answer.claimed_objective,
        answer.claimed_bound,
        answer.proof,
        tolerance=gap,
    )


def one_row(seed, n, pattern):
    return Problem.of(random_layer(seed, n), parse_pattern(pattern)).part_of(0)


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "2:4", "1:4", "keep=11"])
@pytest.mark.parametrize("seed", range(4))
def test_optimum_is_found_and_proved(seed, pattern):
    problem = one_row(seed, 12, pattern)
    best, _ = brute_force(
        problem.weight, problem.layer.gram, problem.groups.size, problem.groups.pruned
    )
    answer, certificate = solved(problem)
    assert certificate.verdict is Verdict.PROVED, certificate
    assert certificate.objective == pytest.approx(best, rel=1e-9)
    assert certificate.bound <= best * (1 + 1e-9)
    assert answer.stop is Stop.FINISHED


def test_the_bank_is_proved(known: Path):
    for entry in json.loads((known / "known.json").read_text()):
        layer = read_layer(known / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        _, certificate = solved(problem)
        assert certificate.verdict is Verdict.PROVED, (entry["file"], certificate)
        assert certificate.objective == pytest.approx(entry["optimum"], rel=1e-6)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_rows_that_others_left_open_are_proved(known: Path, number):
    entry = json.loads((known / "known_open.json").read_text())[number]
    layer = read_layer(known / entry["file"])
    problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
    answer = solve_part(FwBnb(), problem, Limits(Deadline(300.0), threads=2), 0)
    certificate = certify_part(
        problem,
        answer.mask,
        answer.claimed_objective,
        answer.claimed_bound,
        answer.proof,
        tolerance=1e-6,
    )
    assert certificate.verdict is Verdict.PROVED, (entry["file"], certificate)


@pytest.mark.parametrize("max_nodes", [0, 1, 7, 60])
def test_a_search_cut_short_has_a_mask_and_a_valid_proved_bound(max_nodes):
    problem = one_row(5, 32, "50%")
    full, _ = solved(problem)
    answer, certificate = solved(problem, FwBnb(max_nodes=max_nodes))
    assert certificate.verdict is not Verdict.WRONG
    assert certificate.objective >= problem.rescale(0) + full.claimed_objective * (1 - 1e-9)
    assert certificate.bound <= full.claimed_objective * (1 + 1e-9)
    assert answer.stop in (Stop.NODES, Stop.FINISHED)
    assert answer.counters["nodes"] <= max_nodes
    if answer.counters["nodes"]:
        assert certificate.bound_kind is BoundKind.CHECKED
        assert certificate.bound > 0


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_deadline_leaves_what_there_is(seconds):
    problem = one_row(6, 96, "50%")
    answer, certificate = solved(problem, seconds=seconds)
    assert certificate.verdict in (Verdict.FEASIBLE, Verdict.PROVED)
    assert problem.groups.is_legal(answer.mask)


def test_a_wide_gap_stops_early_and_says_what_it_proved():
    problem = one_row(7, 48, "50%")
    exact, _ = solved(problem)
    loose, certificate = solved(problem, gap=0.2)
    assert certificate.verdict is Verdict.PROVED
    assert certificate.gap <= 0.2
    assert loose.counters["nodes"] <= exact.counters["nodes"]
    assert certificate.bound <= exact.claimed_objective


def test_the_proof_is_bound_to_its_problem_and_survives_a_file(tmp_path):
    problem = one_row(8, 24, "50%")
    answer, certificate = solved(problem)
    path = tmp_path / "row0.proof.safetensors"
    write_proof(path, whole(problem), [answer.proof])
    (back,) = read_proof(path).proofs
    assert check_part(problem, back).bound == pytest.approx(certificate.bound)
    with pytest.raises(ProofError, match="another problem"):
        check_part(one_row(9, 24, "50%"), back)


def test_node_bounds_hold_for_every_mask_of_the_node():
    rng = np.random.default_rng(0)
    problem = one_row(3, 10, "50%")
    groups, quad = problem.groups, problem.quad
    function = convexify.repair(quad, groups, solve_sdp(quad, groups, Deadline(60)).function)
    matrix, linear, _ = convexify.quadratic(quad, groups, function)
    masks = np.concatenate(list(groups.enumerate_pruned()))
    losses = np.einsum("ij,jk,ik->i", masks, quad, masks.astype(float))
    for _ in range(60):
        state = rng.choice([0, 1, 2], size=10, p=[0.6, 0.2, 0.2]).astype(np.int8)
        fits = ((masks | (state != 1)) & (~masks | (state != 2))).all(axis=1)
        x, gradient = np.full(10, 0.5), np.zeros(10)
        node.gradient_of(matrix, linear, x, gradient)
        begun = state.copy()
        if equal_groups.is_settled(10, 5, begun) < 0:
            assert not fits.any()
            continue
        assert node.restore(matrix, 10, 5, begun, x, gradient)
        value = node.value_of(linear, 0.0, x, gradient)
        edges.minimise_along_edges(matrix, 10, 5, begun, x, gradient, value, np.inf, 0.1, 500)
        assert x.sum() == pytest.approx(5)
        assert (x >= 0).all()
        assert (x <= 1).all()
        node.gradient_of(matrix, linear, x, gradient)
        bound = node.value_of(linear, 0.0, x, gradient) - gradient @ x
        bound += equal_groups.least_along(10, 5, begun, gradient, np.zeros(10))
        assert bound <= losses[fits].min() * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_descent_improves_a_mask_in_place(pattern):
    problem = one_row(4, 20, pattern)
    groups = problem.groups
    start = groups.prune_lowest(-problem.quad.diagonal())
    z = (~start).astype(float)
    loss = legal.descend(problem.quad, groups.size, groups.pruned, z)
    assert groups.is_legal(z == 0.0)
    assert loss == pytest.approx(problem.scaled_loss(z == 0.0))
    assert loss < problem.scaled_loss(start)


def test_the_first_incumbent_of_a_real_row_is_its_optimum(known: Path):
    entry = next(
        e
        for e in json.loads((known / "known.json").read_text())
        if e["file"] == "known21.safetensors"
    )
    problem = Problem.of(
        read_layer(known / entry["file"]), parse_pattern(entry["pattern"])
    ).part_of(0)
    answer, _ = solved(problem, FwBnb(max_nodes=1))
    assert problem.loss(answer.mask) == pytest.approx(entry["optimum"], rel=1e-9)


def test_a_record_too_large_is_given_up_and_the_bound_stays_a_claim(monkeypatch):
    monkeypatch.setattr(engine, "Record", lambda n, most_bytes: Record(n, 1 << 15))
    problem = one_row(5, 96, "50%")
    answer, certificate = solved(problem)
    assert answer.counters["nodes"] > 256
    assert answer.proof is None
    assert certificate.bound_kind is BoundKind.CLAIMED
    assert certificate.verdict is Verdict.CLOSED


@pytest.mark.parametrize(
    "setting",
    [
        {"max_nodes": -2},
        {"max_memory": 0},
        {"node_tolerance": float("nan")},
        {"triangle_nodes": -1},
        {"variant": "newton"},
        {"branching": "best"},
        {"traversal": "breadth-first"},
        {"heuristics": "luck"},
        {"convexify": "magic"},
        {"oracle": "cplex"},
    ],
)
def test_a_bad_setting_is_an_error(setting):
    (name,) = setting
    with pytest.raises(InputError, match=name):
        FwBnb(**setting).solve(one_row(1, 8, "50%"), Limits(Deadline(1)), 0)


CHOICES = [
    *({"convexify": name} for name in METHODS),
    {"convexify": "sdp-triangles", "triangle_nodes": 0},
    {"convexify": "sdp-triangles", "triangle_nodes": 5},
    *({"variant": name, "lazy": lazy} for name in VARIANTS[1:] for lazy in (True, False)),
    {"variant": "blended-pairwise", "inherit": False},
    *({"branching": name} for name in BRANCHING),
    *({"traversal": name} for name in TRAVERSALS),
    *({"heuristics": name} for name in HEURISTICS),
    {"fixing": False},
    {"node_tolerance": 0.05},
    {"oracle": "highs"},
    {"oracle": "scip", "variant": "blended-pairwise"},
    {"oracle": "highs", "convexify": "none", "fixing": False},
]


@pytest.mark.parametrize(
    "choice", CHOICES, ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items())
)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_every_choice_proves_the_optimum(choice, pattern):
    problem = one_row(11, 12, pattern)
    best, _ = brute_force(
        problem.weight, problem.layer.gram, problem.groups.size, problem.groups.pruned
    )
    answer, certificate = solved(problem, FwBnb(**choice))
    assert certificate.verdict is Verdict.PROVED, certificate
    assert certificate.objective == pytest.approx(best, rel=1e-9)
    assert answer.counters["oracle_calls"] >= answer.counters["nodes"]


@pytest.mark.parametrize("traversal", TRAVERSALS)
@pytest.mark.parametrize("variant", ["decomposition-invariant", "away"])
def test_two_threads_prove_the_same_and_do_so_again(traversal, variant):
    problem = one_row(5, 64, "50%")
    solver = FwBnb(traversal=traversal, variant=variant)
    once, certificate = solved(problem, solver)
    runs = []
    for _ in range(2):
        answer = solve_part(solver, problem, Limits(Deadline(60.0), threads=2), 0)
        assert check_part(problem, answer.proof).bound >= answer.claimed_bound * (1 - 1e-9)
        assert answer.claimed_objective == pytest.approx(once.claimed_objective)
        runs.append((answer.counters, answer.claimed_bound))
    assert certificate.verdict is Verdict.PROVED
    assert runs[0] == runs[1]


def test_triangles_that_join_a_search_bound_some_of_its_leaves(monkeypatch):
    monkeypatch.setattr(driver, "COMPILED_STAGES", (driver.Stage(1, 0.0, driver.SOME, 16),))
    problem = one_row(5, 64, "50%")
    answer, certificate = solved(problem, FwBnb(triangle_nodes=40))
    assert certificate.verdict is Verdict.PROVED
    leaves = answer.proof.evidence
    assert len(leaves.functions) == 2
    assert len(leaves.functions[1].triangles) > 0
    assert {0, 1} <= set(leaves.function.tolist())


def test_memory_ends_a_search_with_what_it_has(monkeypatch):
    monkeypatch.setattr("maskgap.solvers.tree.fw_bnb.MIB", 1 << 18)
    problem = one_row(5, 96, "50%")
    answer, certificate = solved(problem, FwBnb(max_memory=1, convexify="diag"))
    assert answer.stop is Stop.MEMORY
    assert problem.groups.is_legal(answer.mask)
    assert certificate.verdict is Verdict.FEASIBLE


def test_the_log_is_written_on_request_only(capsys):
    problem = one_row(5, 24, "50%")
    solve_part(FwBnb(), problem, Limits(Deadline(60.0)), 0)
    assert capsys.readouterr().out == ""
    answer = solve_part(FwBnb(), problem, Limits(Deadline(60.0), log=True), 0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["nodes", "open", "objective", "bound", "gap", "seconds"]
    assert int(lines[-1].split()[0]) == answer.counters["nodes"]
