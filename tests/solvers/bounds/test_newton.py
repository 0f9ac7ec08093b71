"""The system of an interior-point step: what it answers, in either precision."""

import numpy as np
import pytest

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import newton
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.interior import advance
from maskgap.solvers.bounds.iterate import centre, inverse
from maskgap.solvers.bounds.newton import Factored, Newton
from maskgap.solvers.bounds.semidefinite import (
    Effort,
    lifted_cost,
    ready,
    solve_with_triangles,
    with_cuts,
)
from maskgap.solvers.bounds.triangles import separate
from maskgap.solvers.protocol import Deadline
from tests.helpers.tiny import random_layer


def part_of(seed, pattern="50%", n=24):
    return Problem.of(random_layer(seed, n), parse_pattern(pattern)).part_of(0)


def iterate_with_cuts(seed):
    part = part_of(seed)
    at = centre(Face(part.groups), lifted_cost(part.quad))
    while not ready(at):
        at = advance(at)
    fuller = with_cuts(at, separate(at.lifted, at.cuts, 60, 0.01))
    assert len(fuller.cuts) > 20
    return advance(fuller)


def missed_by(at, direction, centre_at):
    """What R S = centre I and the constraints miss to first order, at most."""
    inverse = np.linalg.inv(at.slack)
    product = inverse @ direction.slack @ at.primal
    aimed = centre_at * inverse - at.primal - 0.5 * (product + product.T)
    lifted = at.face.lift(at.primal + direction.primal)
    forms = at.cuts.forms(lifted) - 1.0 - at.excess - direction.excess
    return (
        np.abs(aimed - direction.primal).max(),
        max(np.abs(lifted.diagonal() - 1.0).max(), np.abs(forms).max()),
    )


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_direction_meets_what_it_aims_at(seed, single, monkeypatch):
    at = iterate_with_cuts(seed)
    monkeypatch.setattr(newton, "SINGLE_ORDER", 1 if single else 10**6)
    monkeypatch.setattr(newton, "ROUGHLY", newton.REFINED)
    lower, _ = at.factors()
    system = Newton.at(at, lower)
    assert system.factored.exact == (not single)
    direction = system.direction(0.5 * at.mu, None, None)
    duality, constraints = missed_by(at, direction, 0.5 * at.mu)
    assert duality < 1e-9
    right = 1.0 - 0.5 * at.mu * system.pull
    right[len(at.y) :] += 0.5 * at.mu / at.weight
    assert constraints < (newton.REFINED if single else 1e-7) * np.abs(right).max()
    # dual feasibility is kept whatever the precision
    np.testing.assert_allclose(
        direction.slack, -at.weighted(direction.y, direction.weight), atol=1e-12
    )


@pytest.mark.parametrize("pattern", ["50%", "keep=7", "2:4"])
def test_bounds_in_either_precision_agree(pattern, monkeypatch):
    part, effort = part_of(5, pattern), Effort(rounds=6, batch=50, least=0.02, tolerance=1e-5)
    values = []
    for order in (1, 10**6):
        monkeypatch.setattr(newton, "SINGLE_ORDER", order)
        found = solve_with_triangles(part.quad, part.groups, Deadline(60), effort)[-1]
        assert len(found.function.triangles)
        values.append(found.bound)
    assert values[0] == pytest.approx(values[1], rel=2e-5)


def test_a_system_that_float32_cannot_factor_is_factored_in_float64(monkeypatch):
    at = iterate_with_cuts(1)
    monkeypatch.setattr(newton, "SINGLE_ORDER", 1)
    monkeypatch.setattr(newton, "SINGLE_PIVOT", -0.9)
    lower, _ = at.factors()
    system = Newton.at(at, lower)
    assert system.factored.exact


def test_corrections_that_do_not_end_soon_are_given_up_for_float64(monkeypatch):
    at = iterate_with_cuts(2)
    monkeypatch.setattr(newton, "SINGLE_ORDER", 1)
    monkeypatch.setattr(newton, "SINGLE_PIVOT", 0.5)
    monkeypatch.setattr(newton, "MOST_CORRECTIONS", 2)
    lower, _ = at.factors()
    system = Newton.at(at, lower)
    assert not system.factored.exact
    first = system.direction(0.0, None, None)
    bent = first.image @ first.primal
    step = system.direction(0.1 * at.mu, 0.5 * (bent + bent.T), first.excess * first.weight)
    assert system.factored.exact
    monkeypatch.setattr(newton, "SINGLE_ORDER", 10**6)
    other = Newton.at(at, lower).direction(
        0.1 * at.mu, 0.5 * (bent + bent.T), first.excess * first.weight
    )
    np.testing.assert_allclose(step.y, other.y, rtol=1e-6, atol=1e-9)


def test_no_system_where_float64_cannot_factor_it_either():
    at = iterate_with_cuts(0)
    spread = at.face.lift(np.linalg.inv(at.slack))
    assert Factored.of(at, -spread, single=False) is None


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_inverse_is_that_of_the_product_of_the_factor_and_reads_its_lower_part(order):
    rng = np.random.default_rng(4)
    lower = np.asarray(np.tril(rng.normal(size=(9, 9))) + 3.0 * np.eye(9), order=order)
    above = lower + np.triu(np.ones((9, 9)), 1)
    expected = np.linalg.inv(lower @ lower.T)
    for factor in (lower, np.asarray(above, order=order)):
        before = factor.copy()
        found = inverse(factor)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        assert (found == found.T).all()
        assert (factor == before).all()


def test_a_singular_factor_has_no_inverse():
    lower = np.eye(4)
    lower[2, 2] = 0.0
    assert inverse(lower) is None
