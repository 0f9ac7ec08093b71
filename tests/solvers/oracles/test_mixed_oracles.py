"""Oracles of mixed-integer sets against HiGHS on their rows, and sets that come from models."""

import numpy as np
import pytest
from pyscipopt import Model

import maskgap
from maskgap import oracles
from maskgap.solvers.mip import highs
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import linear_set


def _linear(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 6))
    A = random.integers(-3, 4, (2, n)).astype(float)
    sides = [[-np.inf, random.integers(-2, 3)], [random.integers(0, 3), 4.0]]
    kinds = random.integers(0, 2, n)
    return (A, *sides, np.full(n, -2.0), np.full(n, 3.0), kinds), random.standard_normal(n)


@pytest.mark.parametrize("seed", range(20))
def test_scip_and_highs_agree(seed):
    rows, direction = _linear(seed)
    bounds = np.full(len(direction), -1.0), np.full(len(direction), 2.0)
    pair = [oracles.milp(*rows, solver=name) for name in ("highs", "scip")]
    for low, high in (bounds, rows[3:5], bounds):  # and warm
        found = [oracle.minimise(direction, low, high) for oracle in pair]
        assert (found[0] is None) == (found[1] is None)
        if found[0] is not None:
            for vertex, oracle in zip(found, pair, strict=True):
                assert oracle.violation(vertex.point) <= 1e-6
                assert vertex.bound <= direction @ vertex.point + 1e-9
            assert found[0].bound == pytest.approx(found[1].bound, abs=1e-5)


def test_permutations():
    rows = np.vstack([np.kron(np.eye(3), np.ones(3)), np.kron(np.ones(3), np.eye(3))])
    native = HighsSet(linear_set(rows, (1.0, 1.0), (0.0, 1.0), 1))
    closed, random = oracles.birkhoff(3), np.random.default_rng(0)
    for _ in range(40):
        low, high = np.zeros(9), np.ones(9)
        fixed = random.choice(9, 2, replace=False)
        low[fixed] = high[fixed] = random.integers(0, 2, 2)
        direction = random.standard_normal(9)
        mine, theirs = (o.minimise(direction, low, high) for o in (closed, native))
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert mine.bound == pytest.approx(theirs.bound, abs=1e-7)
            assert closed.violation(mine.point) == 0.0
            assert (mine.point >= low).all()
            assert (mine.point <= high).all()


def test_closed_forms_hold_what_their_names_say():
    direction = np.array([-3.0, 2.0, -1.0, 0.5])
    for oracle, point in (
        (oracles.box(-1.0, [1.0, 1.0, 2.0, 2.0]), [1, -1, 2, -1]),
        (oracles.simplex(4), [1, 0, 0, 0]),
        (oracles.simplex(4, 3, 1), [3, 0, 0, 0]),
        (oracles.hypersimplex(4, 3), [1, 0, 1, 1]),
        (oracles.cardinality(4, 3), [1, 0, 1, 0]),
        (oracles.knapsack([2.0, 1.0, 2.0, 1.0], 3.0), [1, 0, 0, 0]),
    ):
        found = oracle.minimise(direction, oracle.space.lower, oracle.space.upper)
        assert found.point == pytest.approx(point)
        assert oracle.violation(found.point) <= 1e-9


def test_a_box_has_no_whole_and_continuous_variables_at_once():
    with pytest.raises(maskgap.InputError, match="not both"):
        oracles.box([0.0, 0.0], 1.0, [0, 1])


def test_a_callable_is_a_set():
    closed = oracles.cardinality(4, 2)

    def call(direction, lower, upper):
        found = closed.minimise(direction, lower, upper)
        return None if found is None else found.point

    oracle = oracles.function(call, (np.zeros(4), np.ones(4)), 1)
    aim = np.array([0.9, 0.8, 0.7, 0.1])
    f = lambda x: (float((x - aim) @ (x - aim)), 2 * (x - aim))  # noqa: E731
    result = maskgap.minimise(f, oracle)
    assert result.x.tolist() == [1, 1, 0, 0]
    assert result.gap <= 1e-6
    assert oracle.violation(np.ones(4)) == np.inf


def test_models_and_files(tmp_path):
    rows, direction = _linear(3)
    linear = linear_set(rows[0], rows[1:3], rows[3:5], rows[5])
    direction = np.ones_like(direction)  # an LP file has its own order of variables
    expected = HighsSet(linear).minimise(direction, *rows[3:5]).bound
    built = HighsSet(linear)._whole
    assert oracles.highs(built).minimise(direction, *rows[3:5]).bound == pytest.approx(expected)
    for name in ("set.mps", "set.lp"):
        built.writeModel(str(tmp_path / name))
        for solver in ("highs", "scip"):
            oracle = oracles.model_file(tmp_path / name, solver)
            assert oracle.space.integral.sum() == linear.space.integral.sum()
            found = oracle.minimise(direction, oracle.space.lower, oracle.space.upper)
            assert found.bound == pytest.approx(expected, abs=1e-5)
    with pytest.raises(maskgap.InputError, match="no such file"):
        oracles.model_file(tmp_path / "none.lp")
    (tmp_path / "bad.lp").write_text("this is no model")
    with pytest.raises(maskgap.InputError, match=r"bad\.lp"):
        oracles.model_file(tmp_path / "bad.lp")
    assert highs.FEASIBILITY == 1e-9


def test_a_scip_model_with_a_curved_constraint():
    model = Model()
    x, y = model.addVar("x", vtype="I", lb=-3, ub=3), model.addVar("y", lb=-3, ub=3)
    model.addCons(x * x + y * y <= 4.5)
    oracle = oracles.scip(model)
    result = maskgap.minimise(lambda v: (float(v.sum()), np.ones(2)), oracle, gap=1e-5)
    assert result.objective == pytest.approx(-1 - np.sqrt(3.5), abs=1e-4)
    assert result.gap <= 1e-5
    assert oracle.violation(np.array([2.0, 1.0])) == np.inf
