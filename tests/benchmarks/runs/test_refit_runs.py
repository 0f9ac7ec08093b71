"""Runs under the objective refit: who is given what, and what stands of an answer."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.judge import judge
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.recording import Origin, keys_of, records_of
from maskgap.benchmarks.runs.task import Outcome, RunLimits, Task, given, handed_over
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError, ProofError, Refused
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK, objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop, TracePoint
from maskgap.solvers.tree.exhaustive import Exhaustive
from tests.helpers.tiny import random_layer

REFIT = objective_spec("refit")
FAKES = "tests.helpers.fakes"


def problem_of(pattern="50%", n=8, rows=2, seed=1, objective=REFIT):
    return Problem.of(random_layer(seed, n, rows), parse_pattern(pattern), objective=objective)


def records(problem, solver, **settings):
    """The records of a run in processes of its own."""
    runs = Runs(problem, solver, settings, RunLimits(20.0))
    found = []
    for task in runs.tasks:
        outcome = next(outcome for _, outcome in runs.pool.outcomes([task]))
        found += records_of(task, outcome, Origin(), keys_of(task))
    return found


def best(part):
    """(least refit loss, a mask that has it) by trying all masks."""
    tried = [(part.loss(kept), kept) for kept in legal_masks(part)]
    return min(tried, key=lambda pair: pair[0])


def legal_masks(part):
    for pruned in part.legal.enumerate_pruned():
        for row in pruned:
            yield Kept(np.invert(row))


@pytest.mark.parametrize("pattern", ["50%", "keep=3", "2:4", "keep=0", "keep=8"])
def test_exhaustive_finds_the_least_refit_loss(pattern):
    for part in problem_of(pattern):
        answer = _exhaustive(part)
        least, _ = best(part)
        assert part.loss(answer.mask) == pytest.approx(least, rel=1e-9, abs=1e-15)
        assert part.rescale(answer.claimed_bound) == pytest.approx(least, rel=1e-9, abs=1e-15)
        assert answer.proof is None
        assert certify_part(part, answer.mask).bound_kind is not BoundKind.CLAIMED


def _exhaustive(part):
    return Exhaustive().solve(part, Limits(Deadline(60.0)), 0)


def test_exhaustive_takes_coupled_rows_and_side_constraints():
    for pattern in ("layer:50%", "keep=2;cap=1/2"):
        for part in problem_of(pattern, n=4, rows=3, objective=objective_spec("refit", 0.2)):
            answer = _exhaustive(part)
            assert part.loss(answer.mask) == pytest.approx(best(part)[0], rel=1e-9)


def test_only_the_mask_of_a_solver_of_mask_losses_counts():
    problem = problem_of(rows=1)
    (found,) = records(problem, f"{FAKES}:Boasts")
    (part,) = problem
    mask = Kept(np.ones(8, dtype=bool))
    mask[found.pruned] = False
    assert found.objective == pytest.approx(part.loss(mask), rel=1e-12)
    under_mask = part.under(MASK)
    assert under_mask.loss(mask) == min(under_mask.loss(kept) for kept in legal_masks(part))
    assert (found.bound, found.bound_kind, found.verdict) == (0.0, "trivial", "feasible")
    assert found.claimed_objective is found.claimed_bound is None
    assert found.trace == []
    assert found.ridge == 0.01
    assert found.refits
    change = part.refitted(mask) - part.weight
    assert found.error_without_ridge == pytest.approx(change @ part.layer.gram @ change, rel=1e-9)
    assert found.error_own_weights is None
    assert found.energy == pytest.approx(part.loss(Kept(np.zeros(8, dtype=bool))), rel=1e-12)


def test_a_batch_of_mask_losses_is_judged_on_re_optimised_weights():
    problem = problem_of(rows=3)
    found = records(problem, "wanda")
    wanda = records(problem.under(MASK), "wanda")
    for part, own, plain in zip(problem, found, wanda, strict=True):
        assert own.pruned == plain.pruned
        mask = Kept(np.ones(8, dtype=bool))
        mask[own.pruned] = False
        assert own.objective == pytest.approx(part.loss(mask), rel=1e-12)
        assert own.key != plain.key
        assert plain.ridge is plain.error_without_ridge is None
        assert not plain.refits


def test_a_solver_of_refit_is_given_it_and_its_own_weights_are_told():
    problem = problem_of()
    exact = records(problem, f"{FAKES}:Refits")
    off = records(problem, f"{FAKES}:Refits", off=0.01)
    for part, good, worse in zip(problem, exact, off, strict=True):
        assert good.error_own_weights == pytest.approx(good.objective, rel=1e-9)
        assert good.claimed_objective == pytest.approx(good.objective, rel=1e-12)
        assert worse.objective == pytest.approx(good.objective, rel=1e-12)
        mask = Kept(np.ones(8, dtype=bool))
        mask[worse.pruned] = False
        change = np.where(mask, part.refitted(mask) + 0.01, 0.0) - part.weight
        unit = np.ldexp(part.hessian, part.exponent - 2 * part._target_exponent)
        assert worse.error_own_weights == pytest.approx(change @ unit @ change, rel=1e-9)


def test_who_is_handed_the_mask_loss():
    problem = problem_of()
    for solver, over in (("wanda", True), ("dsnot", True), ("swap", False), ("exhaustive", False)):
        task = Task(problem, solver)
        assert handed_over(task) is over
        assert given(task).objective == (MASK if over else REFIT)
        plain = Task(problem.under(MASK), solver)
        assert not handed_over(plain)
        assert given(plain) is plain.problem


def test_all_that_is_claimed_of_another_objective_is_dropped():
    problem = problem_of(rows=1)
    (part,) = problem
    (mask, *_) = legal_masks(part)
    plain = part.under(MASK)
    answer = Answer(
        mask, Stop.FINISHED, 1.0, 10 * part.loss(mask), proof=_exhaustive(plain).proof,
        trace=(TracePoint(0.0, 1.0, 2.0),), weights=np.ones(8),
    )  # fmt: skip
    (judged,) = judge(Task(problem, "wanda"), Outcome([answer]))
    assert judged.certificate.verdict is Verdict.FEASIBLE
    assert judged.certificate.bound_kind is BoundKind.TRIVIAL
    assert judged.answer.trace == ()
    (kept,) = judge(Task(problem.under(MASK), "wanda"), Outcome([answer]))
    assert kept.answer.proof is answer.proof


def test_a_proof_of_mask_losses_proves_nothing_under_refit():
    (part,) = problem_of(rows=1)
    proof = _exhaustive(part.under(MASK)).proof
    check_part(part.under(MASK), proof)
    with pytest.raises(ProofError):
        check_part(part, proof)
    with pytest.raises(ProofError, match="no proof under objective refit"):
        check_part(part, replace(proof, problem=part.digest))


def test_solvers_that_bound_mask_losses_are_refused_in_words():
    problem = problem_of()
    for name in ("fw-bnb", "sdp-bound", "scip-miqp", "shift-bound"):
        spec = registry.spec_of(name)
        said = registry.refusal(spec, problem.pattern, REFIT)
        assert registry.refusal(spec, problem.pattern) is None
        if "refit" in spec.objectives:
            assert said is None
            continue
        assert "not 'refit'" in said
        assert "exhaustive" in said
        if spec.missing is None:
            with pytest.raises(Refused, match="not 'refit'"):
                Runs(problem, name, {}, RunLimits())
    for name in ("wanda", "swap", "exhaustive"):
        assert registry.refusal(registry.spec_of(name), problem.pattern, REFIT) is None


def test_a_class_may_say_what_it_minimises(tmp_path, monkeypatch):
    assert registry.spec_of(f"{FAKES}:Refits").objectives == ("mask", "refit")
    assert registry.spec_of(f"{FAKES}:Good").objectives == ("mask",)
    (tmp_path / "odd_solver.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Odd:\n    def solve(self): ...\n"
        "Odd.objectives = ('speed',)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="objectives must be a tuple of mask, refit"):
        registry.spec_of("odd_solver:Odd")


def test_records_of_before_have_no_ridge():
    line = records(problem_of(rows=1, objective=MASK), "wanda")[0].model_dump()
    for name in ("ridge", "error_without_ridge", "error_own_weights"):
        del line[name]
    old = Record.model_validate({**line, "schema_version": 4})
    assert old.ridge is None
    assert not old.refits
