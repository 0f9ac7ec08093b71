"""Native solvers under refit: truth by listing masks, and what their models are made of."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native import highs_oa
from maskgap.solvers.native.change_box import change_box
from maskgap.solvers.native.perspective_diagonal import (
    WIDEST_BEST,
    best_point,
    perspective_diagonal,
)
from maskgap.solvers.objectives.perspective import Perspective
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop
from tests.conftest import KNOWN
from tests.helpers.coupled import PARTS, SETS, coupled_layer
from tests.helpers.tiny import legal_pruned_sets, random_layer

RIDGE = 0.01
NAMES = ["scip-factor", "highs-oa", "gurobi", "gurobi-indicator"]
ADAPTERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name.startswith("gurobi") and find_spec("gurobipy") is None,
            reason="gurobipy is not installed: pip install gurobipy",
        ),
    )
    for name in NAMES
]
SETS_OF_MASKS = ["2:3^T", "50%;cap=3/4", "50%;cost=40%", "50%;block=2", "50%;cost=50%;forced row 0"]


def part_of(layer, pattern, row=0, start=None, ridge=RIDGE):
    refit = objective_spec("refit", ridge)
    return Problem.of(layer, parse_pattern(pattern), None, start, refit).part_of(row)


def coupled_part(name):
    text, _, row = name.partition(" row ")
    layer = coupled_layer(*PARTS.get(text, ((3, 12),))[0])
    rows = None if text in PARTS else range(int(row or 0), int(row or 0) + 1)
    refit = objective_spec("refit", RIDGE)
    return next(iter(Problem.of(layer, parse_pattern(text), rows, objective=refit)))


def solve(name, part, limit=20.0, journal=None, **settings):
    """An answer in the units of `Part.scaled_loss`."""
    name, indicator, _ = name.partition("-indicator")
    if indicator:
        settings["form"] = "indicator"
    limits = Limits(Deadline(limit), journal=journal or Journal())
    return registry.build(name, settings).solve(part, limits, 0)


def run_of(part, limit=60.0):
    return NativeRun(part, Limits(Deadline(limit)), "none", 0, 1e-7)


def refit_loss(part, kept):
    """The loss of a mask in units of `Part.scaled_loss`, by least squares."""
    root = np.linalg.cholesky(part.hessian).T
    x = np.linalg.lstsq(root[:, kept], root @ part.target, rcond=None)[0]
    return float(((root[:, kept] @ x - root @ part.target) ** 2).sum())


def every_mask(part):
    for columns in legal_pruned_sets(part.n, part.groups.size, part.groups.pruned):
        kept = np.ones(part.n, dtype=bool)
        kept[list(columns)] = False
        yield kept


def optimum(part):
    """(least loss, its mask) over all masks."""
    masks = list(every_mask(part))
    losses = [refit_loss(part, kept) for kept in masks]
    return min(losses), masks[int(np.argmin(losses))]


# ---- truth


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "keep=9", "1:2", "2:5"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_finished_runs_agree_with_enumeration(name, pattern):
    part = part_of(random_layer(2, 10, rows=2, tokens=14), pattern, row=1)
    best, _ = optimum(part)
    answer = solve(name, part)
    assert answer.stop in (Stop.FINISHED, Stop.GAP)
    assert refit_loss(part, answer.mask) == pytest.approx(best, rel=1e-9)
    # one column of ten pruned is a loss far below the terms of the cones, which hold to 1e-7
    allowed = 1e-6 if name != "gurobi" else 3e-6
    assert answer.claimed_objective == pytest.approx(best, rel=allowed)
    assert best * (1 - 2e-6) <= answer.claimed_bound <= best * (1 + allowed)


@pytest.mark.parametrize("diagonal", ["best", "inverse"])
@pytest.mark.parametrize("name", ADAPTERS[:3])
def test_every_diagonal_has_the_same_optimum(name, diagonal):
    part = part_of(random_layer(5, 8), "50%")
    answer = solve(name, part, diagonal=diagonal)
    assert answer.claimed_objective == pytest.approx(optimum(part)[0], rel=1e-6)


@pytest.mark.parametrize("text", SETS_OF_MASKS)
@pytest.mark.parametrize("name", ADAPTERS)
def test_any_set_of_masks_has_its_optimum(name, text):
    part = coupled_part(text)
    _, masks = SETS[text]
    best = min(part.scaled_loss(mask) for mask in masks)
    answer = solve(name, part)
    assert answer.stop in (Stop.FINISHED, Stop.GAP)
    assert part.scaled_loss(answer.mask) == pytest.approx(best, rel=1e-6)
    assert answer.claimed_bound == pytest.approx(best, rel=2e-6)


@pytest.mark.parametrize("scales", [(1e-12, 1.0), (1e12, 1e-6), (1e20, 1e6)])
@pytest.mark.parametrize("name", ADAPTERS)
def test_scales_change_nothing(name, scales):
    plain = random_layer(7, 8)
    best, mask = optimum(part_of(plain, "50%"))
    best = part_of(plain, "50%").rescale(best)
    layer = Layer.from_arrays(plain.weight * scales[1], plain.gram * scales[0])
    part = part_of(layer, "50%")
    answer = solve(name, part)
    assert (answer.mask == mask).all()
    for value in (answer.claimed_objective, answer.claimed_bound):
        assert part.rescale(value) / scales[0] / scales[1] ** 2 == pytest.approx(best, rel=2e-6)


def _degenerate():
    layer = random_layer(1, 6)
    dead = np.diag([4.0, 1.0, 0.0, 2.0, 1.0, 1.0])
    zeros = layer.weight * [1.0, 0, 1, 0, 1, 1]
    return {
        "a dead column": (Layer.from_arrays([[1.0, 1, 9, 1, 2, 3]], dead), "50%"),
        "weights of 0": (Layer.from_arrays(zeros, layer.gram), "50%"),
        "a row of 0": (Layer.from_arrays(0.0 * layer.weight, layer.gram), "50%"),
        "apart": (Layer.from_arrays(layer.weight, np.eye(6)), "50%"),
        "ties": (Layer.from_arrays(np.ones((1, 6)), np.eye(6) + 1.0), "50%"),
        "prune none": (layer, "0%"),
        "prune all": (layer, "100%"),
    }


@pytest.mark.parametrize("case", _degenerate())
@pytest.mark.parametrize("name", ADAPTERS)
def test_degenerate_rows_are_solved(name, case):
    layer, pattern = _degenerate()[case]
    part = part_of(layer, pattern)
    best, _ = optimum(part)
    answer = solve(name, part)
    assert refit_loss(part, answer.mask) == pytest.approx(best, rel=1e-6, abs=1e-12)
    assert answer.claimed_bound == pytest.approx(best, rel=2e-6, abs=1e-7)
    assert answer.claimed_bound <= best * (1 + 1e-6) + 1e-12


# ---- runs


@pytest.mark.parametrize("limit", [0.0, 0.01])
@pytest.mark.parametrize("name", ADAPTERS)
def test_no_incumbent_is_no_solution(name, limit):
    answer = solve(name, part_of(random_layer(2, 40), "50%"), limit)
    assert answer.stop in (Stop.TIME, Stop.GAP, Stop.FINISHED)
    assert (answer.mask is None) == (answer.claimed_objective is None)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_optimum_as_a_start_stays_and_its_bound_is_closed(name):
    layer = random_layer(12, 10)
    best, mask = optimum(part_of(layer, "50%"))
    part = part_of(layer, "50%", start=mask[None])
    answer = solve(name, part)
    assert (answer.mask == mask).all()
    assert answer.claimed_bound == pytest.approx(best, rel=2e-6)
    assert answer.claimed_bound <= best * (1 + 1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_start_is_never_lost(name):
    layer = random_layer(3, 40)
    start = np.arange(40)[None] % 2 == 0
    part = part_of(layer, "50%", start=start)
    answer = solve(name, part, 0.05)
    assert answer.mask is not None
    assert part.scaled_loss(answer.mask) <= part.scaled_loss(start[0]) * (1 + 1e-12)


@pytest.mark.parametrize("name", ADAPTERS)
def test_solvers_write_nothing(name, capfd):
    solve(name, part_of(random_layer(2, 10), "50%"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ADAPTERS)
def test_traces_stay_below_the_optimum(name):
    layer = random_layer(9, 12)
    part = part_of(layer, "50%")
    best, _ = optimum(part)
    journal = Journal()
    solve(name, part, journal=journal)
    bounds = [point.bound for point in journal.points if point.bound is not None]
    assert bounds
    assert max(bounds) <= best * (1 + 1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_claims_on_the_bank(name):
    path = KNOWN / "known_refit.json"
    for entry in json.loads(path.read_text()) if path.exists() else []:
        if entry["n"] > 32 or not entry["proved"]:
            continue
        part = part_of(read_layer(KNOWN / entry["file"]), entry["pattern"], ridge=entry["ridge"])
        answer = solve(name, part, 2.0)
        bound = None if answer.claimed_bound is None else part.rescale(answer.claimed_bound)
        found = certify_part(part, answer.mask, None, bound)
        assert found.verdict is not Verdict.WRONG, (entry["file"], found)
        assert found.bound <= entry["optimum"] * (1 + 1e-6)
        if found.verdict is Verdict.CLOSED:
            assert found.objective == pytest.approx(entry["optimum"], rel=1e-6)


# ---- what the models are made of


@pytest.mark.parametrize("pattern", ["50%", "2:5"])
def test_the_best_change_of_a_mask_has_its_loss_in_units_of_the_model(pattern):
    part = part_of(random_layer(4, 10), pattern)
    run = run_of(part)
    assert_allclose(run.quad.diagonal(), 1.0, rtol=1e-12)
    for kept in list(every_mask(part))[::17]:
        change = run.change(kept)
        assert_allclose(change[~kept], run.target[~kept], rtol=1e-12)
        value = float(change @ run.quad @ change) * run.unit
        assert value == pytest.approx(refit_loss(part, kept), rel=1e-9)


def test_masks_as_good_as_the_one_at_hand_change_weights_within_the_box():
    kept_by_box = 0
    for seed in range(8):
        layer = random_layer(seed, 10)
        layer = Layer.from_arrays(layer.weight * [9, 1, 1, 1, 5, 1, 1, 1, 1, 1], layer.gram)
        part = part_of(layer, "50%")
        run = run_of(part)
        reach, kept = change_box(run)
        kept_by_box += kept.sum()
        for mask in every_mask(part):
            if part.scaled_loss(mask) <= run.cheap_loss:
                assert (np.abs(run.change(mask)) <= reach).all()
                assert mask[kept].all()
    assert kept_by_box >= 8


@pytest.mark.parametrize("pattern", ["50%", "2:5", "100%"])
def test_diagonals_leave_a_semidefinite_matrix_and_the_best_one_has_the_best_bound(pattern):
    part = part_of(random_layer(6, 20), pattern)
    run = run_of(part)
    _, x = best_point(run)
    bounds = {}
    for kind in ("best", "inverse"):
        d = perspective_diagonal(run, kind)
        assert (d > 0).all()
        assert np.linalg.eigvalsh(run.quad - np.diag(d)).min() > -1e-12
        function = Perspective(run.quad, run.target, d)
        value, slope = function.at(x)
        pruned = ~part.groups.prune_lowest(slope)
        bounds[kind] = value + slope @ (pruned - x)
    if pattern != "100%":
        assert bounds["best"] > bounds["inverse"] * 1.001
        assert x.sum() == pytest.approx(part.groups.total_pruned, rel=1e-2)


def test_a_wide_part_has_the_cheap_diagonal():
    n = WIDEST_BEST + 1
    part = part_of(Layer.from_arrays(np.ones((1, n)), np.eye(n)), "keep=256")
    run = run_of(part)
    assert_allclose(best_point(run)[0], perspective_diagonal(run, "inverse"))


@pytest.mark.parametrize("diagonal", ["best", "inverse"])
def test_tangents_stay_below_the_loss_and_touch_their_masks(diagonal):
    part = part_of(random_layer(3, 8), "50%")
    run = run_of(part)
    tangents = highs_oa.build(run, "diag", diagonal)
    masks = list(every_mask(part))
    for mask in masks[::5]:
        assert tangents.add_mask(mask)
        assert not tangents.add_mask(mask)
        height = tangents.height(mask) * run.unit
        assert height == pytest.approx(part.scaled_loss(mask), rel=1e-7)
    for mask in masks:
        assert tangents.height(mask) * run.unit <= part.scaled_loss(mask) * (1 + 1e-9)
