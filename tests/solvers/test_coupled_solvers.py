"""Every pattern beyond a budget a row: solvers against enumeration, and against one another."""

from functools import cache

import numpy as np
import pytest

from maskgap import solve
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.child import run_task
from maskgap.benchmarks.runs.judge import judge, parts_of
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.suites.suite import Group, SolverEntry, Suite
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import PATTERNS, parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.instances.sources import shipped
from maskgap.solvers import registry
from maskgap.solvers.protocol import Deadline, Limits, Stop
from tests.helpers.coupled import COST, PARTS, ROWS, SETS, coupled_layer, with_extras
from tests.helpers.tiny import random_layer

NATIVE = ("scip-miqp", "scip-factor", "highs-milp", "highs-oa", "cvxpy-miqp", "gurobi")
INSTALLED = [name for name in NATIVE if registry.SPECS[name].missing is None]
HEURISTICS = ("random", "magnitude", "wanda", "ria", "obs", "swap", "search")

SHAPES = {  # rows and columns of a part of at most 16 binaries
    "layer:50%": (2, 4),
    "2:4^T": (4, 4),
    "50%;block=2": (1, 10),
    "50%;cap=3/4": (1, 8),
    "50%;cap=3/4+2": (1, 8),
    "50%;cost=45%": (1, 8),
    "50%;forced": (1, 8),
}
MIXED = {  # the same together, and other numbers
    "layer:30%": (3, 4),
    "1:2^T": (2, 6),
    "50%;cap=5/8+4": (1, 12),
    "50%;cap=3/4+2;cap=3/6": (1, 12),
    "50%;block=2;cost=45%": (1, 12),
    "50%;cap=3/4;cost=48%;forced": (1, 12),
}
REAL = [entry["name"] for entry in shipped.manifest() if 48 <= entry["n"] <= 160]


def real_layer(seed, height, n) -> Layer:
    """Rows and columns of a shipped layer, which ones by seed; rows are repeated scaled."""
    layer = read_layer(shipped.path(REAL[seed % len(REAL)]))
    rng = np.random.default_rng([8, seed])
    columns = np.sort(rng.permutation(layer.d_in)[:n])
    rows = rng.integers(layer.d_out, size=height)
    weight = layer.weight[np.ix_(rows, columns)] * rng.uniform(0.5, 1.5, (height, 1))
    return Layer.from_arrays(weight, layer.gram[np.ix_(columns, columns)])


@cache
def problems(pattern, count=20) -> list[tuple[Part, float]]:
    """Parts of a pattern, half of them random and half real, each with its least loss."""
    height, n = {**SHAPES, **MIXED}[pattern]
    found: list[tuple[Part, float]] = []
    seed = 0
    while len(found) < count:
        seed += 1
        plain = random_layer(seed, n, height) if seed % 2 else real_layer(seed, height, n)
        try:
            (part,) = Problem.of(with_extras(plain, seed), parse_pattern(pattern))
        except InputError:  # forced columns that leave nothing
            continue
        answer = registry.build("exhaustive").solve(part, Limits(Deadline(60)), 0)
        assert answer.stop is Stop.FINISHED
        found.append((part, part.scaled_loss(answer.mask)))
    return found


def test_all_new_kinds_are_here():
    kinds = {type(parse_pattern(text)) for text in SHAPES}
    assert kinds == {kind for kind in PATTERNS if not kind.equal_rows}


@pytest.mark.parametrize("name", [n for n in SETS if len(SETS[n][1]) and "row" not in n])
def test_exhaustive_agrees_with_plain_loops(name):
    masks = SETS[name][1]
    shape = PARTS[name][0] if name in PARTS else (1, 12)
    layer = coupled_layer(*shape)
    (part,) = Problem.of(layer, parse_pattern(name))
    losses = []
    for mask in masks:
        rest = np.where(mask.reshape(shape), 0.0, layer.weight)
        losses.append(sum(float(row @ layer.gram @ row) for row in rest))
    answer = registry.build("exhaustive").solve(part, Limits(Deadline(60)), 0)
    assert answer.counters["masks"] == len(masks)
    assert part.loss(answer.mask) == pytest.approx(min(losses), rel=1e-9, abs=1e-12)
    assert part.rescale(answer.claimed_bound) <= min(losses) * (1 + 1e-12) + 1e-300


def _agree(name, part, least):
    answer = registry.build(name).solve(part, Limits(Deadline(60)), 0)
    assert answer.stop in (Stop.FINISHED, Stop.GAP), name
    assert part.legal.is_legal(answer.mask), name
    assert part.scaled_loss(answer.mask) == pytest.approx(least, rel=1e-6), name
    assert least * (1 - 2e-6) <= answer.claimed_bound <= least * (1 + 1e-9), name


@pytest.mark.parametrize("pattern", SHAPES)
@pytest.mark.parametrize("name", INSTALLED)
def test_native_solvers_agree_with_enumeration(name, pattern):
    for part, least in problems(pattern):
        _agree(name, part, least)


@pytest.mark.parametrize("pattern", MIXED)
def test_native_solvers_agree_with_enumeration_on_constraints_together(pattern):
    for name in INSTALLED:
        for part, least in problems(pattern, 1):
            _agree(name, part, least)


@pytest.mark.parametrize("pattern", [*SHAPES, *MIXED])
@pytest.mark.parametrize("name", HEURISTICS)
def test_heuristics_give_legal_masks_that_are_not_better_than_the_optimum(name, pattern):
    settings = {"population": 16} if name == "search" else {}
    found = 0
    cases = problems(pattern) if pattern in SHAPES else problems(pattern, 1)
    for part, least in cases:
        problem = Problem.of(part.layer, parse_pattern(pattern))
        (answer,) = registry.build(name, settings).solve_rows(problem, Limits(Deadline(60)), 0)
        assert answer.stop is Stop.FINISHED
        assert part.legal.is_legal(answer.mask)
        loss = part.scaled_loss(answer.mask)
        assert loss >= least * (1 - 1e-9)
        found += loss <= least * (1 + 1e-9)
        if answer.claimed_objective is not None:
            assert answer.claimed_objective == pytest.approx(part.loss(answer.mask), rel=1e-9)
    if name == "search":
        assert found >= 0.95 * len(cases)


WIDE = {  # rows and columns of parts of 24 to 40 binaries
    "layer:50%": (2, 16),
    "2:4^T": (4, 8),
    "2:3^T": (3, 12),
    "50%;block=4": (1, 40),
    "50%;cap=5/8": (1, 32),
    "50%;cap=5/8+4": (1, 32),
    "50%;cost=45%": (1, 28),
    "50%;cap=5/8;cost=48%;forced": (1, 32),
}


@pytest.mark.parametrize("pattern", WIDE)
def test_native_solvers_agree_with_one_another_up_to_40_binaries(pattern):
    height, n = WIDE[pattern]
    layer = with_extras(real_layer(3, height, n), 2)
    (part,) = Problem.of(layer, parse_pattern(pattern))
    names = [n for n in INSTALLED if n in ("scip-miqp", "highs-milp", "gurobi")]
    answers = {name: registry.build(name).solve(part, Limits(Deadline(60)), 0) for name in names}
    least = min(part.scaled_loss(answer.mask) for answer in answers.values())
    for name, answer in answers.items():
        assert answer.stop in (Stop.FINISHED, Stop.GAP), name
        assert part.scaled_loss(answer.mask) == pytest.approx(least, rel=1e-6), name
        assert least * (1 - 2e-6) <= answer.claimed_bound <= least * (1 + 1e-9), name


@pytest.mark.parametrize("text", ["2:4^T", "50%;cost=40%", "layer:50%"])
@pytest.mark.parametrize("name", ["exhaustive", "highs-milp", "scip-miqp", "swap", "wanda"])
def test_answers_are_certified_part_by_part(name, text):
    shape = {"2:4^T": (4, 4), "layer:50%": (2, 6)}.get(text, (2, 12))
    problem = Problem.of(coupled_layer(*shape), parse_pattern(text))
    for part in [problem] if registry.SPECS[name].batched else parts_of(problem):
        task = Task(part, name, {}, RunLimits(60.0))
        for judged in judge(task, run_task(task)):
            assert judged.certificate.objective is not None
            good = {Verdict.PROVED, Verdict.CLOSED}
            wanted = good if registry.SPECS[name].proves else {Verdict.FEASIBLE}
            assert judged.certificate.verdict in wanted, judged.certificate


@pytest.mark.parametrize("pattern", ["50%;cap=3/4", "50%;cost=45%", "2:4^T", "50%;forced"])
@pytest.mark.parametrize("name", INSTALLED)
def test_a_start_is_never_lost(name, pattern):
    height, n = {"2:4^T": (4, 8)}.get(pattern, (1, 32))
    layer = with_extras(random_layer(5, n, height), 5)
    (part,) = Problem.of(layer, parse_pattern(pattern))
    start = part.legal.prune_lowest(np.abs(part.weight))
    whole = Problem.of(layer, parse_pattern(pattern), None, start.reshape(height, n))
    answer = registry.build(name).solve(next(iter(whole)), Limits(Deadline(0.05)), 0)
    assert part.legal.is_legal(answer.mask)
    assert part.scaled_loss(answer.mask) <= part.scaled_loss(start)


@pytest.mark.parametrize("name", INSTALLED)
def test_one_legal_mask_needs_no_solver(name):
    layer = coupled_layer()
    pattern = parse_pattern("keep=1;cost=0%")
    part = next(iter(Problem.of(layer, pattern)))
    assert part.legal.single
    answer = registry.build(name).solve(part, Limits(Deadline(60)), 0)
    assert list(np.flatnonzero(answer.mask)) == [COST.index(0)]
    assert answer.notes["native_status"] == "not run"
    assert answer.claimed_bound == part.scaled_loss(answer.mask)


# ---- which solver takes what


def test_each_solver_says_which_kinds_it_takes():
    for spec in registry.SPECS.values():
        assert set(spec.patterns) <= {kind.form for kind in PATTERNS}
        for text in ("50%", "keep=2", "2:4", "layer:50%", "2:4^T", "50%;forced"):
            pattern = parse_pattern(text)
            takes = pattern.form in spec.patterns
            assert (registry.refusal(spec, pattern) is None) == takes
            if not takes:
                assert text in registry.refusal(spec, pattern)
                assert spec.name in registry.refusal(spec, pattern)
                assert "swap" in registry.refusal(spec, pattern)


REFUSING = ["sparsegpt", "obs-greedy", "alps", "dsnot", "sparsefw", "shift-bound"]


@pytest.mark.parametrize("text", ["layer:50%", "2:4^T", "50%;cap=3/4"])
@pytest.mark.parametrize("name", REFUSING)
def test_what_a_solver_cannot_do_it_refuses_in_words(name, text):
    layer = coupled_layer(4, 12)
    with pytest.raises(Refused, match=rf"{name} takes patterns P%, keep=K, N:M, not"):
        solve(layer.weight, layer.gram, text, name)


def test_a_suite_records_what_is_refused(tmp_path):
    entries = [SolverEntry(name="sparsegpt"), SolverEntry(name="magnitude")]
    group = Group(name="g", instances=["query0-n12"], patterns=["layer:50%"], solvers=entries)
    result = run_suite(Suite(name="s", groups=[group], directory=tmp_path), tmp_path)
    stops = {record.solver: (record.stop, record.reason) for record in result.records}
    assert stops["sparsegpt"][0] == "refused"
    assert "sparsegpt takes patterns P%" in stops["sparsegpt"][1]
    assert stops["magnitude"][0] == "finished"
    assert not result.faults


def test_runs_of_the_interface_on_arrays_have_one_answer_a_part():
    layer = coupled_layer(4, 8)
    problem = Problem.of(layer, parse_pattern("2:4^T"))
    runs = Runs(problem, "swap", {}, RunLimits(20.0))
    (judged,) = list(runs)
    assert judged.problem.height == 4
    assert judged.certificate.verdict is Verdict.FEASIBLE
    assert problem.is_legal(judged.answer.mask.reshape(4, 8))


def test_rows_of_the_patterns_are_not_empty():
    assert sum(len(masks) > 0 for _, masks in SETS.values()) > len(ROWS)
