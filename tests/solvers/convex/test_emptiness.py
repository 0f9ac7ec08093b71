"""Sets without points: shown from their rows, or said to be a claim of their oracle."""

import itertools

import numpy as np
import pytest

import maskgap
from maskgap import oracles
from maskgap.solvers.oracles.mixed.emptiness import refutes
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from maskgap.solvers.oracles.mixed.protocol import Vertex


def _convex(x):
    return float((x - 0.3) @ (x - 0.3)), 2.0 * (x - 0.3)


def _sets():
    """Forty sets of whole numbers in a box, with all of their points."""
    points = np.array(list(itertools.product(range(-1, 3), repeat=3)), dtype=float)
    for seed in range(40):
        random = np.random.default_rng(seed)
        A = random.integers(-3, 4, (2, 3)).astype(float)
        low = random.integers(-5, 6, 2) + 0.5
        rows = linear_set(A, (low, low + 1.1), (-1.0, 2.0), 1)
        held = (points @ A.T >= low) & (points @ A.T <= low + 1.1)
        yield HighsSet(rows), points[held.all(axis=1)]


def test_sets_are_shown_to_be_empty_where_they_are_and_nowhere_else():
    empty = 0
    for oracle, points in _sets():
        lower, upper = oracle.space.lower, oracle.space.upper
        assert oracle.shows_empty(lower, upper) == (len(points) == 0)
        empty += len(points) == 0
    assert 5 <= empty <= 35


def test_no_forces_refute_a_set_that_has_a_point():
    random = np.random.default_rng(0)
    for oracle, points in _sets():
        for _ in range(20 if len(points) else 0):
            forces = random.standard_normal(2) * 10.0 ** random.integers(-9, 9, 2)
            assert not refutes(oracle.rows, forces, oracle.space.lower, oracle.space.upper)


def test_forces_are_held_against_the_data_to_the_last_digit():
    """Where x + y is 2 + 2^-51 in the unit box: no point, by one unit in the last place."""
    above = 2.0 * (1.0 + 2.0**-52)
    lower, upper, force = np.zeros(2), np.ones(2), np.ones(1)
    assert refutes(linear_set([[1.0, 1.0]], (above, above), (0, 1), 0), force, lower, upper)
    assert not refutes(linear_set([[1.0, 1.0]], (2.0, 2.0), (0, 1), 0), force, lower, upper)
    free = np.full(2, np.inf)
    assert not refutes(linear_set([[1.0, 1.0]], (above, above), (0, 1), 0), force, lower, free)


EMPTY = {"A": [[2.0, 2.0, 2.0]], "row_lower": 3.0, "row_upper": 3.0, "lower": 0.0, "upper": 4.0}


def test_what_nothing_shows_is_a_claim():
    shown = maskgap.minimise(_convex, oracles.milp(**EMPTY, integrality=1))
    told = maskgap.minimise(_convex, oracles.milp(**EMPTY, integrality=1, solver="scip"))
    ends = (np.zeros(3), np.ones(3))
    called = maskgap.minimise(_convex, oracles.function(lambda d, low, up: None, ends, 1))
    assert (shown.stop, shown.x, shown.bound) == ("infeasible", None, np.inf)
    for result in (told, called):
        assert (result.stop, result.x, result.bound) == ("infeasible (claimed)", None, np.inf)
        assert "nothing shows it" in result.message


@pytest.mark.parametrize("kinds", [0, 1, [1, 0, 0]])
def test_a_false_word_of_a_solver_is_never_more_than_a_claim(kinds, monkeypatch):
    monkeypatch.setattr(HighsSet, "minimise", lambda *given: None)
    oracle = oracles.milp(np.ones((1, 3)), 1.0, 2.0, 0.0, 1.0, kinds)
    assert maskgap.minimise(_convex, oracle).stop == "infeasible (claimed)"


def test_a_false_word_on_one_part_leaves_a_claim(monkeypatch):
    """HiGHS calls the half of the set that has its only points empty."""
    oracle = oracles.milp([[2.0, 2.0, 1.0]], 2.5, 3.5, 0.0, 1.0, [1, 1, 1])
    minimise = HighsSet.minimise

    def lying(self, direction, lower, upper):
        if upper.sum() < 3.0 or lower.sum() > 0.0:
            return None
        found = minimise(self, direction, lower, upper)
        return found and Vertex(np.full(3, 0.5), found.bound)

    monkeypatch.setattr(HighsSet, "minimise", lying)
    result = maskgap.minimise(_convex, oracle)
    assert (result.stop, result.x) == ("infeasible (claimed)", None)


def test_closed_forms_count_for_themselves():
    assert maskgap.minimise(_convex, oracles.box([0, 1, 0], [1, 0, 1], 1)).stop == "infeasible"
    budget = oracles.simplex(3, 2.0)
    assert budget.shows_empty(np.zeros(3), np.full(3, 0.5))
    assert budget.shows_empty(np.full(3, 0.7), np.ones(3))
    assert not budget.shows_empty(np.zeros(3), np.full(3, 0.7))
