"""fw-bnb under refit: the truth of small rows, checked bounds wherever it is cut short."""

import json
from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.arrays import Kept
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.solvers.protocol import Deadline, Limits, Stop, solve_part
from maskgap.solvers.tree.fw_bnb import FwBnb, FwBnbHighs
from tests.conftest import KNOWN
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_part
from tests.helpers.tiny import random_layer

EQUAL = [("keep=5", 10), ("50%", 11), ("2:4", 12), ("1:4", 8), ("keep=0", 5), ("keep=5", 5)]


def least(part):
    masks = legal_pruned(part.layer, part.pattern, part.rows)
    return min(part.loss(Kept(~np.asarray(mask))) for mask in masks)


def solved(part, solver=None, threads=1, gap=1e-6):
    solver = solver or FwBnb()
    return solve_part(solver, part, Limits(Deadline(60.0), gap, threads), 0)


def judged(part, answer):
    return certify_part(
        part, answer.mask, answer.claimed_objective, answer.claimed_bound, answer.proof
    )


@pytest.mark.parametrize(("pattern", "n"), EQUAL)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threads", [1, 2])
def test_small_rows_are_proved_and_checked(pattern, n, seed, threads):
    part = refit_part(random_layer(seed, n), pattern)
    answer = solved(part, threads=threads)
    found = judged(part, answer)
    assert found.verdict is Verdict.PROVED, found.reason
    assert found.objective == pytest.approx(least(part), rel=1e-9)
    assert found.bound <= least(part) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_mask_by_chance_leaves_work_to_the_tree(seed):
    """Without its search for masks the tree finds them itself."""
    layer = random_layer(seed + 10, 14)
    plain = refit_part(layer, "50%")
    worst = max(
        legal_pruned(layer, "50%", plain.rows), key=lambda m: plain.loss(Kept(~np.asarray(m)))
    )
    part = replace(plain, start=Kept(~np.asarray(worst)))
    found = judged(part, solved(part))
    assert found.verdict is Verdict.PROVED
    assert found.objective == pytest.approx(least(plain), rel=1e-9)


@pytest.mark.parametrize("diagonal", ["saddle", "inverse", "scaled", "eigenvalue"])
def test_one_diagonal_for_the_tree_proves_the_same(diagonal):
    part = refit_part(random_layer(4, 9), "keep=4")
    found = judged(part, solved(part, FwBnb(diagonal=diagonal)))
    assert found.verdict is Verdict.PROVED, found.reason
    assert found.objective == pytest.approx(least(part), rel=1e-9)


OTHERS = {
    "50%;block=2": (1, 8), "50%;cap=3/4": (1, 8), "50%;cost=60%": (1, 8), "50%;forced": (1, 8),
    "2:4^T": (4, 4), "layer:50%": (2, 4),
}  # fmt: skip


@pytest.mark.parametrize("pattern", OTHERS)
@pytest.mark.parametrize("solver", [FwBnb(), FwBnbHighs()])
def test_other_sets_of_masks_are_proved_by_the_general_search(pattern, solver):
    rows, n = OTHERS[pattern]
    plain, rng = random_layer(5, n, rows=rows), np.random.default_rng(5)
    forced = np.zeros((rows, n), dtype=int)
    forced[:, 1] = -1
    layer = Layer.from_arrays(
        plain.weight, plain.gram, column_cost=rng.integers(1, 5, n), forced=forced
    )
    part = refit_part(layer, pattern)
    found = judged(part, solved(part, solver))
    assert found.verdict is Verdict.PROVED, found.reason
    assert found.objective == pytest.approx(least(part), rel=1e-9)


@pytest.mark.parametrize("max_nodes", [1, 2, 5, 17])
def test_a_search_cut_short_keeps_a_bound_that_holds(max_nodes):
    part = refit_part(random_layer(6, 40, tokens=44), "50%")
    answer = solved(part, FwBnb(max_nodes=max_nodes))
    checked = check_part(part, answer.proof)
    assert 0.0 < checked.bound <= part.loss(answer.mask)
    assert checked.bound >= answer.claimed_bound
    assert answer.counters["nodes"] <= max_nodes
    if answer.stop is Stop.NODES:
        whole = check_part(part, solved(part).proof)
        assert checked.bound <= whole.bound * (1 + 1e-9)


def test_an_interrupted_search_keeps_what_it_has():
    part = refit_part(random_layer(7, 48, tokens=50), "50%")
    deadline = Deadline(60.0)
    calls = []

    class Interrupting(Deadline):
        def expired(self):
            calls.append(1)
            if len(calls) > 40:
                deadline.interrupt()
            return deadline.expired()

    answer = solve_part(FwBnb(), part, Limits(Interrupting(60.0)), 0)
    assert answer.mask is not None
    if answer.proof is not None:
        assert check_part(part, answer.proof).bound <= part.loss(answer.mask)


def test_a_deadline_that_has_come_leaves_the_mask_and_no_false_proof():
    part = refit_part(random_layer(7, 30, tokens=33), "50%")
    answer = solve_part(FwBnb(), part, Limits(Deadline(0.0)), 0)
    found = judged(part, answer)
    assert found.verdict in (Verdict.FEASIBLE, Verdict.EMPTY)
    assert found.bound <= part.loss(answer.mask) if answer.mask is not None else True


def test_threads_do_not_change_what_is_proved_and_one_is_repeatable():
    part = refit_part(random_layer(8, 24, tokens=26), "50%")
    one, again, two = (solved(part, threads=threads) for threads in (1, 1, 2))
    assert one.counters == again.counters
    assert one.claimed_bound == again.claimed_bound
    assert judged(part, two).verdict is Verdict.PROVED


@pytest.mark.parametrize("power", [-300, 0, 250])
def test_scales_by_powers_of_two_change_nothing(power):
    plain = random_layer(9, 10)
    layer = Layer.from_arrays(plain.weight, np.ldexp(plain.gram, power))
    one = solved(refit_part(plain, "50%"))
    other = solved(refit_part(layer, "50%"))
    np.testing.assert_array_equal(one.mask, other.mask)
    assert np.ldexp(one.claimed_bound, power) == other.claimed_bound


def test_zero_weights_and_no_ridge():
    plain = random_layer(11, 9)
    weight = plain.weight.copy()
    weight[0, [2, 5]] = 0.0
    for row, ridge in ((weight, 0.0), (weight, 0.01), (np.zeros((1, 9)), 0.01)):
        part = refit_part(Layer.from_arrays(row, plain.gram), "keep=4", ridge)
        found = judged(part, solved(part))
        assert found.verdict is Verdict.PROVED, found.reason
        assert found.objective == pytest.approx(least(part), rel=1e-9, abs=1e-300)


@pytest.mark.skipif(not KNOWN.exists(), reason="../shared/known is absent")
def test_all_known_optima_are_proved():
    seen = 0
    for entry in json.loads((KNOWN / "known_refit.json").read_text()):
        part = refit_part(read_layer(KNOWN / entry["file"]), entry["pattern"], entry["ridge"])
        found = judged(part, solved(part, threads=2))
        assert found.verdict is Verdict.PROVED, (entry["file"], found.reason)
        assert found.objective == pytest.approx(entry["optimum"], rel=1e-8)
        seen += 1
    assert seen >= 18
