"""Proofs of many rows checked together: what one by one gives, and one that fails fails alone."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.runs.judge import judge
from maskgap.benchmarks.runs.task import Outcome, Task
from maskgap.benchmarks.verify import check
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.benchmarks.verify.check import check_part, check_parts, checked_together
from maskgap.benchmarks.verify.objective import exact_loss
from maskgap.instances.errors import ProofError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop
from maskgap.solvers.registry import build
from tests.helpers.tiny import brute_force, random_layer


def _bounded(layer, pattern="50%"):
    """(parts, proofs) of all rows by one shift."""
    problem = Problem.of(layer, parse_pattern(pattern))
    answers = build("shift-bound").solve_rows(problem, Limits(Deadline(60.0)), 0)
    return list(problem), [answer.proof for answer in answers]


@pytest.mark.parametrize("pattern", ["50%", "2:4", "keep=1"])
def test_bounds_together_are_those_one_by_one_and_below_every_optimum(pattern):
    layer = random_layer(3, 8, rows=7)
    parts, proofs = _bounded(layer, pattern)
    together = check_parts(parts, proofs)
    for part, proof, found in zip(parts, proofs, together, strict=True):
        assert found.bound == pytest.approx(check_part(part, proof).bound, rel=1e-12)
        groups = part.groups
        best, _ = brute_force(part.weight, layer.gram, groups.size, groups.pruned)
        assert proof.bound <= found.bound <= best * (1 + 1e-12)


def test_rows_of_two_shifts_and_of_any_scale():
    layer = random_layer(4, 12, rows=6)
    scaled = Layer.from_arrays(layer.weight * 10.0 ** np.arange(-12, 12, 4)[:, None], layer.gram)
    parts, proofs = _bounded(scaled)
    other = proofs[2].evidence
    lower = replace(other, shift=0.5 * other.shift)
    proofs[2] = replace(proofs[2], bound=0.0, evidence=lower)
    found = check_parts(parts, proofs)
    for part, proof, one in zip(parts, proofs, found, strict=True):
        assert one.bound == pytest.approx(check_part(part, proof).bound, rel=1e-12)


def test_one_that_fails_fails_alone():
    layer = random_layer(5, 10, rows=8)
    parts, proofs = _bounded(layer)
    good = [one.bound for one in check_parts(parts, proofs)]

    def spoilt(place, **changes):
        own = proofs[place]
        proofs[place] = replace(own, evidence=replace(own.evidence, **changes))

    proofs[0] = replace(proofs[0], bound=good[0] * 1.001)
    spoilt(1, shift=proofs[1].evidence.shift + 0.5 * layer.gram.diagonal())
    spoilt(2, point=np.full(10, np.nan, np.float32))
    spoilt(3, point="no point at all")
    spoilt(4, point=np.full(10, 1e30, np.float32))
    proofs[5] = replace(proofs[5], problem=proofs[6].problem)
    found = check_parts(parts, proofs)
    for place, words in enumerate(
        ["not supported", "not positive semidefinite", "finite", "float32", None, "another problem"]
    ):
        if words is None:  # a useless point: no bound above 0
            assert isinstance(found[place], ProofError) or found[place].bound == 0.0
        else:
            assert isinstance(found[place], ProofError)
            assert words in str(found[place])
    assert [one.bound for one in found[6:]] == pytest.approx(good[6:], rel=1e-12)


def test_the_loss_of_many_columns_is_an_interval_until_a_bound_is_near(monkeypatch):
    monkeypatch.setattr(check, "MANY_COLUMNS", 1)
    layer = random_layer(6, 12, rows=3)
    parts, proofs = _bounded(layer)
    masks = [part.legal.prune_lowest(part.weight**2) for part in parts]
    proofs = [replace(proof, mask=mask) for proof, mask in zip(proofs, masks, strict=True)]
    for part, mask, found in zip(parts, masks, check_parts(parts, proofs), strict=True):
        exact = exact_loss(part, mask)
        assert found.loss.low <= exact.low <= exact.high <= found.loss.high
        assert found.loss.high - found.loss.low <= 1e-6 * exact.high
    whole = Problem.of(layer, parse_pattern("100%"))  # one mask, whose loss the bound comes to
    near = build("shift-bound").solve_rows(whole, Limits(Deadline(60.0)), 0)
    none_kept = [replace(a.proof, mask=np.zeros(12, dtype=bool)) for a in near]
    for found in check_parts(list(whole), none_kept):
        assert found.bound <= found.loss.high


def test_answers_without_a_mask_or_with_a_hostile_proof_are_judged_together():
    layer = random_layer(7, 10, rows=4)
    parts, proofs = _bounded(layer)
    problem = Problem.of(layer, parse_pattern("50%"))
    mask = parts[1].legal.prune_lowest(parts[1].weight ** 2)
    answers = [
        Answer(None, Stop.FINISHED, proof=proofs[0]),
        Answer(mask, Stop.FINISHED, proof=proofs[1]),
        Answer(None, Stop.FINISHED, proof="no proof"),
        Answer(None, Stop.FINISHED),
    ]
    found = [one.certificate for one in judge(Task(problem, "shift-bound"), Outcome(answers))]
    kinds = [one.bound_kind for one in found]
    assert kinds == [BoundKind.CHECKED, BoundKind.CHECKED, BoundKind.TRIVIAL, BoundKind.TRIVIAL]
    assert [one.verdict for one in found][::2] == [Verdict.EMPTY, Verdict.EMPTY]
    assert found[1].objective == pytest.approx(parts[1].loss(mask), rel=1e-9)
    assert checked_together(parts[:1], proofs[:1]) == {}
