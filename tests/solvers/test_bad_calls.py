"""Calls of `maskgap.minimise`, `maskgap.oracles` and `maskgap.objectives` that cannot be meant.

Each is one clear line that begins with the name of what is wrong.
"""

import numpy as np
import pytest
import scipy.sparse

import maskgap
from maskgap import objectives, oracles

NAN, INF = float("nan"), float("inf")
EYE = np.eye(2)
ENDS = (np.zeros(2), np.ones(2))


def _milp(**other):
    given = {"A": [[1.0, 1.0]], "row_lower": 0.0, "row_upper": 1.0, "lower": 0.0, "upper": 1.0}
    return oracles.milp(**{**given, **other})


def _convex(x):
    return float(x @ x), 2.0 * x


def _minimise(f=_convex, oracle=None, **options):
    return maskgap.minimise(f, oracles.cardinality(2, 1) if oracle is None else oracle, **options)


def _told(answer):
    return _minimise(lambda x: answer)


def _called(answer, violation=None):
    return _minimise(oracle=oracles.function(lambda d, low, up: answer, ENDS, 1, violation))


class _Oracle:
    """A set whose answers are told."""

    space = oracles.cardinality(2, 1).space

    def __init__(self, answer):
        self.answer = answer

    def minimise(self, direction, lower, upper):
        return self.answer

    def violation(self, point):
        return 0.0

    def expire_with(self, remaining):
        pass


class _Smooth:
    """An objective of two variables that states what it is told to."""

    n, diagonal = 2, None

    def __init__(self, model=None, diagonal=None):
        self.told, self.diagonal = model, diagonal

    def __call__(self, x):
        return _convex(x - 0.4)

    def model(self, x):
        return self.told


MINIMISE = {
    "f": lambda: _minimise(f=3.0),
    "f has 3 variables": lambda: _minimise(f=objectives.quadratic(np.eye(3), np.zeros(3))),
    "f: expected x": lambda: _told(1.0),
    "f: expected x -> ": lambda: _told(None),
    "f: expected x -> (value": lambda: _told((1.0, np.zeros(2), EYE)),
    "f: its value": lambda: _told((1j, np.zeros(2))),
    "f: its value must hold real": lambda: _told({"value": 1.0, "gradient": 0.0}),
    "f: its value has shape": lambda: _told((np.zeros(2), np.zeros(2))),
    "f: its gradient": lambda: _told((1.0, None)),
    "f: its gradient must hold": lambda: _told((1.0, np.zeros(2, complex))),
    "f: its gradient has shape (3,)": lambda: _told((1.0, np.zeros(3))),
    "f: its gradient has shape ()": lambda: _told((1.0, 0.0)),
    "f.model": lambda: _minimise(f=_Smooth(model=EYE)),
    "f.diagonal: expected": lambda: _minimise(f=_Smooth(diagonal=[1.0, -1.0])),
    "f.diagonal: expected (2,)": lambda: _minimise(f=_Smooth(diagonal=np.ones(3))),
    "f.diagonal: a number is NaN": lambda: _minimise(f=_Smooth(diagonal=[NAN, 1.0])),
    "oracle": lambda: _minimise(oracle=np.eye(2)),
    "oracle: expected one of": lambda: maskgap.minimise(_convex, None),
    "oracle: expected a Vertex": lambda: _minimise(oracle=_Oracle(np.zeros(2))),
    "oracle: expected a Vertex of (2,)": lambda: _minimise(
        oracle=_Oracle(oracles.Vertex(np.zeros(3), 0.0))
    ),
    "oracle: expected a Vertex of (2,) finite": lambda: _minimise(
        oracle=_Oracle(oracles.Vertex(np.zeros(2), NAN))
    ),
    "oracle: expected a Vertex of (2,) finite,": lambda: _minimise(
        oracle=_Oracle(oracles.Vertex(np.full(2, NAN), 0.0))
    ),
    "gap: expected": lambda: _minimise(gap=-1e-6),
    "gap: expected a number": lambda: _minimise(gap=NAN),
    "gap: expected a number from 0": lambda: _minimise(gap=INF),
    "gap must": lambda: _minimise(gap="small"),
    "gap: expected a number from 0 on, not": lambda: _minimise(gap=[1e-6, 1e-6]),
    "absolute_gap": lambda: _minimise(absolute_gap=-1.0),
    "feasibility": lambda: _minimise(feasibility=NAN),
    "feasibility: expected": lambda: _minimise(feasibility=True),
    "time_limit": lambda: _minimise(time_limit=0.0),
    "time_limit: expected seconds": lambda: _minimise(time_limit=-3),
    "time_limit: expected a number": lambda: _minimise(time_limit=NAN),
    "time_limit must": lambda: _minimise(time_limit="a minute"),
    "threads": lambda: _minimise(threads=0),
    "threads: expected a whole": lambda: _minimise(threads=1.5),
    "threads: expected a whole number": lambda: _minimise(threads=True),
    "node_limit": lambda: _minimise(node_limit=-1),
    "node_limit: expected a whole": lambda: _minimise(node_limit=2.5),
    "start": lambda: _minimise(start=np.zeros(3)),
    "start: a number is NaN": lambda: _minimise(start=[NAN, 0.0]),
    "start must": lambda: _minimise(start=[1j, 0.0]),
    "branching": lambda: _minimise(branching="colour"),
    "branching: no rule": lambda: _minimise(branching=np.zeros(2)),
    "log": lambda: _minimise(log="yes"),
    "callback": lambda: _minimise(callback=3),
    "no option is called 'nodelimit'; ": lambda: _minimise(nodelimit=3),
}

ORACLES = {
    "A must hold real numbers": lambda: _milp(A="rows"),
    "A must hold real": lambda: _milp(A=[[1j, 1.0]]),
    "A must hold": lambda: _milp(A=scipy.sparse.csr_array(np.array([[1j, 1.0]]))),
    "A: cannot be made an array": lambda: _milp(A=[[1.0, 1.0], [1.0]]),
    "A: a number is NaN": lambda: _milp(A=[[NAN, 1.0]]),
    "A: a number is not finite": lambda: _milp(A=[[INF, 1.0]]),
    "A: expected a matrix": lambda: _milp(A=np.ones((1, 2, 2))),
    "A: expected a matrix with one": lambda: _milp(A=np.ones((1, 0))),
    "A: entries": lambda: _milp(A=[[1e-12, 1.0]]),
    "A: entries of sizes": lambda: _milp(A=[[1e16, 1.0]]),
    "row_lower": lambda: _milp(row_lower=[0.0, 0.0]),
    "row_lower: a number is NaN": lambda: _milp(row_lower=NAN),
    "row_lower, row_upper": lambda: _milp(row_lower=INF, row_upper=INF),
    "row_upper must": lambda: _milp(row_upper="3"),
    "lower: expected (2,)": lambda: _milp(lower=np.zeros(3)),
    "lower, upper": lambda: _milp(lower=INF, upper=INF),
    "lower: a number is NaN": lambda: _milp(lower=NAN),
    "upper": lambda: _milp(upper=[[1.0, 1.0]]),
    "integrality": lambda: _milp(integrality=2),
    "integrality: a number is NaN": lambda: _milp(integrality=[NAN, 1.0]),
    "no solver": lambda: _milp(solver="simplex"),
    "path": lambda: oracles.model_file(3),
    "HiGHS model": lambda: oracles.highs(3),
    "SCIP": lambda: oracles.scip("model"),
    "upper: expected (3,)": lambda: oracles.box(np.zeros(3), np.ones(2)),
    "lower must": lambda: oracles.box("a", 1.0),
    "lower: a set needs": lambda: oracles.box([], []),
    "n": lambda: oracles.simplex(-1),
    "n: expected a whole": lambda: oracles.simplex(2.0),
    "total": lambda: oracles.simplex(2, -1.0),
    "total: expected": lambda: oracles.simplex(2, NAN),
    "total: expected a": lambda: oracles.simplex(2, INF),
    "integrality: expected 0": lambda: oracles.simplex(2, 1.0, 3),
    "k: 3 ones of 2": lambda: oracles.hypersimplex(2, 3),
    "k": lambda: oracles.hypersimplex(2, 1.5),
    "k: expected a whole number from 0": lambda: oracles.cardinality(2, -1),
    "weights": lambda: oracles.knapsack([[1.0, 2.0]], 1.0),
    "weights: a number is NaN": lambda: oracles.knapsack([NAN, 2.0], 1.0),
    "capacity": lambda: oracles.knapsack([1.0, 2.0], NAN),
    "order": lambda: oracles.birkhoff(0),
    "order: expected a whole": lambda: oracles.birkhoff(2.5),
    "call": lambda: oracles.function(None, ENDS),
    "violation: expected a callable": lambda: oracles.function(_convex, ENDS, 1, 3),
    "bounds": lambda: oracles.function(_convex, 3),
    "bounds: expected (lower": lambda: oracles.function(_convex, (0.0, 1.0, 2.0)),
    "oracle: its point must": lambda: _called("here"),
    "oracle: its point must hold": lambda: _called(np.zeros(2, complex)),
    "oracle: its point: a number": lambda: _called(np.array([NAN, 0.0])),
    "oracle: expected a point (2,)": lambda: _called(np.zeros(3)),
    "oracle: expected a point, ": lambda: _called((np.zeros(2), 0.0, 0.0)),
    "oracle: its point has fractions": lambda: _called(np.array([0.5, 0.0])),
    "oracle: its point leaves": lambda: _called(np.array([2.0, 0.0])),
    "oracle: its bound": lambda: _called((np.zeros(2), NAN)),
    "oracle: its bound must": lambda: _called((np.zeros(2), "low")),
    "violation: what": lambda: _called(np.zeros(2), lambda x: NAN),
    "violation: what it returns must": lambda: _called(np.zeros(2), lambda x: None),
}

OBJECTIVES = {
    "P: expected (2, 2)": lambda: objectives.quadratic(np.eye(3), np.zeros(2)),
    "P: expected 2 dimensions": lambda: objectives.quadratic(np.ones(2), np.zeros(2)),
    "P is not positive semidefinite": lambda: objectives.quadratic(-EYE, np.zeros(2)),
    "P must": lambda: objectives.quadratic(1j * EYE, np.zeros(2)),
    "P: a number is not finite": lambda: objectives.quadratic(INF * np.ones((2, 2)), np.zeros(2)),
    "q": lambda: objectives.quadratic(EYE, NAN * np.ones(2)),
    "constant": lambda: objectives.quadratic(EYE, np.zeros(2), NAN),
    "constant: expected": lambda: objectives.quadratic(EYE, np.zeros(2), [1.0]),
    "diagonal: expected": lambda: objectives.quadratic(EYE, np.zeros(2), diagonal=[-1.0, 0.0]),
    "diagonal": lambda: objectives.quadratic(EYE, np.zeros(2), diagonal=np.zeros(3)),
    "P - Diag": lambda: objectives.quadratic(EYE, np.zeros(2), diagonal=[2.0, 0.0]),
    "A has 2 rows": lambda: objectives.least_squares(EYE, np.zeros(3)),
    "A must": lambda: objectives.least_squares("A", np.zeros(2)),
    "A, y": lambda: objectives.least_squares(1e200 * EYE, np.zeros(2)),
    "y": lambda: objectives.least_squares(EYE, [NAN, 0.0]),
    "ridge": lambda: objectives.least_squares(EYE, np.zeros(2), ridge=-1.0),
    "ridge: expected": lambda: objectives.logistic(EYE, [1, 0], ridge=np.zeros(3)),
    "linear": lambda: objectives.poisson(EYE, [1, 0], linear=NAN),
    "linear must": lambda: objectives.poisson(EYE, [1, 0], linear="1"),
    "labels": lambda: objectives.logistic(EYE, [1, 2]),
    "labels: expected": lambda: objectives.logistic(EYE, [1, 0, 1]),
    "counts": lambda: objectives.poisson(EYE, [-1, 0]),
    "prior": lambda: objectives.d_optimal(EYE, np.eye(3)),
    "prior: a number": lambda: objectives.a_optimal(EYE, NAN * EYE),
    "function": lambda: objectives.torch(3),
    "function: expected": lambda: objectives.jax(EYE),
}


@pytest.mark.parametrize(
    ("words", "call"), [*MINIMISE.items(), *ORACLES.items(), *OBJECTIVES.items()]
)
def test_a_bad_call_is_one_line_that_names_what_is_wrong(words, call):
    with pytest.raises(maskgap.InputError) as caught:
        call()
    said = str(caught.value)
    assert said.startswith(words)
    assert "\n" not in said
    assert len(said) <= 200


def test_a_mistyped_option_is_met_by_what_may_have_been_meant():
    with pytest.raises(maskgap.InputError, match="did you mean node_limit"):
        _minimise(nodelimit=3)


def test_the_rounding_of_a_sum_does_not_empty_a_budget():
    fixed = np.array([0.1, 0.2, 0.3])  # their sum is above 0.6 by rounding
    found = oracles.simplex(3, 0.6).minimise(np.ones(3), fixed, fixed)
    assert found is not None
    assert found.point.tolist() == fixed.tolist()


def test_a_sparse_matrix_of_the_user_is_left_as_it_is():
    given = scipy.sparse.csr_array(
        (np.array([1.0, 0.0, 2.0]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2)
    )
    before = given.data.copy(), given.indices.copy()
    _milp(A=given)
    assert given.data.tolist() == before[0].tolist()
    assert given.indices.tolist() == before[1].tolist()
