"""The oracles of the nodes against enumeration, and what they do when a solver fails or lies."""

from math import fsum, inf, ldexp

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.mip.adapter import NativeError
from maskgap.solvers.oracles.make import ORACLES, make_oracle
from maskgap.solvers.oracles.mixed_integer import Found, MixedIntegerOracle
from maskgap.solvers.oracles.protocol import Counted
from maskgap.solvers.protocol import Deadline, Stop
from tests.helpers.command import python
from tests.helpers.coupled import SETS

SHAPES = [(8, 8, 3), (10, 10, 5), (8, 4, 2), (12, 4, 1), (6, 3, 2), (6, 3, 3), (5, 5, 0), (1, 1, 1)]

GRADIENTS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "small": lambda rng, n: 1e-12 * rng.normal(size=n),
    "large": lambda rng, n: 1e12 * rng.normal(size=n),
    "mixed": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.uniform(-12, 12, size=n),
    "offset": lambda rng, n: 1e3 + rng.normal(size=n),
    "integers": lambda rng, n: rng.integers(-1000, 1000, size=n).astype(float),
    "ties": lambda rng, n: rng.integers(-1, 2, size=n).astype(float),
    "zeros": lambda rng, n: np.zeros(n),
}

NATIVE = ORACLES[1:]


def _state(rng, n):
    """Forced columns: none, few or many, so that some nodes are empty and some have one mask."""
    share = rng.choice([0.0, 0.15, 0.4, 0.8])
    return rng.choice([0, 1, 2], size=n, p=[1 - share, share / 2, share / 2]).astype(np.int8)


def _legal(groups, state):
    """Every pruned set of the node, (masks, n) bool."""
    masks = np.concatenate(list(groups.enumerate_pruned()))
    return masks[masks[:, state == 1].all(axis=1) & ~masks[:, state == 2].any(axis=1)]


def _value(gradient, pruned):
    return fsum(gradient[np.asarray(pruned, dtype=bool)].tolist())


def _oracle(kind, groups, seconds=inf):
    return make_oracle(kind, groups, Deadline(seconds))


def _is_of_node(vertex, groups, state):
    return (
        np.isin(vertex, (0.0, 1.0)).all()
        and groups.is_legal(vertex == 0.0)
        and (vertex[state == 1] == 1.0).all()
        and (vertex[state == 2] == 0.0).all()
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ORACLES)
def test_vertex_and_bound_equal_enumeration(kind, shape):
    groups = BudgetGroups(*shape)
    # one object for all calls: nothing may be left from the last
    oracle = Counted(_oracle(kind, groups))
    rng = np.random.default_rng(sum(shape))
    share = 1e-12 if kind == "closed-form" else 1e-8
    empty = 0
    for name, draw in GRADIENTS.items():
        for _ in range(12):
            gradient, state = draw(rng, groups.n), _state(rng, groups.n)
            vertex = np.full(groups.n, np.nan)
            bound = oracle.minimise(gradient, state, vertex)
            legal = _legal(groups, state)
            if not len(legal):
                assert bound == inf
                empty += 1
                continue
            scale = fsum(np.abs(gradient).tolist())
            least = min(_value(gradient, pruned) for pruned in legal)
            assert _is_of_node(vertex, groups, state), name
            assert least <= _value(gradient, vertex) <= least + share * scale, name
            assert least - share * scale <= bound <= least + 1e-15 * scale, name
    assert 0 < empty < oracle.calls == 12 * len(GRADIENTS)


# no masks at all, which `Problem` refuses: SCIP and HiGHS would only be asked what they cannot say
COUPLED = [name for name, (_, masks) in SETS.items() if len(masks)]


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("name", COUPLED)
def test_vertex_and_bound_of_every_pattern_equal_enumeration(name, kind):
    legal, masks = SETS[name]
    oracle = _oracle(kind, legal)
    rng = np.random.default_rng(len(name))
    for draw in ("normal", "ties", "offset", "mixed"):
        for _ in range(3):
            gradient, state = GRADIENTS[draw](rng, legal.n), _state(rng, legal.n)
            vertex = np.full(legal.n, np.nan)
            bound = oracle.minimise(gradient, state, vertex)
            left = ~masks
            left = left[left[:, state == 1].all(axis=1) & ~left[:, state == 2].any(axis=1)]
            if not len(left):
                assert bound == inf
                continue
            scale = fsum(np.abs(gradient).tolist())
            least = min(_value(gradient, pruned) for pruned in left)
            share = 1e-13 if kind == "closed-form" and legal.error == 0.0 else 1e-7
            assert _is_of_node(vertex, legal, state)
            assert least <= _value(gradient, vertex) <= least + share * scale
            assert least - share * scale <= bound <= least + 1e-15 * scale


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize(
    "name", ["50%;cap=3/6+3", "50%;cost=40%", "2:4^T", "50%;cost=50%;forced row 0"]
)
def test_past_the_deadline_every_pattern_has_a_valid_pair(name, kind):
    legal, masks = SETS[name]
    oracle = _oracle(kind, legal, seconds=0.0)
    rng = np.random.default_rng(8)
    for _ in range(10):
        gradient, state, vertex = rng.normal(size=legal.n), _state(rng, legal.n), np.empty(legal.n)
        bound = oracle.minimise(gradient, state, vertex)
        left = ~masks
        left = left[left[:, state == 1].all(axis=1) & ~left[:, state == 2].any(axis=1)]
        if not len(left):
            assert bound == inf
            continue
        assert _is_of_node(vertex, legal, state)
        assert bound <= min(_value(gradient, pruned) for pruned in left)


def test_a_set_that_cannot_tell_has_a_native_infeasible_confirmed():
    legal, _ = SETS["50%;cap=3/6+3"]
    assert legal.error > 0.0
    liar = _Fake(Found(Stop.FINISHED, None, None, empty=True), legal=legal)
    with pytest.raises(NativeError, match="infeasible that has a legal mask"):
        liar.minimise(np.zeros(12), np.zeros(12, dtype=np.int8), np.empty(12))
    state = np.array([2] * 7 + [0] * 5, dtype=np.int8)
    assert liar.minimise(np.zeros(12), state, np.empty(12)) == inf


def test_the_closed_form_agrees_with_the_row_s_own_oracle_and_breaks_ties_low():
    rng = np.random.default_rng(3)
    for shape in [(64, 64, 32), (64, 4, 2), (48, 16, 4)]:
        groups = BudgetGroups(*shape)
        oracle, vertex = _oracle("closed-form", groups), np.empty(groups.n)
        for share in (0.0, 0.1, 0.3):
            gradient = rng.integers(-2, 3, size=groups.n).astype(float)
            p = [1 - share, share / 2, share / 2]
            state = rng.choice([0, 1, 2], size=groups.n, p=p).astype(np.int8)
            bound = oracle.minimise(gradient, state, vertex)
            wanted = groups.oracle(gradient, state == 1, state == 2)
            if wanted is None:
                assert bound == inf
            else:
                np.testing.assert_array_equal(vertex, wanted)
                assert bound == gradient @ wanted


@pytest.mark.parametrize("shape", [(64, 64, 32), (64, 4, 2), (96, 96, 29)], ids=str)
@pytest.mark.parametrize("kind", NATIVE)
def test_native_oracles_agree_with_the_closed_form_on_wider_rows(kind, shape):
    groups = BudgetGroups(*shape)
    oracle, closed = _oracle(kind, groups), _oracle("closed-form", groups)
    rng = np.random.default_rng(4)
    vertex, best = np.empty(groups.n), np.empty(groups.n)
    for name, draw in GRADIENTS.items():
        gradient, state = draw(rng, groups.n), np.zeros(groups.n, dtype=np.int8)
        state[rng.choice(groups.n, 6, replace=False)] = [1, 2] * 3
        least = closed.minimise(gradient, state, best)
        bound = oracle.minimise(gradient, state, vertex)
        if least == inf:
            assert bound == inf
            continue
        scale = np.abs(gradient).sum()
        assert _is_of_node(vertex, groups, state), name
        assert abs(_value(gradient, vertex) - least) <= 1e-8 * scale, name
        assert least - 1e-8 * scale <= bound <= least + 1e-15 * scale, name


@pytest.mark.parametrize("kind", ORACLES)
def test_a_call_does_not_depend_on_the_calls_before(kind):
    groups = BudgetGroups(12, 6, 3)
    oracle, fresh = _oracle(kind, groups), _oracle(kind, groups)
    rng = np.random.default_rng(5)
    vertex, again = np.empty(12), np.empty(12)
    free, full = np.zeros(12, dtype=np.int8), np.ones(12, dtype=np.int8)
    gradient = rng.normal(size=12)
    for other in (-gradient, 1e9 * gradient, np.zeros(12)):
        oracle.minimise(other, np.array([1, 2] * 6, dtype=np.int8), vertex)
        assert oracle.minimise(other, full, vertex) == inf
        bound = oracle.minimise(gradient, free, vertex)
        assert bound == fresh.minimise(gradient, free, again)
        np.testing.assert_array_equal(vertex, again)


@pytest.mark.parametrize("kind", ORACLES)
def test_inputs_are_left_as_they_were(kind):
    gradient, state = np.array([3.0, -1.0, 2.0, 0.5]), np.array([1, 0, 0, 2], dtype=np.int8)
    before = gradient.copy(), state.copy()
    _oracle(kind, BudgetGroups(4, 4, 2)).minimise(gradient, state, np.empty(4))
    np.testing.assert_array_equal(gradient, before[0])
    np.testing.assert_array_equal(state, before[1])


@pytest.mark.parametrize("kind", NATIVE)
def test_past_the_deadline_the_pair_is_still_valid(kind):
    groups = BudgetGroups(10, 5, 2)
    oracle = _oracle(kind, groups, seconds=0.0)
    rng = np.random.default_rng(6)
    for _ in range(20):
        gradient, state, vertex = rng.normal(size=10), _state(rng, 10), np.empty(10)
        bound = oracle.minimise(gradient, state, vertex)
        legal = _legal(groups, state)
        if not len(legal):
            assert bound == inf
            continue
        assert _is_of_node(vertex, groups, state)
        without = np.minimum(gradient[state == 0], 0.0).sum() + gradient[state == 1].sum()
        assert bound == pytest.approx(without, abs=1e-12)
        assert bound <= min(_value(gradient, pruned) for pruned in legal)


@pytest.mark.parametrize("kind", NATIVE)
def test_an_interrupt_is_seen_by_the_next_call(kind):
    deadline = Deadline(inf)
    oracle = make_oracle(kind, BudgetGroups(4, 4, 2), deadline)
    gradient, state, vertex = np.array([1.0, 2, 3, 4]), np.zeros(4, dtype=np.int8), np.empty(4)
    assert oracle.minimise(gradient, state, vertex) == pytest.approx(3.0)
    deadline.interrupt()
    assert oracle.minimise(gradient, state, vertex) == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("value", [np.nan, inf, -inf])
def test_a_gradient_that_is_not_finite_is_refused(kind, value):
    gradient = np.array([0.0, 1.0, value, 2.0])
    oracle = _oracle(kind, BudgetGroups(4, 4, 2))
    with pytest.raises(InputError, match="column 2"):
        oracle.minimise(gradient, np.zeros(4, dtype=np.int8), np.empty(4))


@pytest.mark.parametrize("kind", NATIVE)
def test_what_a_native_solver_must_not_say_is_an_error(kind):
    oracle = _oracle(kind, BudgetGroups(4, 4, 2))
    assert oracle.solve(np.zeros(4), np.ones(4), np.ones(4), 10.0).empty
    with pytest.raises(NativeError):
        oracle.solve(np.zeros(4), np.zeros(4), np.ones(4), -1.0)  # no solver takes such a limit


def test_no_more_than_the_time_left_is_used():
    model = _Fake(Found(Stop.TIME, None, None), Deadline(5.0))
    model.minimise(np.arange(4.0), np.zeros(4, dtype=np.int8), np.empty(4))
    assert 0.0 < model.asked[3] <= 5.0


class _Fake(MixedIntegerOracle):
    """A solver that gives a prepared word."""

    name = "fake"
    tolerance = 1e-7

    def __init__(self, found, deadline=None, legal=None):
        super().__init__(legal or BudgetGroups(4, 4, 2), deadline or Deadline(inf))
        self.found = found

    def solve(self, cost, lower, upper, seconds):
        self.asked = cost, lower, upper, seconds
        return self.found


BEST = [0.0, 1.0, 1.0, 0.0]
GRADIENT = np.array([5.0, -3.0, 1.0, 2.0])
FREE = np.zeros(4, dtype=np.int8)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_costs_are_scaled_to_one_size_and_forced_columns_cost_nothing(scale):
    fake = _Fake(Found(Stop.TIME, None, None))
    gradient = scale * np.array([1e6, -3.0, 1.0, -2.0])
    fake.minimise(gradient, np.array([1, 0, 0, 2], dtype=np.int8), np.empty(4))
    cost, lower, upper, _ = fake.asked
    assert 2.0**9 <= np.abs(cost).max() < 2.0**10
    assert cost[2] * -3.0 == pytest.approx(cost[1])
    assert (cost[0], cost[3]) == (0.0, 0.0)
    assert (list(lower), list(upper)) == ([1, 0, 0, 0], [1, 1, 1, 0])


def test_a_true_native_bound_is_scaled_back_and_lowered():
    unit = ldexp(1.0, 3 - 10)  # 5 lies in [2^2, 2^3)
    fake = _Fake(Found(Stop.FINISHED, BEST, -2.0 / unit))
    vertex = np.empty(4)
    bound = fake.minimise(GRADIENT, FREE, vertex)
    assert list(vertex) == BEST
    assert -2.0 - unit * 4 * fake.tolerance - 2e-9 * 11 < bound < -2.0 - unit * 4 * fake.tolerance


def test_a_weak_native_bound_does_not_undercut_the_one_that_needs_no_solver():
    vertex = np.empty(4)
    bound = _Fake(Found(Stop.FINISHED, BEST, -1e9)).minimise(GRADIENT, FREE, vertex)
    assert bound == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Found(Stop.FINISHED, BEST, 0.0), "bound 0.0 above"),
        (Found(Stop.FINISHED, [1.0, 1.0, 1.0, 0.0], -384.0), "without a legal mask"),
        (Found(Stop.FINISHED, None, -384.0), "without a legal mask"),
        (Found(Stop.FINISHED, BEST, None), "without a legal mask"),
        (Found(Stop.FINISHED, None, None, empty=True), "infeasible that has a legal mask"),
    ],
)
def test_a_false_word_of_a_native_solver_is_an_error(found, message):
    with pytest.raises(NativeError, match=message):
        _Fake(found).minimise(GRADIENT, FREE, np.empty(4))


@pytest.mark.parametrize("state", [[1, 0, 0, 0], [0, 2, 0, 0]])
def test_a_native_mask_that_misses_a_forced_column_is_not_taken(state):
    with pytest.raises(NativeError, match="without a legal mask of the node"):
        _Fake(Found(Stop.FINISHED, BEST, -1e9)).minimise(
            GRADIENT, np.array(state, dtype=np.int8), np.empty(4)
        )


@pytest.mark.parametrize("stop", [Stop.TIME, Stop.MEMORY, Stop.INTERRUPTED])
def test_an_unfinished_run_gives_its_mask_but_not_its_bound(stop):
    for vector, wanted in ((BEST, BEST), ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0])):
        deadline = Deadline(inf)
        vertex = np.empty(4)
        bound = _Fake(Found(stop, vector, 1e6), deadline).minimise(GRADIENT, FREE, vertex)
        assert bound == pytest.approx(-3.0)
        assert list(vertex) == wanted
        assert deadline.interrupted == (stop is Stop.INTERRUPTED)


def test_counted_counts_calls_and_time_of_any_oracle_failures_too():
    groups = BudgetGroups(4, 4, 2)
    vertex, bare = np.empty(4), np.empty(4)
    for kind in ORACLES:
        counted = Counted(_oracle(kind, groups))
        bound = counted.minimise(GRADIENT, FREE, vertex)
        assert bound == _oracle(kind, groups).minimise(GRADIENT, FREE, bare)
        np.testing.assert_array_equal(vertex, bare)
        spent = counted.seconds
        assert spent > 0.0
        with pytest.raises(InputError):
            counted.minimise(np.full(4, np.nan), FREE, vertex)
        assert counted.calls == 2
        assert counted.seconds > spent


def test_an_unknown_kind_names_those_there_are():
    with pytest.raises(InputError, match=r"'sort'.*closed-form, highs, scip"):
        _oracle("sort", BudgetGroups(4, 4, 2))


def test_native_libraries_are_loaded_by_the_oracle_that_needs_them():
    script = (
        "import sys\n"
        "from maskgap.instances.masks.groups import BudgetGroups\n"
        "from maskgap.solvers.protocol import Deadline\n"
        "from maskgap.solvers.oracles.make import make_oracle\n"
        "make_oracle('closed-form', BudgetGroups(4, 4, 2), Deadline(1.0))\n"
        "print([m for m in ('highspy', 'pyscipopt', 'torch') if m in sys.modules])"
    )
    assert python(script).stdout.strip() == "[]"


@pytest.mark.parametrize("kind", NATIVE)
def test_native_oracles_are_quiet(kind, capfd):
    _oracle(kind, BudgetGroups(4, 4, 2)).minimise(GRADIENT, FREE, np.empty(4))
    assert capfd.readouterr() == ("", "")
