"""The search by pivots: what its first dive finds and closes counts; interrupts lose no node."""

from math import inf

import numpy as np
import pytest

from maskgap.oracles import milp
from maskgap.solvers.convex.formulation import formulate
from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.pivoting import engine
from maskgap.solvers.convex.pivoting.engine import PivotingSearch
from maskgap.solvers.convex.pivoting.room import room_of
from maskgap.solvers.convex.rules import Rules
from maskgap.solvers.kernels.cache import clock
from maskgap.solvers.objectives.convex.quadratic import quadratic
from maskgap.solvers.oracles.mixed.protocol import CountedSet


def search_of(seed):
    """A search of a small definite quadratic over integers and one row."""
    draw = np.random.default_rng(seed)
    n = 5
    B = draw.integers(-2, 3, (n + 2, n)).astype(float)
    row = draw.integers(1, 3, (1, n)).astype(float)
    oracle = milp(row, [-inf], [6.0], np.full(n, -3.0), np.full(n, 3.0), np.ones(n, int))
    f = quadratic(B.T @ B + np.eye(n), draw.integers(-9, 10, n).astype(float))
    seen = formulate(f, oracle)
    incumbent = Incumbent(seen.function, seen.oracle, 1e-6, (1e-6, 0.0))
    rules = Rules(clock() + 60.0, inf, "hybrid", 1, lambda: None)
    return PivotingSearch(
        seen.function, CountedSet(seen.oracle), incumbent, rules, seen.oracle.rows
    )


def test_what_the_first_dive_finds_and_closes_counts(monkeypatch):
    """Without it, a point better than all that is left open would be lost with its part."""
    monkeypatch.setattr(PivotingSearch, "_mend", lambda self, room: True)  # no other points
    seen = 0
    for seed in range(20):
        search = search_of(seed)
        room = room_of(len(search._linear), len(search._K))
        first = search._dive(search._heap[0][2], room, 1)
        if not first.left or first.point is None:
            continue
        seen += 1
        search._begin(room)
        assert search.incumbent.value <= first.value + 1e-9
        assert search.least_leaf <= first.least
        assert all(entry[0] > -inf for entry in search._heap)
    assert seen >= 5


@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupt_while_results_are_gathered_loses_no_node(after, monkeypatch):
    done = search_of(3)
    done.run()
    monkeypatch.setattr(engine, "DIVE", 2)
    search = search_of(3)
    gather, calls = search._gather, [0]

    def interrupted(found):
        calls[0] += 1
        if calls[0] > after:
            raise KeyboardInterrupt
        gather(found)

    monkeypatch.setattr(search, "_gather", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert search.bound() <= done.incumbent.value
    assert search.open_nodes > 0
