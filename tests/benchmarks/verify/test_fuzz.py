"""Seeded problems of nasty families: what is certified holds in exact arithmetic."""

from collections import Counter

import numpy as np
import pytest

from maskgap.solvers import registry
from tests.fuzz.families import FAMILIES
from tests.fuzz.problems import KINDS, draw
from tests.fuzz.refits import run_refit
from tests.fuzz.runs import SHARED, SUBTREES, WEIGHTS, Tally, run_problem, solver_of

CHUNK = 100


@pytest.mark.parametrize("first", range(0, 2000, CHUNK))
def test_nothing_false_is_certified(first):
    faults, counts = [], Counter()
    for seed in range(first, first + CHUNK):
        tally = run_problem(seed)
        faults += tally.faults
        counts.update(tally.counts)
    assert not faults, "\n".join(faults)
    assert counts["second"] > CHUNK / 3
    assert counts["proofs rejected"] == 0


@pytest.mark.parametrize("first", range(0, 1500, CHUNK))
def test_nothing_false_is_certified_where_weights_are_refitted(first):
    tally = Tally()
    for seed in range(first, first + CHUNK):
        tally.add(run_refit(seed))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.counts["honest, accepted"] > CHUNK / 4
    assert tally.counts["honest, refused"] < CHUNK / 20
    assert tally.counts["altered, accepted"] > CHUNK / 4
    assert tally.counts["altered, refused"] > CHUNK / 2


def test_every_family_kind_and_solver_is_drawn():
    drawn = [draw(seed) for seed in range(3000)]
    problems = [one for one in drawn if one.problem is not None]
    assert len(problems) > 0.8 * len(drawn)
    assert {one.family for one in problems} == set(FAMILIES)
    assert {one.kind for one in problems} == set(KINDS)
    solvers = {solver_of(np.random.default_rng([21, one.seed]), one.problem)[0] for one in problems}
    assert solvers == {
        name for name in WEIGHTS if name in (SHARED, SUBTREES) or not registry.SPECS[name].missing
    }
    assert {*registry.SPECS} - solvers <= {"gurobi"}
