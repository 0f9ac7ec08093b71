"""fw-bnb on any set of masks: against enumeration, with proofs, under every setting and limit."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.instances.errors import InputError
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop, solve_part
from maskgap.solvers.tree.choices import BRANCHING, HEURISTICS, TRAVERSALS
from maskgap.solvers.tree.fw_bnb import FwBnb
from tests.helpers.general import SETS, SHAPES, judged, part_of, problems, real_block


@pytest.mark.parametrize("pattern", SHAPES)
def test_agrees_with_enumeration_and_proves_it(pattern):
    for part, least in problems(pattern):
        answer, certificate = judged(FwBnb(), part)
        assert answer.stop is Stop.FINISHED
        assert part.scaled_loss(answer.mask) == pytest.approx(least, rel=1e-9)
        assert certificate.verdict is Verdict.PROVED, certificate
        assert certificate.bound <= part.rescale(least) * (1 + 1e-12)


@pytest.mark.parametrize("pattern", SETS)
@pytest.mark.parametrize(
    "settings", [{"oracle": "highs"}, {"oracle": "scip"}, {"hull": "relaxation"}]
)
def test_every_oracle_and_hull_agrees_with_enumeration(pattern, settings):
    solver = FwBnb(convexify="diag", warm_start="magnitude", **settings)
    for part, least in problems(pattern):
        answer, certificate = judged(solver, part)
        assert part.scaled_loss(answer.mask) == pytest.approx(least, rel=1e-9)
        assert certificate.verdict is Verdict.PROVED, certificate


@pytest.mark.parametrize(
    "settings",
    [
        *({"branching": name} for name in BRANCHING),
        *({"traversal": name} for name in TRAVERSALS),
        *({"heuristics": name} for name in HEURISTICS),
        *({"convexify": name} for name in ("none", "eig", "diag", "sdp")),
        {"convexify": "sdp-triangles", "triangle_nodes": 0},
        {"inherit": False},
        {"fixing": False},
        {"node_tolerance": 0.0},
        {"warm_start": "none"},
    ],
    ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()),
)
def test_every_setting_agrees_with_enumeration(settings):
    for pattern in ("2:4^T", "50%;cap=2/3+2", "50%;block=2;cost=45%"):
        part, least = problems(pattern)[3]
        answer, certificate = judged(FwBnb(**settings), part)
        assert part.scaled_loss(answer.mask) == pytest.approx(least, rel=1e-9)
        assert certificate.verdict is Verdict.PROVED, certificate


def test_triangles_come_in_the_middle_of_a_search():
    layer = real_block("value4-n48", 1, 40)
    part = next(iter(Problem.of(layer, parse_pattern("50%;cost=40%"))))
    answer, certificate = judged(FwBnb(triangle_nodes=50), part)
    assert any(len(function.triangles) for function in answer.proof.evidence.functions)
    assert len(set(answer.proof.evidence.function.tolist())) > 1
    assert certificate.verdict is Verdict.PROVED, certificate


@pytest.mark.parametrize("pattern", SETS)
@pytest.mark.parametrize("convexify", ["none", "sdp"])
def test_the_hull_bounds_no_less_than_the_relaxation(pattern, convexify):
    higher = 0
    for part, least in problems(pattern)[:6]:
        roots = []
        for hull in ("convex", "relaxation"):
            solver = FwBnb(
                convexify=convexify, hull=hull, max_nodes=1, node_tolerance=0.0, fixing=False,
                warm_start="wanda", heuristics="none",
            )  # fmt: skip
            notes = solver.solve(part, Limits(Deadline(60.0)), 0).notes
            roots.append(float(notes["root_bound"]))
        size = part.rescale(least)
        # a root ends when its bound reaches the incumbent: above it nothing is compared
        convex, relaxed = (min(root, size * (1 - 1e-6)) for root in roots)
        assert convex >= relaxed - 1e-6 * size  # x is rounded to float32
        higher += convex > relaxed + 1e-4 * size
    if "cost" in pattern and convexify == "none":
        assert higher > 0
    if part.legal.integral:
        assert higher == 0


@pytest.mark.parametrize("pattern", ["2:4^T", "layer:50%"])
@pytest.mark.parametrize("name", ["key3-n64", "output2-n64", "query5-n32"])
def test_blocks_of_real_layers(name, pattern):
    for part in Problem.of(real_block(name, 8, 8), parse_pattern(pattern)):
        start = part.loss(part.legal.prune_lowest(np.abs(part.weight)))
        answer, certificate = judged(FwBnb(), part)
        assert certificate.verdict is Verdict.PROVED, certificate
        assert certificate.objective <= start
        assert answer.proof.height == part.height


@pytest.mark.parametrize(
    ("pattern", "rows", "n"),
    [("2:4^T", 4, 8), ("50%;cost=45%", 1, 22), ("50%;block=4", 1, 40), ("50%;cap=5/8+4", 1, 24)],
)
def test_agrees_with_scip_up_to_40_binaries(pattern, rows, n):
    part = next(iter(Problem.of(real_block("value4-n48", rows, n), parse_pattern(pattern))))
    answer, certificate = judged(FwBnb(), part)
    other = registry.build("scip-miqp").solve(part, Limits(Deadline(60.0)), 0)
    assert certificate.verdict is Verdict.PROVED, certificate
    assert part.scaled_loss(answer.mask) == pytest.approx(part.scaled_loss(other.mask), rel=1e-6)


# ---- limits, and what is reported


def _wide():
    return next(iter(Problem.of(real_block("output0-n128", 1, 60), parse_pattern("50%;cost=40%"))))


def test_a_search_cut_short_keeps_a_bound_with_a_proof():
    part = _wide()
    for nodes in (1, 7):
        answer, certificate = judged(FwBnb(max_nodes=nodes), part)
        assert answer.stop is Stop.NODES
        assert nodes <= answer.counters["nodes"] <= nodes + 1
        assert 0 < certificate.bound < certificate.objective
        assert certificate.bound_kind is BoundKind.CHECKED
        assert certificate.verdict is Verdict.FEASIBLE
        assert answer.counters["oracle_calls"] > 0


def test_an_expired_deadline_leaves_the_start_and_an_interrupt_ends_a_search():
    part = _wide()
    answer = FwBnb().solve(part, Limits(Deadline(0.0)), 0)
    assert answer.stop is Stop.TIME
    assert part.legal.is_legal(answer.mask)

    deadline = Deadline(600.0)

    def first_bound(mask, value):
        if mask is None:
            deadline.interrupt()

    answer = FwBnb().solve(part, Limits(deadline, journal=Journal(first_bound)), 0)
    assert answer.stop is Stop.INTERRUPTED
    assert part.legal.is_legal(answer.mask)


def test_memory_for_the_proof_or_the_nodes_runs_out():
    part = _wide()
    whole = FwBnb(max_nodes=40).solve(part, Limits(Deadline(60.0)), 0)
    solver = FwBnb(max_nodes=40)
    search = pytest.MonkeyPatch.context()
    with search as patch:
        patch.setattr("maskgap.solvers.tree.fw_bnb.MIB", 2)  # max_memory becomes 8192 bytes
        answer = solver.solve(part, Limits(Deadline(60.0)), 0)
    assert whole.proof is not None
    assert answer.proof is None or answer.stop is Stop.MEMORY
    assert answer.claimed_bound > 0


def test_log_trace_and_counters(capsys):
    part = part_of(1, "50%;cost=45%")
    limits = Limits(Deadline(60.0), log=True)
    answer = solve_part(FwBnb(), part, limits, 0)
    assert "objective" in capsys.readouterr().out
    bounds = [p.bound for p in answer.trace if p.bound is not None]
    losses = [p.objective for p in answer.trace if p.objective is not None]
    assert bounds == sorted(bounds)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(part.loss(answer.mask), rel=1e-12)
    assert set(answer.counters) == {"nodes", "steps", "oracle_calls"}
    assert 0 < answer.notes["root_bound"] <= part.loss(answer.mask) * (1 + 1e-9)


def test_the_same_search_again_is_the_same():
    part = part_of(2, "50%;cap=3/4")
    first, second = (FwBnb().solve(part, Limits(Deadline(60.0)), 0) for _ in range(2))
    assert first.counters == second.counters
    assert (first.mask == second.mask).all()
    assert first.claimed_bound == second.claimed_bound


def test_a_hull_of_another_name_is_refused():
    with pytest.raises(InputError, match="hull=box: expected one of convex, relaxation"):
        FwBnb(hull="box")


@pytest.mark.parametrize("pattern", ["50%;cost=100%", "keep=12;cap=4/4", "keep=0;cap=0/4", "4:4^T"])
def test_sets_of_one_mask_or_without_a_limit(pattern):
    layer = real_block("key1-n16", 4, 12)
    layer = replace(layer, weight=layer.weight if "^T" in pattern else layer.weight[:1])
    part = next(iter(Problem.of(layer, parse_pattern(pattern))))
    _, certificate = judged(FwBnb(), part)
    assert certificate.verdict in (Verdict.PROVED, Verdict.FEASIBLE)
    assert certificate.gap <= 1e-6


def test_a_loss_of_zero_is_proved():
    layer = real_block("key1-n16", 1, 12)
    layer = replace(layer, weight=np.where(np.arange(12) < 8, 0.0, layer.weight))
    part = next(iter(Problem.of(layer, parse_pattern("50%;block=2"))))
    answer, certificate = judged(FwBnb(), part)
    assert certificate.objective == 0.0
    assert certificate.gap == 0.0
    assert answer.stop is Stop.FINISHED


def test_what_the_checker_cannot_bound_stays_claimed(monkeypatch):
    monkeypatch.setattr("maskgap.benchmarks.verify.leaf_minimum.LISTED", 0)
    monkeypatch.setattr("maskgap.benchmarks.verify.leaf_minimum.FEW", 0)
    pattern, kinds = "50%;cap=3/4;cost=48%;forced", set()
    for part, _ in problems(pattern)[:6]:
        answer, certificate = judged(FwBnb(convexify="none", fixing=False), part)
        kinds.add(certificate.bound_kind)
        if certificate.bound_kind is BoundKind.CLAIMED:
            assert certificate.verdict is Verdict.CLOSED
            assert "is not supported" in certificate.reason
        # the relaxation's bounds are those that the checker can derive
        answer = solve_part(FwBnb(hull="relaxation"), part, Limits(Deadline(60.0)), 0)
        again = certify_part(part, answer.mask, None, answer.claimed_bound, answer.proof)
        assert again.verdict is Verdict.PROVED, again
    assert BoundKind.CLAIMED in kinds
