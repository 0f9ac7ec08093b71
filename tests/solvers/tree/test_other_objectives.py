"""An objective that is no quadratic, and has no checker, through the same search and oracles."""

import numpy as np
import pytest

from maskgap.solvers.frank_wolfe import vertices
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.frank_wolfe.steps import step_length
from maskgap.solvers.objectives.protocol import Minorant
from maskgap.solvers.oracles.make import make_oracle
from maskgap.solvers.protocol import Deadline, Limits, Stop
from maskgap.solvers.tree.choices import BRANCHING, TRAVERSALS, Choices
from maskgap.solvers.tree.general.engine import GeneralEngine
from tests.helpers.general import problems


class Logistic:
    """L(z) = sum of log(1 + exp(a_i . z + b_i)), convex: value and gradient are all there is."""

    least, margin, quadratic, states_masks = 0.0, 0.0, None, False

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.n, self._a, self._b = n, rng.normal(size=(3 * n, n)), rng.normal(size=3 * n)
        self.functions = [self]

    def at(self, x):
        inner = self._a @ x + self._b
        share = 1.0 / (1.0 + np.exp(-inner))
        return float(np.logaddexp(0.0, inner).sum()), self._a.T @ share

    def minorant(self, x):
        value, gradient = self.at(x)
        return Minorant(value, value - float(gradient @ x), gradient, x.astype(np.float32))

    def curvature(self):
        return np.zeros(self.n)

    def exact(self, kept):
        return self.at((~kept).astype(float))[0]

    def proof(self, tree, bound, mask):
        return None


def least_of(part, objective):
    masks = np.concatenate(list(part.legal.enumerate_pruned()))
    return min(objective.exact(~pruned) for pruned in masks)


def searched(part, objective, **choices):
    engine = GeneralEngine(
        part, objective, Limits(Deadline(60.0)), Choices(gap=1e-7, most_bytes=1 << 28, **choices)
    )
    engine.run(-1)
    return engine.answer()


PATTERNS = ["2:4^T", "50%;cost=45%", "50%;cap=3/4", "layer:50%"]


@pytest.mark.parametrize("oracle", ["closed-form", "highs", "scip"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_least_of_any_convex_objective_is_found_and_bounded(pattern, oracle):
    part, _ = problems(pattern)[0]
    objective = Logistic(part.n, 3)
    least = least_of(part, objective)
    answer = searched(part, objective, oracle=oracle)
    assert answer.stop is Stop.FINISHED
    assert objective.exact(answer.mask) == pytest.approx(least, rel=1e-12)
    assert least * (1 - 1e-6) <= answer.claimed_bound <= least * (1 + 1e-12)
    assert answer.proof is None


@pytest.mark.parametrize(
    "choice",
    [
        *({"branching": name} for name in BRANCHING),
        *({"traversal": name} for name in TRAVERSALS),
        {"fixing": False},
        {"inherit": False},
        {"hull": "relaxation"},
    ],
    ids=str,
)
def test_every_choice_serves_it(choice):
    part, _ = problems("50%;cap=3/4")[1]
    objective = Logistic(part.n, 4)
    answer = searched(part, objective, **choice)
    least = least_of(part, objective)
    assert objective.exact(answer.mask) == pytest.approx(least, rel=1e-12)
    assert least * (1 - 1e-6) <= answer.claimed_bound <= least * (1 + 1e-12)


def test_an_objective_that_may_be_negative_closes_at_a_gap_of_its_size():
    part, _ = problems("50%;cap=3/4")[1]
    objective = Logistic(part.n, 5)
    shift = 2.0 * least_of(part, objective)

    class Lowered(Logistic):
        least = -np.inf

        def at(self, x):
            value, gradient = super().at(x)
            return value - shift, gradient

    lowered = Lowered(part.n, 5)
    answer = searched(part, lowered)
    least = least_of(part, lowered)
    assert least < 0.0
    assert lowered.exact(answer.mask) == pytest.approx(least, rel=1e-12)
    assert least * (1 + 1e-6) <= answer.claimed_bound <= least * (1 - 1e-12)


def test_the_gap_over_a_hull_closes():
    part, _ = problems("50%;cost=45%")[0]
    objective = Logistic(part.n, 6)
    found = vertices.minimise(
        objective,
        np.zeros(part.n, np.int8),
        make_oracle("closed-form", part.legal, Deadline(60.0)),
        vertices.Start(Pool(part.n), ActiveSet.empty()),
        vertices.Until(Deadline(60.0)),
    )
    assert 0.0 <= found.value - found.bound <= 1e-6 * found.value
    assert found.bound <= least_of(part, objective)


def test_a_step_is_as_long_as_the_function_falls():
    objective, rng = Logistic(8, 7), np.random.default_rng(8)
    seen = set()
    for _ in range(200):
        x, direction = rng.random(8), rng.normal(size=8)
        slope = float(objective.at(x)[1] @ direction)
        if slope >= 0.0:
            direction, slope = -direction, -slope
        longest = float(rng.choice([0.05, 1.0, 10.0]))
        length = step_length(objective, x, direction, slope, longest)
        at_end = float(objective.at(x + length * direction)[1] @ direction)
        seen.add(length == longest)
        if length == longest:
            assert at_end <= 1e-3 * abs(slope)
        else:
            assert 0.0 < length < longest
            assert abs(at_end) <= 0.05 * abs(slope)
        assert objective.at(x + length * direction)[0] < objective.at(x)[0]
    assert seen == {True, False}
