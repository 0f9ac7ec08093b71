"""Smooth losses with a stated ridge over switched variables, and switches that are declared."""

import itertools

import numpy as np
import pytest
import scipy.optimize

import maskgap
from maskgap import objectives, oracles
from maskgap.solvers.convex.formulation import formulate
from maskgap.solvers.convex.switched import smooth_value
from maskgap.solvers.convex.switched.problem import smooth_switched
from maskgap.solvers.convex.watched import Known, Watched
from maskgap.solvers.oracles.mixed.budget import BudgetSet

N, REACH, MOST = 4, 1.5, 2


def _loss(kind, seed):
    """A loss of N coefficients and as many switches, which cost a little."""
    random = np.random.default_rng([seed, len(kind)])
    A, none = 2.0 * random.standard_normal((12, N)), np.zeros((12, N))
    ridge = np.concatenate([0.3 + random.random(N), np.zeros(N)])
    price = np.concatenate([np.zeros(N), 0.2 * random.random(N)])
    design, extra = np.hstack([A, none]), {"ridge": ridge, "linear": price}
    if kind == "logistic":
        return objectives.logistic(design, random.random(12) < 0.5, **extra)
    if kind == "poisson":
        return objectives.poisson(design / 4.0, random.poisson(1, 12), **extra)
    return objectives.least_squares(design, random.standard_normal(12), **extra)


KINDS = ("logistic", "poisson", "least squares")
LOWER = np.concatenate([np.full(N, -REACH), np.zeros(N)])
UPPER = np.concatenate([np.full(N, REACH), np.ones(N)])
WHOLE = np.repeat([0, 1], N)
BUDGET = np.concatenate([np.zeros(N), np.ones(N)])[None]
SWITCHES = {j: N + j for j in range(N)}


def _by_rows():
    eye = np.eye(N)
    rows = np.vstack([np.block([[eye, -REACH * eye], [eye, REACH * eye]]), BUDGET])
    low = np.concatenate([np.full(N, -np.inf), np.zeros(N), [-np.inf]])
    high = np.concatenate([np.zeros(N), np.full(N, np.inf), [MOST]])
    return oracles.milp(rows, low, high, LOWER, UPPER, WHOLE)


def _plain(lower=LOWER, upper=UPPER):
    return oracles.milp(BUDGET, -np.inf, MOST, lower, upper, WHOLE)


def _least(f, switches, reach=REACH):
    """The least value of f for given switches (N,)."""
    found = scipy.optimize.minimize(
        lambda b: (lambda value, slope: (value, slope[:N]))(*f(np.concatenate([b, switches]))),
        np.zeros(N),
        jac=True,
        bounds=[(-reach * z, reach * z) for z in switches],
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000},
    )
    return float(found.fun)


def _choices():
    return [np.array(z, float) for z in itertools.product((0, 1), repeat=N) if sum(z) <= MOST]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_rows_and_declarations_give_the_optimum_and_one_bound(kind, seed):
    f = _loss(kind, seed)
    best = min(_least(f, z) for z in _choices())
    found = maskgap.minimise(f, _by_rows())
    declared = maskgap.minimise(f, _plain(), switches=SWITCHES)
    assert declared.root_bound == pytest.approx(found.root_bound, rel=1e-9)
    for result in (found, declared):
        assert result.objective == pytest.approx(best, rel=2e-6)
        assert result.bound <= best + 1e-9 * abs(best)
        assert result.root_bound <= best + 1e-9 * abs(best)
        assert result.stop == "gap"
        assert result.violation <= 1e-9


@pytest.mark.parametrize("kind", ["logistic", "poisson"])
@pytest.mark.parametrize("rounds", [1, 2, 40])
def test_minorants_hold_however_well_the_least_value_was_found(kind, rounds, monkeypatch):
    monkeypatch.setattr(smooth_value, "ROUNDS", rounds)
    for seed in range(4):
        f = _loss(kind, seed)
        watched = Watched(f, 2 * N, Known(model=f.model, diagonal=f.diagonal))
        value = smooth_switched(watched, _by_rows().rows, {}).value
        random = np.random.default_rng(seed)
        points = [(z, _least(f, z)) for z in _choices()]
        for _ in range(10):
            at = random.random(N)
            constant, slope = value.at(at)
            for z, least in points:
                assert constant + slope @ (z - at) <= least + 1e-9


def test_the_perspective_bounds_more_closely_than_the_hull():
    closer = 0
    for seed in range(4):
        f = _loss("logistic", seed)
        alone = maskgap.minimise(lambda x, f=f: f(x), _by_rows(), node_limit=1)
        mine = maskgap.minimise(f, _by_rows(), node_limit=1)
        assert mine.root_bound >= alone.root_bound - 1e-3 * abs(alone.root_bound)
        closer += mine.root_bound > alone.root_bound + 1e-6
    assert closer >= 2


@pytest.mark.parametrize("kind", ["logistic", "poisson"])
def test_gradient_and_model_of_the_value(kind):
    value = formulate(_loss(kind, 1), _by_rows()).function
    y, step = np.random.default_rng(0).uniform(0.2, 0.8, N), 1e-4
    gradient, model = value.at(y)[1], value.known.model(y)
    for j, move in enumerate(step * np.eye(N)):
        (above, up), (below, down) = value.at(y + move), value.at(y - move)
        assert gradient[j] == pytest.approx((above - below) / (2 * step), abs=1e-5)
        assert 2 * model.matrix[j] == pytest.approx((up - down) / (2 * step), abs=1e-3)
    assert model.at(y)[1] == pytest.approx(gradient)


def test_variables_without_bounds_need_declared_switches_and_a_diagonal():
    free = np.concatenate([np.full(N, np.inf), np.ones(N)])
    lower = np.concatenate([np.full(N, -np.inf), np.zeros(N)])
    for kind in KINDS:
        f = _loss(kind, 2)
        best = min(_least(f, z, 50.0) for z in _choices())
        result = maskgap.minimise(f, _plain(lower, free), switches=SWITCHES)
        assert result.objective == pytest.approx(best, rel=2e-6)
        assert result.bound <= best + 1e-9 * abs(best)
        assert result.stop == "gap"
    with pytest.raises(maskgap.InputError, match="variable 0 needs finite bounds"):
        maskgap.minimise(lambda x: f(x), _plain(lower, free), switches=SWITCHES)


def test_declared_switches_hold_where_all_variables_are_searched():
    f = _loss("logistic", 3)
    best = min(_least(f, z) for z in _choices())
    result = maskgap.minimise(lambda x: f(x), _plain(), switches=SWITCHES, time_limit=120)
    assert result.objective == pytest.approx(best, rel=2e-6)
    assert result.bound <= best + 1e-9
    assert result.violation <= 1e-6
    assert maskgap.minimise(f, _plain()).objective < best - 1e-3  # without them


def test_a_function_of_variables_and_switches_together():
    """(x - z)^2 terms: f is convex in both, and not a sum of a part of each."""

    class Joint:
        n, diagonal = 2 * N, np.concatenate([np.full(N, 0.5), np.zeros(N)])
        aim = np.array([0.9, -0.7, 1.2, 0.2])

        def __call__(self, v):
            x, z = v[:N], v[N:]
            slope = 2.0 * (x - 0.5 * z)
            own = x + 2.0 * (x - self.aim)
            value = float((x - 0.5 * z) @ (x - 0.5 * z) + 0.5 * x @ x)
            return value + float((x - self.aim) @ (x - self.aim)), np.concatenate(
                [slope + own, -0.5 * slope]
            )

        def model(self, v):
            P = np.block(
                [[2.5 * np.eye(N), -0.5 * np.eye(N)], [-0.5 * np.eye(N), 0.25 * np.eye(N)]]
            )
            value, gradient = self(v)
            linear = gradient - 2.0 * P @ v
            return objectives.quadratic(P, linear, value - linear @ v - v @ P @ v).quadratic

    f = Joint()
    seen = formulate(f, _by_rows())
    assert isinstance(seen.oracle, BudgetSet)
    best = min(_least(f, z) for z in _choices())
    result = maskgap.minimise(f, _by_rows())
    assert result.objective == pytest.approx(best, rel=2e-6)
    assert result.bound <= best + 1e-9
    assert result.stop == "gap"


def test_a_diagonal_that_is_not_there_is_reported():
    f = _loss("logistic", 0)
    f.diagonal = np.concatenate([np.full(N, 60.0), np.zeros(N)])
    result = maskgap.minimise(f, _by_rows())
    assert (result.stop, result.bound_kind, result.bound) == ("unsound", "none", -np.inf)


def test_an_objective_that_is_no_number_is_reported():
    f = _loss("poisson", 0)
    terms = f.terms
    f.terms = lambda t: (np.nan, *terms(t)[1:])
    result = maskgap.minimise(f, _by_rows())
    assert (result.stop, result.bound_kind) == ("unsound", "none")


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ([4, 5], "expected {variable: binary}"),
        ({0: 9}, "0: 9, but the set has 8 variables"),
        ({0: 1}, "0: 1, but variable 1 is no other, binary one"),
        ({4: 4}, "4: 4, but variable 4 is no other, binary one"),
        ({0.5: 4}, "expected a whole number from 0"),
    ],
)
def test_switches_that_are_none_are_named(switches, words):
    with pytest.raises(maskgap.InputError, match=f"switches: {words}"):
        maskgap.minimise(_loss("logistic", 0), _plain(), switches=switches)


def test_switches_of_a_set_without_rows_are_refused():
    with pytest.raises(maskgap.InputError, match="switches: expected a set"):
        maskgap.minimise(lambda x: (0.0, 0.0 * x), oracles.cardinality(2, 1), switches={0: 1})
