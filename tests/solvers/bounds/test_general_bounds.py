"""The semidefinite relaxation of any set of masks, and the minimiser over an oracle's hull."""

import numpy as np
import pytest

from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import conic
from maskgap.solvers.bounds.rows_face import orthonormal_rows, rows_face
from maskgap.solvers.bounds.semidefinite import lifted_cost, solve_sdp
from maskgap.solvers.bounds.tilts import relaxations
from maskgap.solvers.frank_wolfe import hull, vertices
from maskgap.solvers.frank_wolfe import pool as pools
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.frank_wolfe.vertices import Start, Until
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.oracles.make import make_oracle
from maskgap.solvers.oracles.relaxation import RelaxationOracle
from maskgap.solvers.protocol import Deadline, Journal
from tests.helpers.general import SETS, SHAPES, part_of, problems, real_block

LATER = Deadline(1e6)


def _bound(part, function):
    """Least value over the hull of a repaired function."""
    repaired = convexify.repair(part.quad, part.legal, function)
    convex = Quadratic(*convexify.quadratic(part.quad, part.legal, repaired))
    return hull.minimise(convex, part.legal, LATER).bound


@pytest.mark.parametrize("pattern", SETS)
def test_functions_equal_the_loss_on_masks_and_are_convex(pattern):
    for part, _ in problems(pattern)[:4]:
        masks = np.concatenate(list(part.legal.enumerate_pruned())).astype(float)
        losses = np.einsum("ij,ij->i", masks @ part.quad, masks)
        solution = solve_sdp(part.quad, part.legal, LATER)
        function = convexify.repair(part.quad, part.legal, solution.function)
        matrix, linear, constant = convexify.quadratic(part.quad, part.legal, function)
        values = np.einsum("ij,ij->i", masks @ matrix, masks) + masks @ linear + constant
        assert np.abs(values - losses).max() <= 1e-10 * (1 + np.abs(matrix).sum())
        assert np.linalg.eigvalsh(matrix)[0] >= 0.0


@pytest.mark.parametrize("pattern", [p for p in SETS if "^T" not in p])
def test_the_relaxation_is_that_of_a_general_solver(pattern):
    for part, _ in problems(pattern)[:2]:
        solution = solve_sdp(part.quad, part.legal, LATER)
        dual = conic.sdp_dual(part.quad, part.legal, "CLARABEL", LATER, Journal())
        ours, theirs = _bound(part, solution.function), _bound(part, dual.function)
        assert solution.converged
        assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-4)


def _relaxed_bound(part, function):
    """The same over the linear relaxation of the rows."""
    repaired = convexify.repair(part.quad, part.legal, function)
    convex = Quadratic(*convexify.quadratic(part.quad, part.legal, repaired))
    oracle, state = RelaxationOracle(part.legal, LATER), np.zeros(part.n, np.int8)
    found = vertices.minimise(
        convex, state, oracle, Start(Pool(part.n), ActiveSet.empty()), Until(LATER)
    )
    return found.bound


@pytest.mark.parametrize("pattern", SHAPES)
def test_relaxations_bound_every_mask_and_more_than_the_plain_one(pattern):
    for part, least in problems(pattern)[:4]:
        (solution,) = relaxations(part.quad, part.legal, LATER)
        bound = _relaxed_bound(part, solution.function)
        assert bound <= _bound(part, solution.function) + 1e-6 * least
        assert _bound(part, solution.function) <= least * (1 + 1e-9)
        for weaker in (
            convexify.plain(part.legal),
            solve_sdp(part.quad, part.legal, LATER).function,
        ):
            assert bound >= _relaxed_bound(part, weaker) - 1e-5 * least


def test_inequality_rows_lift_the_bound():
    layer = real_block("value4-n48", 1, 48)
    part = next(iter(Problem.of(layer, parse_pattern("50%;cost=45%"))))
    without = _bound(part, solve_sdp(part.quad, part.legal, LATER).function)
    (solution,) = relaxations(part.quad, part.legal, LATER)
    assert _bound(part, solution.function) > 1.02 * without


def test_a_face_counts_tied_and_forced_columns_once():
    part = part_of(1, "50%;block=2")
    face = rows_face(*equality_rows(part.legal))
    assert face.kept.tolist() == [0, 1, 3, 5, 7, 9, 11]
    part = problems("50%;forced")[2][0]
    forced = np.flatnonzero(part.legal.linear_rows().state != FREE)
    assert len(forced)
    face = rows_face(*equality_rows(part.legal))
    assert set(face.kept.tolist()).isdisjoint((forced + 1).tolist())
    assert face.kept[0] == 0


@pytest.mark.parametrize("pattern", SETS)
def test_masks_lie_on_the_face(pattern):
    part = problems(pattern)[1][0]
    rows, budget = equality_rows(part.legal)
    face = rows_face(rows, budget)
    assert np.allclose(face.basis.T @ face.basis, np.eye(face.order), atol=1e-12)
    cost = lifted_cost(part.quad)
    for z in next(part.legal.enumerate_pruned())[:20].astype(float):
        assert np.allclose(rows @ z, budget)
        lifted = np.concatenate([[1.0], 2.0 * z - 1.0])
        kept = lifted[face.kept]
        assert np.allclose(face.spread @ kept, lifted)
        assert np.allclose(face.basis @ (face.basis.T @ kept), kept, atol=1e-10)
        assert kept @ face.reduced(cost) @ kept == pytest.approx(z @ part.quad @ z, rel=1e-9)
    normal, made_of = orthonormal_rows(rows)
    assert np.allclose(made_of @ rows, normal.T, atol=1e-10)


# ---- the minimiser


@pytest.mark.parametrize("pattern", SETS)
@pytest.mark.parametrize("relaxed", [False, True])
def test_the_minimiser_closes_its_gap_from_any_start(pattern, relaxed):
    part, least = problems(pattern)[2]
    function = convexify.repair(part.quad, part.legal, convexify.plain(part.legal))
    convex = Quadratic(*convexify.quadratic(part.quad, part.legal, function))
    oracle = (
        RelaxationOracle(part.legal, LATER)
        if relaxed
        else make_oracle("closed-form", part.legal, LATER)
    )
    state, pool = np.zeros(part.n, np.int8), Pool(part.n)
    found = vertices.minimise(convex, state, oracle, Start(pool, ActiveSet.empty()), Until(LATER))
    assert found.bound <= least
    assert found.value - found.bound <= 1e-6 * max(abs(found.value), least)
    assert (found.minorant.witness == found.x.astype(np.float32)).all()
    stored, numbers = pool.fitting(state)
    assert np.allclose(found.active.on(numbers) @ stored, found.x, atol=1e-6)
    again = vertices.minimise(convex, state, oracle, Start(pool, found.active), Until(LATER))
    assert again.calls <= 6
    assert again.bound == pytest.approx(found.bound, rel=1e-5, abs=1e-6 * least)


def test_a_pool_forgets_the_oldest_and_keeps_numbers(monkeypatch):
    monkeypatch.setattr(pools, "MOST_STORED", 80)
    pool, rng = Pool(12), np.random.default_rng(0)
    rows = np.unique(rng.integers(0, 2, (500, 12)), axis=0).astype(float)
    rng.shuffle(rows)
    for number, row in enumerate(rows):
        assert pool.add(row) == (number, True)
        assert pool.add(row) == (number, False)
    stored, numbers = pool.fitting(np.zeros(12, np.int8))
    assert len(stored) <= 80
    assert (stored == rows[numbers]).all()
    state = np.zeros(12, np.int8)
    state[:2] = 1, 2
    stored, numbers = pool.fitting(state)
    assert (stored[:, 0] == 1).all()
    assert (stored[:, 1] == 0).all()
    active = ActiveSet(np.array([0, int(numbers[0])]), np.array([0.75, 0.25]))  # 0 is forgotten
    weight = active.on(numbers)
    assert weight[0] == weight.sum() == 1.0


def test_the_oracle_of_the_relaxation_is_a_bound():
    rng = np.random.default_rng(1)
    for pattern in SETS:
        part = problems(pattern)[0][0]
        masks = np.concatenate(list(part.legal.enumerate_pruned())).astype(float)
        oracle, vertex = RelaxationOracle(part.legal, LATER), np.empty(part.n)
        for _ in range(20):
            gradient = rng.normal(size=part.n) * 10.0 ** rng.uniform(-6, 6)
            state = rng.choice([0, 0, 0, 1, 2], part.n).astype(np.int8)
            left = masks[
                (masks[:, state == 1] > 0).all(axis=1) & (masks[:, state == 2] < 1).all(axis=1)
            ]
            least = (left @ gradient).min(initial=np.inf)
            bound = oracle.minimise(gradient, state, vertex)
            size = np.abs(gradient).sum()
            assert bound <= least + 1e-12 * size
            if part.legal.integral and np.isfinite(least):
                assert bound >= least - 1e-9 * size


def test_an_expired_deadline_still_gives_a_bound():
    part, least = problems("50%;cost=45%")[0]
    function = convexify.repair(part.quad, part.legal, convexify.plain(part.legal))
    convex = Quadratic(*convexify.quadratic(part.quad, part.legal, function))
    point = hull.minimise(convex, part.legal, Deadline(0.0))
    assert -np.inf < point.bound <= least
    margin = convexify.rounding_margin(part.quad, part.legal, function)
    assert hull.stated_bound(convex, part.legal, point.x, margin) <= least
