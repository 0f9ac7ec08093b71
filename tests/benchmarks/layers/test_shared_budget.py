"""Rows that share one budget: exchanges between them, curves of bounds, and the layer's bound."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from maskgap.benchmarks.commands.bound_store import PROOF_NAME
from maskgap.benchmarks.layers.shared_budget import SharedBudgetBound
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.budget_curve import share_budget
from maskgap.benchmarks.verify.check import check_part
from maskgap.benchmarks.verify.shared_budget import row_bounds
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.files import write_layer, write_mask
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.relaxations import SdpBound
from maskgap.solvers.local_search.swap import Swap
from maskgap.solvers.one_shot.scores import starting_masks
from maskgap.solvers.protocol import Deadline, Limits
from tests.helpers.command import ended as maskgap
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.tiny import random_layer

LIMITS = Limits(Deadline(1e6))


def losses_of(layer, z):
    rest = np.where(z, layer.weight, 0.0)
    return np.einsum("ij,jk,ik->i", rest, layer.gram, rest)


def least_by_budget(layer, row):
    """(n + 1,) least loss of a row for each number of pruned columns, by plain loops."""
    n = layer.d_in
    least = np.full(n + 1, np.inf)
    for k in range(n + 1):
        for columns in combinations(range(n), k):
            rest = np.zeros(n)
            rest[list(columns)] = layer.weight[row, list(columns)]
            least[k] = min(least[k], float(rest @ layer.gram @ rest))
    return least


def layer_optimum(layer, total):
    """Least loss of all rows together, by a minimum over budgets row after row."""
    best = {0: 0.0}
    for row in range(layer.d_out):
        least = least_by_budget(layer, row)
        following: dict[int, float] = {}
        for used, value in best.items():
            for k, loss in enumerate(least):
                at = used + k
                following[at] = min(following.get(at, np.inf), value + loss)
        best = following
    return best[total]


def curve_of(layer, row, keep, **settings):
    problem = Problem.of(layer, parse_pattern(f"keep={keep}"), range(row, row + 1)).part_of(row)
    proof = SdpBound(beside=True, **settings).solve(problem, LIMITS, 0).proof
    part = Problem.of(layer, parse_pattern("layer:50%")).part_of(0)
    curve = row_bounds(part, RowProof(problem.legal.total_pruned, proof))
    assert curve[layer.d_in - keep] >= proof.bound * (1 - 1e-6)
    return curve


@pytest.mark.parametrize("keep", [1, 4, 8])
@pytest.mark.parametrize("rounds", [0, 3])
def test_a_curve_lies_below_every_budgets_optimum(keep, rounds):
    layer = random_layer(5, 9)
    least = least_by_budget(layer, 0)
    curve = curve_of(layer, 0, keep, triangle_rounds=rounds)
    assert curve.shape == (10,)
    assert (curve <= least * (1 + 1e-12)).all()
    assert curve[9 - keep] >= 0.5 * least[9 - keep]


@pytest.mark.parametrize("weight", [np.zeros((1, 6)), np.array([[0.0, 1, -1, 2, 2, 1e-8]])])
def test_curves_of_degenerate_rows_hold(weight):
    token = np.random.default_rng(0).normal(size=(6, 1))
    layer = Layer.from_arrays(weight, token @ token.T)
    least = least_by_budget(layer, 0)
    assert (curve_of(layer, 0, 3) <= least + 1e-12 * least.max()).all()


def test_shared_budgets_have_the_best_multiplier():
    """Convex curves: the multiplier loses nothing, and the bound is the least sum."""
    k = np.arange(5.0)
    curves = [k**2, 3.0 * k**2, 0.5 * k**2]
    wanted = min(
        curves[0][a] + curves[1][b] + curves[2][6 - a - b]
        for a in range(5) for b in range(5) if 0 <= 6 - a - b < 5
    )  # fmt: skip
    found = share_budget(curves, 6)
    assert found.bound == pytest.approx(wanted, rel=1e-12)
    assert found.bound <= wanted


@pytest.mark.parametrize("seed", range(4))
def test_no_curve_bounds_more_than_the_layers_optimum(seed):
    layer = random_layer(seed, 7, rows=3)
    optimum = layer_optimum(layer, 10)
    curves = [curve_of(layer, row, 4) for row in range(3)]
    found = share_budget(curves, 10)
    assert 0.3 * optimum <= found.bound <= optimum * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_swap_ends_where_no_exchange_in_the_layer_improves(seed):
    layer = random_layer(seed, 10, rows=4)
    problem = Problem.of(layer, parse_pattern("layer:50%"))
    (answer,) = Swap().solve_rows(problem, LIMITS, 0)
    z = ~answer.mask.reshape(4, 10)
    assert z.sum() == 20
    loss = losses_of(layer, z).sum()
    assert answer.claimed_objective == pytest.approx(loss, rel=1e-12)
    start = ~starting_masks(problem, "wanda", 0)[0].reshape(4, 10)
    assert loss <= losses_of(layer, start).sum()
    for p in np.argwhere(z):
        for u in np.argwhere(~z):
            other = z.copy()
            other[tuple(p)], other[tuple(u)] = False, True
            assert losses_of(layer, other).sum() >= loss * (1 - 1e-9)


def test_the_mask_of_swap_does_not_depend_on_threads_or_scale():
    layer = random_layer(1, 16, rows=6)
    scaled = Layer.from_arrays(layer.weight * 2.0**30, layer.gram * 2.0**-50)
    masks = [
        Swap()
        .solve_rows(
            Problem.of(one, parse_pattern("layer:30%")), replace(LIMITS, threads=threads), 0
        )[0]
        .mask
        for one in (layer, scaled)
        for threads in (1, 2)
    ]
    assert all((mask == masks[0]).all() for mask in masks)


@pytest.fixture(scope="module")
def bounded():
    layer = random_layer(3, 12, rows=3)
    work = SharedBudgetBound(
        Problem.of(layer, parse_pattern("layer:50%")), RunLimits(600.0), runs=15
    )
    for _ in work:
        pass
    return layer, work


def test_the_layers_bound_is_checked_and_near_its_mask(bounded):
    layer, work = bounded
    total, optimum = work.total, layer_optimum(layer, 18)
    assert total.bound_kind == "checked"
    assert total.bound <= optimum * (1 + 1e-12)
    assert total.objective == pytest.approx(losses_of(layer, ~work.masks()).sum())
    assert total.objective >= optimum * (1 - 1e-12)
    assert total.gap < 0.2
    rows = work.rows
    assert sum(row.certificate.objective for row in rows) == pytest.approx(total.objective)
    assert sum(row.certificate.bound for row in rows) == pytest.approx(total.bound, rel=1e-9)


def test_its_proof_is_read_back_and_derives_the_bound_again(bounded, tmp_path):
    _, work = bounded
    write_proof(tmp_path / "p.safetensors", work.problem, work.proofs())
    (proof,) = read_proof(tmp_path / "p.safetensors").proofs
    checked = check_part(work.part, proof)
    assert checked.bound == work.total.bound == proof.bound
    assert checked.loss.value == pytest.approx(work.total.objective)


@pytest.fixture(scope="module")
def refitted():
    layer = random_layer(4, 8, rows=2)
    problem = Problem.of(layer, parse_pattern("layer:50%"), objective=objective_spec("refit", 0.01))
    work = SharedBudgetBound(problem, RunLimits(600.0), runs=12)
    for _ in work:
        pass
    return problem, work


def test_under_refit_the_bound_is_checked_and_below_the_optimum(refitted, tmp_path):
    problem, work = refitted
    (part,) = problem
    least = min(
        part.loss(Kept(~np.asarray(mask)))
        for mask in legal_pruned(problem.layer, "layer:50%", part.rows)
    )
    total = work.total
    assert total.bound_kind == "checked"
    assert part.legal.is_legal(work.mask)
    assert 0.1 * least < total.bound <= least * (1 + 1e-12)
    assert total.objective == pytest.approx(part.loss(work.mask))
    assert total.objective >= least * (1 - 1e-12)
    write_proof(tmp_path / "p.safetensors", problem, work.proofs())
    (proof,) = read_proof(tmp_path / "p.safetensors").proofs
    assert check_part(part, proof).bound == total.bound


def test_a_tree_of_several_leaves_is_no_curve(refitted):
    _, work = refitted
    own = work.proofs()[0].evidence.rows[0]
    leaves = own.proof.evidence
    split = replace(
        leaves, branch=np.array([0, -1, -1], np.int32), function=np.zeros(2, np.int32),
        point=np.zeros(2, np.int32),
    )  # fmt: skip
    with pytest.raises(ProofError, match="one leaf"):
        row_bounds(work.part, replace(own, proof=replace(own.proof, evidence=split)))


def _with(proof, rows):
    return replace(proof, evidence=SharedBudget(rows))


def _without_a_row(proof):
    return _with(proof, tuple(own for own in proof.evidence.rows if own.proof.row != 1))


def _of_another_budget(proof):
    first = proof.evidence.rows[0]
    return _with(proof, (replace(first, budget=first.budget + 1), *proof.evidence.rows[1:]))


def _of_no_budget(proof):
    first, *rest = proof.evidence.rows
    return _with(proof, (replace(first, budget=None), *rest))


def _raised(proof):
    return replace(proof, bound=proof.bound * (1 + 1e-9))


def _multipliers_raised(proof):
    first = proof.evidence.rows[0]
    (function,) = first.proof.evidence.functions
    raised = replace(function, u=function.u + 1.0)
    leaves = replace(first.proof.evidence, functions=(raised,))
    own = replace(first, proof=replace(first.proof, evidence=leaves))
    return _with(proof, (own, *proof.evidence.rows[1:]))


@pytest.mark.parametrize(
    "mutation", [_without_a_row, _of_another_budget, _of_no_budget, _raised, _multipliers_raised]
)
def test_altered_proofs_are_rejected(bounded, mutation):
    _, work = bounded
    (proof,) = work.proofs()
    with pytest.raises(ProofError):
        check_part(work.part, mutation(proof))


def test_other_points_leave_a_bound_that_holds(bounded):
    layer, work = bounded
    (proof,) = work.proofs()
    first = proof.evidence.rows[0]
    points = first.proof.evidence.points.copy()
    points[1:] = 0.5
    leaves = replace(first.proof.evidence, points=points)
    own = replace(first, proof=replace(first.proof, bound=0.0, evidence=leaves))
    altered = replace(_with(proof, (own, *proof.evidence.rows[1:])), bound=0.0)
    assert check_part(work.part, altered).bound <= layer_optimum(layer, 18) * (1 + 1e-12)


def _bound(tmp_path, *more):
    code, out, _ = maskgap(
        "bound", tmp_path / "l.safetensors", "-p", "layer:50%", "--time-limit", 300, "--threads", 1,
        "--json", *more,
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    total = lines[-1]
    assert total.pop("trace")[-1][1:] == [total["objective"], total["bound"]]
    return code, lines


def test_the_command_goes_on_where_it_was_limited(tmp_path):
    layer = random_layer(4, 10, rows=3)
    write_layer(tmp_path / "l.safetensors", layer)
    code, whole = _bound(tmp_path, "--max-runs", 12, "--proof", tmp_path / "whole")
    assert code == 0
    for runs in (3, 3, 3, 3):
        code, parts = _bound(
            tmp_path, "--max-runs", runs, "--proof", tmp_path / "parts", "--resume"
        )
        assert code == 0
    assert parts == whole
    assert [line.get("row") for line in whole] == [0, 1, 2, None]
    total = whole[-1]
    assert total["bound_kind"] == "checked"
    assert total["bound"] <= layer_optimum(layer, 15) * (1 + 1e-12)
    assert sum(line["bound"] for line in whole[:-1]) == pytest.approx(total["bound"])
    code, out, _ = maskgap(
        "check", tmp_path / "parts" / PROOF_NAME, "--instance", tmp_path / "l.safetensors",
        "-p", "layer:50%", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["derived_bound"] == total["bound"]


def test_a_mask_is_judged_and_not_improved(tmp_path):
    layer = random_layer(6, 8, rows=2)
    write_layer(tmp_path / "l.safetensors", layer)
    problem = Problem.of(layer, parse_pattern("layer:50%"))
    mask = starting_masks(problem, "random", 0)[0].reshape(2, 8)
    write_mask(tmp_path / "m.mask.safetensors", mask, layer, "layer:50%", "random", rows=range(2))
    code, lines = _bound(tmp_path, "--max-runs", 4, "--mask", tmp_path / "m.mask.safetensors")
    assert code == 0
    assert lines[-1]["objective"] == pytest.approx(losses_of(layer, ~mask).sum())
    assert lines[-1]["bound"] <= layer_optimum(layer, 8) * (1 + 1e-12)
    assert lines[-1]["gap"] > 0


def test_solve_prints_rows_without_bounds_and_a_total(tmp_path):
    layer = random_layer(6, 8, rows=2)
    write_layer(tmp_path / "l.safetensors", layer)
    code, out, _ = maskgap(
        "solve", tmp_path / "l.safetensors", "-p", "layer:50%", "--solver", "swap", "--json",
        "--out", tmp_path / "m.mask.safetensors",
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line.get("row") for line in lines] == [0, 1, None]
    assert all(line["bound"] is None for line in lines[:-1])
    assert sum(len(line["pruned"]) for line in lines[:-1]) == 8
    assert lines[-1]["total"] is True
    assert lines[-1]["objective"] == pytest.approx(sum(line["objective"] for line in lines[:-1]))
