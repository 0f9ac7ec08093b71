"""SHOT, SCIP and Gurobi on small programs, against every choice of the whole variables."""

import itertools
from importlib import import_module

import numpy as np
import pytest
import scipy.optimize

from maskgap.instances.errors import Refused
from maskgap.instances.program import MixedSet, Program, QuadraticForm
from maskgap.instances.sources.published.make import instance
from maskgap.solvers.native.programs.protocol import ProgramLimits

PEERS = ("shot", "scip_cuts", "gurobi")


def _peer(name):
    pytest.importorskip({"shot": "SHOTpy", "gurobi": "gurobipy"}.get(name, "pyscipopt"))
    return getattr(import_module(f"maskgap.solvers.native.programs.{name}"), name)


def _program(seed):
    """Two whole variables, two that are not; a budget row and an equation."""
    random = np.random.default_rng(seed)
    factor = random.standard_normal((5, 4))
    space = MixedSet(
        np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]),
        np.array([-np.inf, 1.5]),
        np.array([3.0, 1.5]),
        np.array([-2.0, -1.0, -3.0, -4.0]),
        np.array([2.0, 2.0, 3.0, 4.0]),
        np.array([True, True, False, False]),
    )
    linear = 3.0 * random.standard_normal(4)
    form = QuadraticForm(factor.T @ factor, linear, float(random.random()), np.zeros(4))
    return Program(form, space)


def _least(program):
    """By all whole values; x_3 follows from the equation, x_2 from a parabola."""
    best, f = np.inf, program.objective
    for a, b in itertools.product(range(-2, 3), range(-1, 3)):
        high = min(3.0, 3.0 - a - b)
        if high < -3.0:
            continue

        def at(c, a=a, b=b):
            return f(np.array([a, b, c, 1.5 - b]))[0]

        best = min(best, scipy.optimize.minimize_scalar(
            at, bounds=(-3.0, high), method="bounded", options={"xatol": 1e-12}
        ).fun, at(-3.0), at(high))  # fmt: skip
    return best


@pytest.mark.parametrize("name", PEERS)
def test_the_least_value_and_a_bound_below_it(name):
    peer = _peer(name)
    for seed in range(4):
        program = _program(seed)
        answer, best = peer(program, ProgramLimits(20.0)), _least(program)
        x = np.where(program.space.integral, np.round(answer.x), answer.x)
        assert program.space.violation(x) <= 1e-5
        assert program.objective(x)[0] == pytest.approx(best, rel=1e-5, abs=1e-5)
        assert best - 1e-4 <= answer.claimed_bound <= best + 1e-5


def test_gradient_cuts_take_any_convex_objective():
    """Logistic loss of 4 variables with at most one switched on: all supports by a quasi-Newton."""
    made = instance("logistic", 2, "dimension=4")
    best, n = np.inf, 4
    for support in [()] + [(j,) for j in range(n)]:
        x = np.zeros(2 * n)
        x[[n + j for j in support]] = 1.0

        def at(values, x=x, support=support):
            x[list(support)] = values
            return made.worth(x)

        if support:
            found = scipy.optimize.minimize_scalar(
                lambda v, at=at: at([v]), bounds=(-1.0, 1.0), method="bounded",
                options={"xatol": 1e-10},
            )  # fmt: skip
            best = min(best, found.fun)
        else:
            best = min(best, at([]))
    answer = _peer("scip_cuts")(made.program, ProgramLimits(20.0))
    assert made.worth(answer.x) == pytest.approx(best, abs=1e-5)
    assert answer.claimed_bound == pytest.approx(best, abs=1e-5)
    assert answer.calls > 0


@pytest.mark.parametrize("name", ["shot", "gurobi"])
def test_what_needs_a_quadratic_says_so(name):
    with pytest.raises(Refused, match="quadratics"):
        _peer(name)(instance("logistic", 1, "dimension=4").program, ProgramLimits())


def test_gradient_cuts_say_where_the_domain_ends():
    with pytest.raises(Refused, match="no value"):
        _peer("scip_cuts")(instance("d_design", 1, "dimension=6").program, ProgramLimits())
