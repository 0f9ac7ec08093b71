"""Adapters of native solvers: truth by enumeration, and the ways in which such solvers mislead."""

import gc
import json
from importlib.util import find_spec

import numpy as np
import pytest

from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native import highs_milp
from maskgap.solvers.objectives import shift
from maskgap.solvers.one_shot import scores
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop
from tests.conftest import KNOWN
from tests.helpers.tiny import (
    I1_GRAM,
    I1_WEIGHT,
    I2_GRAM,
    I2_WEIGHT,
    brute_force,
    random_layer,
    row_problem,
)

needs_gurobi = pytest.mark.skipif(
    find_spec("gurobipy") is None, reason="gurobipy is not installed: pip install gurobipy"
)
GUROBI = pytest.param("gurobi", marks=needs_gurobi)
WATCHED = ["scip-miqp", "scip-factor", "highs-milp", "highs-oa", GUROBI]
ADAPTERS = [*WATCHED, "cvxpy-miqp"]
SHIFTED = ["scip-factor", "highs-oa", "cvxpy-miqp"]


def solve(name, problem, limit=20.0, gap=1e-6, seed=0, threads=1, journal=None, **settings):
    """A solver's answer in the units of `problem.quad`."""
    limits = Limits(Deadline(limit), gap, threads, journal=journal or Journal())
    return registry.build(name, settings).solve(problem, limits, seed)


def optimum(problem):
    """(least scaled loss, its mask) by plain loops."""
    groups = problem.groups
    _, pruned = brute_force(problem.weight, problem.layer.gram, groups.size, groups.pruned)
    mask = np.ones(problem.n, dtype=bool)
    mask[list(pruned)] = False
    return problem.scaled_loss(mask), mask


def with_start(problem, mask):
    start = np.ones(problem.layer.weight.shape, dtype=bool)
    start[problem.row] = mask
    rows = range(problem.row, problem.row + 1)
    pattern = parse_pattern(problem.pattern)
    return Problem.of(problem.layer, pattern, rows, start).part_of(problem.row)


# ---- truth


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "keep=9", "1:2", "2:5"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_finished_runs_agree_with_enumeration(name, pattern):
    for seed in (1, 2):
        layer = random_layer(seed, 10, rows=2, tokens=None if seed == 1 else 6)
        problem = Problem.of(layer, parse_pattern(pattern)).part_of(1)
        best, _ = optimum(problem)
        answer = solve(name, problem)
        assert answer.stop in (Stop.FINISHED, Stop.GAP)
        assert problem.scaled_loss(answer.mask) == pytest.approx(best, rel=1e-9)
        assert answer.claimed_objective == pytest.approx(best, rel=1e-6)
        assert best * (1 - 1e-6) <= answer.claimed_bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("kind", shift.SHIFTS)
@pytest.mark.parametrize("name", SHIFTED)
def test_every_shift_has_the_same_optimum(name, kind):
    problem = row_problem(*_arrays(random_layer(5, 8, tokens=5)), "50%")
    best, _ = optimum(problem)
    answer = solve(name, problem, shift=kind)
    assert answer.claimed_objective == pytest.approx(best, rel=1e-6)
    assert answer.claimed_bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("name", SHIFTED)
def test_unknown_shifts_are_errors(name):
    with pytest.raises(InputError, match="shift=half: expected one of none, eig, diag"):
        solve(name, row_problem(I1_WEIGHT, I1_GRAM, "50%"), shift="half")


def _arrays(layer):
    return layer.weight, layer.gram


@pytest.mark.parametrize("scale", [1e-12, 1e-10, 1e-6, 1.0, 1e12, 1e18, 1e20])
@pytest.mark.parametrize("name", ADAPTERS)
def test_scales_change_nothing(name, scale):
    for weight, gram, value, kept in (
        (I1_WEIGHT, I1_GRAM, 20.0, [2, 3]), (I2_WEIGHT, I2_GRAM, 34.0, [0, 1]),
    ):  # fmt: skip
        problem = row_problem(weight, gram * scale, "50%")
        answer = solve(name, problem)
        assert list(np.flatnonzero(answer.mask)) == kept
        assert problem.rescale(answer.claimed_objective) == pytest.approx(value * scale, rel=1e-9)
        assert problem.rescale(answer.claimed_bound) <= value * scale * (1 + 1e-9)
        assert problem.rescale(answer.claimed_bound) >= value * scale * (1 - 1e-6)


@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", ADAPTERS)
def test_an_optimum_far_below_the_mean_diagonal_is_found_and_not_overstated(name, share):
    # the scale of the Gram is right, the optimum is not near it: absolute tolerances still bite
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(8, 20)) + rng.normal(size=(1, 20))
    inputs[:5] *= np.sqrt(share)
    problem = row_problem(rng.normal(size=(1, 8)), inputs @ inputs.T, "keep=5")
    best, mask = optimum(problem)
    assert best < 10 * share
    answer = solve(name, problem)
    assert (answer.mask == mask).all()
    assert answer.claimed_bound <= best * (1 + 1e-6)
    if share >= 1e-6:
        assert answer.claimed_bound >= best * (1 - 1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_near_duplicates_do_not_raise_a_bound_above_the_truth(name):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(6, 3)) * np.exp(rng.normal(size=(6, 1)) * 3)
        inputs[1] = inputs[0] * (1 + 1e-7)
        weight = rng.normal(size=(1, 6))
        weight[0, 1] = -weight[0, 0]
        problem = row_problem(weight, inputs @ inputs.T, "keep=4")
        best, _ = optimum(problem)
        answer = solve(name, problem)
        assert max(0.0, answer.claimed_bound) <= best * (1 + 1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_products_count_twice_and_squares_once(name):
    # prune 2 of 3: loss 2 + 2 + 2 * 1 = 6; a triangle read as a whole matrix would give more
    gram = np.array([[2.0, 1, 1], [1, 2, 1], [1, 1, 2]])
    problem = row_problem(np.ones((1, 3)), gram, "keep=1")
    answer = solve(name, problem)
    assert problem.rescale(answer.claimed_objective) == pytest.approx(6.0, rel=1e-9)
    assert problem.rescale(answer.claimed_bound) <= 6.0 * (1 + 1e-9)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_identity_gram_has_loss_one(name):
    problem = row_problem(np.ones((1, 3)), np.eye(3), "keep=2")
    answer = solve(name, problem)
    assert problem.rescale(problem.scaled_loss(answer.mask)) == 1.0
    assert problem.rescale(answer.claimed_bound) == pytest.approx(1.0, rel=1e-6)


DEGENERATE = {
    "prune none": (I1_WEIGHT, I1_GRAM, "0%", 0.0),
    "prune all": (I1_WEIGHT, I1_GRAM, "100%", 181.0),
    "one column": (np.ones((1, 1)), np.full((1, 1), 3.0), "keep=0", 3.0),
    "zero gram": (I1_WEIGHT, np.zeros((4, 4)), "50%", 0.0),
    "dead columns": (np.array([[9.0, 9, 1, 2]]), np.diag([0.0, 0, 4, 1]), "50%", 0.0),
    "fewer dead columns": (np.array([[9.0, 2, 1, 2]]), np.diag([0.0, 4, 9, 4]), "50%", 9.0),
    "rank one": (np.array([[1.0, -1, 2, 3]]), np.ones((4, 4)), "50%", 0.0),
    "duplicates": (np.array([[1.0, 1, 3, 3]]), np.ones((4, 4)), "50%", 4.0),
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", ADAPTERS)
def test_degenerate_rows_are_solved(name, case):
    weight, gram, pattern, value = DEGENERATE[case]
    problem = row_problem(weight, gram, pattern)
    answer = solve(name, problem)
    assert answer.stop in (Stop.FINISHED, Stop.GAP)
    assert problem.loss(answer.mask) == pytest.approx(value, rel=1e-12)
    assert answer.claimed_objective == pytest.approx(problem.scaled_loss(answer.mask), rel=1e-6)
    assert max(0.0, answer.claimed_bound) <= problem.scaled_loss(answer.mask) * (1 + 1e-9)


# ---- limits, starts, interrupts


@pytest.mark.parametrize("limit", [0.0, 0.01])
@pytest.mark.parametrize("name", ADAPTERS)
def test_no_incumbent_is_no_solution(name, limit):
    problem = row_problem(*_arrays(random_layer(2, 40)), "50%")
    answer = solve(name, problem, limit)
    assert answer.stop in (Stop.TIME, Stop.FINISHED, Stop.GAP)
    if answer.mask is None:
        assert answer.claimed_objective is None
    else:
        assert answer.claimed_objective == pytest.approx(problem.scaled_loss(answer.mask))
    if limit == 0.0:
        assert (answer.stop, answer.mask, answer.claimed_bound) == (Stop.TIME, None, None)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_build_ends_at_the_deadline(name):
    problem = row_problem(*_arrays(random_layer(3, 190)), "50%")
    answer = solve(name, problem, 1e-4)
    assert (answer.stop, answer.mask) == (Stop.TIME, None)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_start_is_never_lost(name):
    problem = row_problem(*_arrays(random_layer(9, 40)), "50%")
    start = scores.starting_mask(problem, "obs", 0)
    for limit in (0.0, 0.05):
        answer = solve(name, problem, limit, warm_start="obs")
        assert answer.mask is not None
        assert problem.scaled_loss(answer.mask) <= problem.scaled_loss(start) * (1 + 1e-12)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_optimal_start_stays(name):
    problem = row_problem(*_arrays(random_layer(12, 10)), "50%")
    best, mask = optimum(problem)
    answer = solve(name, with_start(problem, mask), 0.05)
    assert (answer.mask == mask).all()
    assert answer.claimed_objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("name", WATCHED)
def test_the_native_solver_takes_the_start(name):
    """Given the optimum as its start, that is the first solution it reports, and the last."""
    problem = row_problem(*_arrays(random_layer(12, 10)), "50%")
    best, mask = optimum(problem)
    seen = []

    class Watched(NativeRun):
        def offer(self, mask):
            seen.append(self.problem.scaled_loss(mask))
            super().offer(mask)

    module = registry.spec_of(name).target.partition(":")[0]
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(f"{module}.NativeRun", Watched)
        solve(name, with_start(problem, mask))
    adopted, *reported = seen
    assert adopted == reported[0] == pytest.approx(best, rel=1e-12)
    if name != "highs-oa":  # a mask of higher loss may lie lower under the tangents of a master
        assert max(reported) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_run_leaves_nothing_to_the_next(name):
    problem = row_problem(*_arrays(random_layer(21, 14)), "50%")
    solve(name, problem, 0.02)
    second, fresh = solve(name, problem), solve(name, problem)
    assert second.stop is fresh.stop
    assert second.claimed_objective == fresh.claimed_objective
    assert second.claimed_bound == pytest.approx(fresh.claimed_bound, rel=1e-9)


@pytest.mark.parametrize("name", WATCHED)
def test_an_interrupt_ends_the_run(name):
    problem = row_problem(*_arrays(random_layer(4, 60)), "50%")
    deadline = Deadline(60)
    limits = Limits(deadline, journal=Journal(lambda mask, value: deadline.interrupt()))
    answer = registry.build(name, {}).solve(problem, limits, 0)
    assert answer.stop is Stop.INTERRUPTED


@pytest.mark.parametrize("name", ["highs-milp", "highs-oa"])
def test_the_number_of_threads_may_change_in_one_process(name):
    problem = row_problem(*_arrays(random_layer(6, 10)), "50%")
    values = [solve(name, problem, threads=threads).claimed_objective for threads in (1, 2, 1)]
    assert values == [values[0]] * 3


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_gap_limit_does_not_lift_the_bound(name):
    for seed in range(3):
        problem = row_problem(*_arrays(random_layer(seed, 12, tokens=14)), "50%")
        best, _ = optimum(problem)
        answer = solve(name, problem, gap=0.5)
        assert answer.stop in (Stop.GAP, Stop.FINISHED)
        assert answer.claimed_bound <= best * (1 + 1e-9)
        assert answer.claimed_bound >= 0.5 * answer.claimed_objective


@pytest.mark.parametrize("name", WATCHED)
def test_the_trace_stays_below_the_optimum_when_time_ends_the_run(name):
    problem = row_problem(*_arrays(random_layer(8, 20, tokens=24)), "50%")
    best = registry.build("exhaustive").solve(problem, Limits(Deadline(60)), 0).claimed_objective
    journal = Journal()
    solve(name, problem, 0.1, journal=journal)
    bounds = [point.bound for point in journal.points if point.bound is not None]
    objectives = [point.objective for point in journal.points if point.objective is not None]
    assert all(bound <= best * (1 + 1e-9) for bound in bounds)
    assert all(objective >= best * (1 - 1e-9) for objective in objectives)


@pytest.mark.parametrize("name", WATCHED)
def test_freeing_a_stopped_solver_adds_nothing_to_the_trace(name):
    problem = row_problem(*_arrays(random_layer(0, 60)), "50%")
    journal = Journal()
    answer = solve(name, problem, 0.6, journal=journal)
    gc.collect()  # SCIP frees its tree here and then calls the incumbent a dual bound
    bounds = [point.bound for point in journal.points if point.bound is not None]
    assert answer.claimed_bound is not None
    assert max(bounds) <= answer.claimed_bound


def test_no_adapter_contradicts_another():
    problem = row_problem(*_arrays(random_layer(13, 16, tokens=20)), "4:8")
    names = [
        n for n in registry.SPECS if registry.SPECS[n].proves and not registry.SPECS[n].missing
    ]
    answers = {name: solve(name, problem, 3.0) for name in names}
    losses = [problem.scaled_loss(a.mask) for a in answers.values() if a.mask is not None]
    for name, answer in answers.items():
        if answer.claimed_bound is not None:
            assert answer.claimed_bound <= min(losses) * (1 + 1e-6), name


@pytest.mark.parametrize("name", ADAPTERS)
def test_solvers_write_nothing(name, capfd):
    solve(name, row_problem(I1_WEIGHT, I1_GRAM, "50%"))
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not KNOWN.exists(), reason="../shared/known is absent")
@pytest.mark.parametrize("name", ADAPTERS)
def test_claims_on_the_bank(name):
    finished = 0
    for entry in json.loads((KNOWN / "known.json").read_text()):
        if entry["n"] > 32:
            continue
        layer = read_layer(KNOWN / entry["file"])
        problem = Problem.of(layer, parse_pattern(entry["pattern"])).part_of(0)
        answer = solve(name, problem, 0.6)
        if answer.claimed_bound is not None:
            assert problem.rescale(answer.claimed_bound) <= entry["optimum"] * (1 + 1e-9)
        if answer.stop in (Stop.FINISHED, Stop.GAP):
            finished += 1
            for claim in (answer.claimed_objective, answer.claimed_bound):
                assert problem.rescale(claim) == pytest.approx(entry["optimum"], rel=1e-6)
    assert finished >= 3


def test_rows_too_wide_are_refused_in_words():
    n = highs_milp.LARGEST_ROW + 1
    problem = row_problem(np.ones((1, n)), np.eye(n), "50%")
    with pytest.raises(Refused, match=f"{n} columns, at most"):
        solve("highs-milp", problem)


@needs_gurobi
def test_gurobi_refuses_what_its_licence_does_not_cover():
    n = 2001  # beyond the size-limited licence whatever its form
    problem = row_problem(np.ones((1, n)), np.eye(n), "50%")
    try:
        words = str(solve("gurobi", problem, 5.0).stop)
    except Refused as refusal:
        words = str(refusal)
    # with a full licence it is simply solved
    assert "licence" in words or words in (Stop.FINISHED, Stop.GAP, Stop.TIME)
