"""What every registered solver owes, whatever it is; a new one is covered by being registered."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskgap.benchmarks.runs.child import run_task
from maskgap.benchmarks.runs.judge import judge, parts_of
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop
from tests.conftest import KNOWN
from tests.helpers.tiny import (
    I1_GRAM,
    I1_WEIGHT,
    I2_GRAM,
    I2_WEIGHT,
    brute_force,
    random_layer,
    with_mean,
)

INSTALLED = [name for name, spec in registry.SPECS.items() if spec.missing is None]
MASKS = [name for name in INSTALLED if not registry.SPECS[name].bound_only]
PROVING = [name for name in MASKS if registry.SPECS[name].proves]
PATTERNS = ["50%", "keep=2", "2:4", "1:4"]


@pytest.mark.parametrize("name", [n for n in registry.SPECS if n not in INSTALLED] or ["none"])
def test_absent_solvers_are_seen(name):
    """A solver that is not installed is skipped here, by name, so that nobody overlooks it."""
    if name != "none":
        pytest.skip(f"{name} is not installed: {registry.SPECS[name].missing}")


def answers(name, layer, pattern, limit=20.0, seed=0, settings=None, start=None):
    """Certified answers of a solver on all rows, run in this process."""
    problem = Problem.of(layer, parse_pattern(pattern), None, start)
    parts = [problem] if registry.spec_of(name).batched else parts_of(problem)
    found = []
    for part in parts:
        task = Task(part, name, settings or {}, RunLimits(limit * len(part), seed=seed))
        outcome = run_task(task)
        assert outcome.exception is None or outcome.answers[0].stop is Stop.REFUSED, outcome
        found += judge(task, outcome)
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", INSTALLED)
def test_masks_are_legal_and_bounds_are_below_the_optimum(name, pattern):
    layer = random_layer(11, 8, rows=2)
    groups = parse_pattern(pattern).row_groups(8)
    for judged in answers(name, layer, pattern):
        row = judged.problem.row
        best, _ = brute_force(layer.weight[row], layer.gram, groups.size, groups.pruned)
        assert judged.certificate.verdict is not Verdict.WRONG, judged.certificate
        assert judged.certificate.bound <= best * (1 + 1e-9)
        if registry.SPECS[name].bound_only:
            assert judged.certificate.bound_kind is BoundKind.CHECKED
        else:
            assert judged.certificate.objective >= best * (1 - 1e-9)
        if registry.SPECS[name].proves:
            assert judged.certificate.objective == pytest.approx(best, rel=1e-6)
            assert judged.certificate.verdict in (Verdict.PROVED, Verdict.CLOSED)


def _degenerate():
    rng = np.random.default_rng(7)
    one = np.array([[3.0]])
    token = rng.normal(size=(4, 1))
    wide = rng.normal(size=(4, 9))
    doubled = wide[[0, 0, 1, 1]]
    return {
        "prune none": (I1_WEIGHT, I1_GRAM, "0%"),
        "prune all": (I1_WEIGHT, I1_GRAM, "100%"),
        "keep all of each group": (I1_WEIGHT, I1_GRAM, "4:4"),
        "one column kept": (one, one, "keep=1"),
        "one column pruned": (one, one, "keep=0"),
        "zero gram": (I1_WEIGHT, np.zeros((4, 4)), "50%"),
        "zero weights": (np.zeros((1, 4)), I1_GRAM, "50%"),
        "some zero weights": (np.array([[0.0, -0.0, 3, 4]]), np.eye(4), "50%"),
        "dead column": (np.array([[100.0, 1, 1, 2]]), np.diag([0.0, 4, 9, 1]), "50%"),
        "rank one": (np.array([[1.0, -1, 2, 3]]), np.ones((4, 4)), "50%"),
        "one token": (I2_WEIGHT, token @ token.T, "50%"),
        "duplicates": (np.ones((1, 4)), doubled @ doubled.T, "50%"),
        "ties": (np.ones((1, 4)), np.eye(4), "50%"),
        "outlier": (np.array([[1.0, 1, 1, 1e-6]]), np.diag([1.0, 2, 3, 1e14]), "50%"),
    }


@pytest.mark.parametrize("case", _degenerate())
@pytest.mark.parametrize("name", INSTALLED)
def test_degenerate_rows_end_with_legal_masks(name, case):
    weight, gram, pattern = _degenerate()[case]
    layer = with_mean(weight, gram)
    groups = parse_pattern(pattern).row_groups(layer.d_in)
    best, _ = brute_force(weight[0], layer.gram, groups.size, groups.pruned)
    best = max(0.0, best)
    (judged,) = answers(name, layer, pattern)
    certificate = judged.certificate
    assert certificate.verdict is not Verdict.WRONG, certificate
    if not registry.SPECS[name].bound_only:
        assert judged.answer.mask is not None, judged.answer
        assert groups.is_legal(judged.answer.mask)
    if registry.SPECS[name].proves:
        assert certificate.objective == pytest.approx(best, rel=1e-6, abs=1e-9 * gram.max())


@pytest.mark.parametrize("exponent", [-12, -8, -4, 0, 6, 12, 18, 20])
@pytest.mark.parametrize("name", INSTALLED)
def test_the_scale_of_the_gram_changes_neither_mask_nor_bound(name, exponent):
    scale = 10.0**exponent
    for weight, gram, optimum, kept in (
        (I1_WEIGHT, I1_GRAM, 20.0, [2, 3]), (I2_WEIGHT, I2_GRAM, 34.0, [0, 1]),
    ):  # fmt: skip
        (judged,) = answers(name, with_mean(weight, gram * scale), "50%")
        certificate = judged.certificate
        assert certificate.verdict is not Verdict.WRONG, certificate
        assert certificate.bound <= optimum * scale * (1 + 1e-6)
        if registry.SPECS[name].proves:
            assert list(np.flatnonzero(judged.answer.mask)) == kept
            assert certificate.objective == pytest.approx(optimum * scale, rel=1e-9)
            assert certificate.gap <= 1e-6


@pytest.mark.parametrize("limit", [0.0, 0.01])
@pytest.mark.parametrize("name", PROVING)
def test_a_limit_without_an_incumbent_is_not_a_solution(name, limit):
    (judged,) = answers(name, random_layer(2, 40), "50%", limit)
    answer, certificate = judged.answer, judged.certificate
    if name == "exhaustive":
        assert answer.stop is Stop.REFUSED
        return
    assert answer.stop in (Stop.TIME, Stop.GAP, Stop.FINISHED)
    if answer.mask is None:
        assert answer.claimed_objective is None
        assert (certificate.objective, certificate.gap, certificate.verdict) == (
            None, None, Verdict.EMPTY,
        )  # fmt: skip
    else:
        assert certificate.verdict is not Verdict.WRONG


@pytest.mark.parametrize("name", INSTALLED)
def test_solvers_are_pure_and_repeat_themselves(name):
    layer = random_layer(4, 10, rows=2)
    before = layer.digest
    first = answers(name, layer, "keep=4", seed=3)
    other = answers(name, layer, "keep=7", seed=3)
    again = answers(name, replace(layer), "keep=4", seed=3)
    assert Layer.from_arrays(layer.weight, layer.gram).digest == before
    for a, b, c in zip(first, again, other, strict=True):
        if a.answer.mask is None:
            assert a.certificate.bound == pytest.approx(b.certificate.bound, rel=1e-6)
            continue
        assert (a.answer.mask == b.answer.mask).all()
        assert c.answer.mask.sum() == 7


@pytest.mark.parametrize("name", PROVING)
def test_permuting_columns_leaves_the_optimum(name):
    layer = random_layer(6, 8)
    order = np.random.default_rng(0).permutation(8)
    moved = Layer.from_arrays(layer.weight[:, order], layer.gram[np.ix_(order, order)])
    (a,), (b,) = answers(name, layer, "50%"), answers(name, moved, "50%")
    assert a.certificate.objective == pytest.approx(b.certificate.objective, rel=1e-9)


# These lower something else than the loss of a mask, and give their paper's answer as it comes:
# the expected error, and a relaxation that is rounded at the end.
OTHER_AIMS = ("dsnot", "sparsefw")


@pytest.mark.parametrize(
    "name",
    [n for n in MASKS if "warm_start" in registry.setting_names(n) and n not in OTHER_AIMS],
)
def test_a_start_is_never_made_worse(name):
    layer = random_layer(9, 40)
    problem = Problem.of(layer, parse_pattern("50%"))
    start = problem.groups.prune_lowest(np.abs(layer.weight))
    (judged,) = answers(name, layer, "50%", limit=0.05, start=start)
    assert judged.answer.mask is not None
    assert judged.certificate.objective <= problem.part_of(0).loss(start[0]) * (1 + 1e-12)


def _bank():
    path = KNOWN / "known.json"
    return json.loads(path.read_text()) if path.exists() else []


@pytest.mark.parametrize("name", [n for n in INSTALLED if registry.SPECS[n].proves])
def test_the_bank_of_proven_optima(name, known: Path):
    """Whoever finishes agrees; whoever does not still gives a bound below the optimum."""
    finished = 0
    for entry in _bank():
        if entry["n"] > 32:
            continue
        layer = read_layer(known / entry["file"])
        (judged,) = answers(name, layer, entry["pattern"], limit=3.0)
        certificate = judged.certificate
        assert certificate.verdict is not Verdict.WRONG, (entry["file"], certificate)
        assert certificate.bound <= entry["optimum"] * (1 + 1e-6)
        if certificate.verdict in (Verdict.PROVED, Verdict.CLOSED):
            finished += 1
            assert certificate.objective == pytest.approx(entry["optimum"], rel=1e-6)
    assert finished >= 3


@pytest.mark.parametrize("name", [n for n in INSTALLED if registry.SPECS[n].bound_only])
def test_bounds_stay_below_the_bank(name, known: Path):
    for entry in _bank():
        if entry["n"] > 48:
            continue
        (judged,) = answers(name, read_layer(known / entry["file"]), entry["pattern"], limit=10.0)
        assert judged.certificate.bound_kind is BoundKind.CHECKED
        assert 0 < judged.certificate.bound <= entry["optimum"] * (1 + 1e-9)
