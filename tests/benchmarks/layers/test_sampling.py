"""The gap of a layer estimated from rows drawn at random: known answers, coverage, the command."""

import json
import math
from itertools import permutations

import numpy as np
import pytest

from maskgap.benchmarks.commands.bound_store import PROOF_NAME, SAMPLE_NAME
from maskgap.benchmarks.layers.estimate import Population, drawn, estimate, raj
from maskgap.benchmarks.layers.sampled import Sample, SampledBound
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import BoundKind
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.command import maskgap
from tests.helpers.tiny import random_layer


def test_the_mean_over_all_orders_is_the_sum():
    """Every ordered sample of 2 of 5 rows with its probability: unbiased to the last digit."""
    bounds, sizes = np.array([3.0, 1.0, 4.0, 1.5, 9.0]), np.array([4.0, 1.0, 5.0, 9.0, 2.0])
    shares = sizes / sizes.sum()
    mean = spread = 0.0
    for first, second in permutations(range(5), 2):
        chance = shares[first] * shares[second] / (1.0 - shares[first])
        found = raj(bounds[[first, second]], shares[[first, second]])
        mean += chance * found.mean()
        spread += chance * (found.var(ddof=1) / 2 - (found.mean() - bounds.sum()) ** 2)
    assert mean == pytest.approx(bounds.sum(), rel=1e-12)
    assert spread == pytest.approx(0.0, abs=1e-9)  # the variance is estimated without bias too


def test_rows_are_drawn_by_size_and_one_after_another():
    sizes = np.array([1.0, 2.0, 0.0, 5.0])
    orders = [drawn(sizes, seed).tolist() for seed in range(4000)]
    first = np.bincount([order[0] for order in orders], minlength=4) / len(orders)
    np.testing.assert_allclose(first, sizes / 8.0, atol=0.03)
    after = [order[1] for order in orders if order[0] == 3]
    assert np.mean(np.array(after) == 1) == pytest.approx(2 / 3, abs=0.04)
    assert all(sorted(order) == [0, 1, 3] for order in orders)
    assert drawn(sizes, 5).tolist() == drawn(sizes, 5).tolist()


def _estimates(losses, bounds, sizes, count, repeats=1500):
    """(coverage, mean of estimate less truth, mean width) over seeds."""
    truth, found = 1.0 - bounds.sum() / losses.sum(), []
    for seed in range(repeats):
        order = drawn(sizes, seed)
        own = order[:count]
        whole = Population(losses.sum(), bounds[own].sum(), sizes, order)
        found.append(estimate(whole, losses[own], bounds[own], 0.95))
    covered = np.mean([one.low <= truth <= one.high for one in found])
    return covered, np.mean([one.estimate for one in found]) - truth, truth


def _populations():
    rng = np.random.default_rng(1)
    mild, skewed = rng.lognormal(0, 1, 400), rng.lognormal(0, 2, 400)
    return {
        "bounds near a share": (mild, mild * rng.beta(40, 10, 400)),
        "skewed sizes": (skewed, skewed * rng.beta(20, 5, 400)),
        "large rows are harder": (mild, mild * np.clip(0.8 - 0.08 * np.log(mild), 0.1, 1.0)),
        "two kinds of rows": (mild, mild * np.where(rng.random(400) < 0.3, 0.6, 0.85)),
    }


@pytest.mark.parametrize("name", _populations())
@pytest.mark.parametrize("count", [12, 40])
def test_intervals_cover_as_often_as_they_say(name, count):
    losses, bounds = _populations()[name]
    covered, bias, _ = _estimates(losses, bounds, losses, count)
    assert covered >= 0.90
    assert abs(bias) < 0.005


def test_intervals_cover_on_a_real_layer_whose_rows_are_bounded(known):
    """Bounds by one shift for all rows of a shipped layer; sizes from other masks than losses."""
    from maskgap.solvers.protocol import Deadline, Limits
    from maskgap.solvers.registry import build

    entry = json.loads((known / "known_layers.json").read_text())[0]
    problem = Problem.of(read_layer(known / entry["file"]), parse_pattern("50%"))
    answers = build("shift-bound").solve_rows(problem, Limits(Deadline(60.0)), 0)
    bounds = np.array([answer.claimed_bound for answer in answers])
    quick = build("swap", {"max_swaps": 2}).solve_rows(problem, Limits(Deadline(60.0)), 0)
    best = build("swap").solve_rows(problem, Limits(Deadline(60.0)), 0)
    sizes, losses = (np.array([a.claimed_objective for a in x]) for x in (quick, best))
    covered, bias, truth = _estimates(losses, bounds, sizes, 12)
    assert covered >= 0.90
    assert abs(bias) < 0.02 * truth


def test_bounds_that_are_one_share_of_the_sizes_leave_nothing_to_chance():
    losses = np.array([1.0, 7.0, 2.0, 30.0, 4.0])
    order = drawn(losses, 0)
    own = order[:2]
    population = Population(losses.sum(), 0.75 * losses[own].sum(), losses, order)
    found = estimate(population, losses[own], 0.75 * losses[own], 0.95)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found.rows_sampled == 2


def test_what_is_certain_is_kept_to():
    losses, sizes = np.array([10.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0])
    order = np.array([0, 1, 2])
    population = Population(12.0, 0.0, sizes, order)
    one = estimate(population, [10.0], [0.0], 0.95)
    assert one.low == pytest.approx(10 / 12)  # this row alone has so much of the gap
    assert one.high == 1.0
    every = estimate(Population(12.0, 6.0, sizes, order), losses, [5.0, 0.5, 0.5], 0.95)
    assert (every.low, every.estimate, every.high) == (0.5, 0.5, 0.5)
    assert estimate(population, [], [], 0.95).estimate is None
    assert estimate(Population(0.0, 0.0, sizes, order), [], [], 0.95).estimate == 0.0


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "layer.safetensors"
    layer = random_layer(6, 12, rows=9)
    write_layer(path, Layer.from_arrays(layer.weight, layer.gram))
    return path


def lines(*words, code=0):
    done = maskgap("bound", *words, "--json")
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_bounds_the_rows_drawn_and_goes_on_with_the_same(file, tmp_path):
    words = file, "-p", "50%", "--proof", tmp_path / "p", "--seed", "3"
    *rows, total = lines(*words, "--sample", "4")
    bounded = [line["row"] for line in rows if line["bound_kind"] == "checked"]
    assert len(bounded) == total["rows_sampled"] == 4
    assert total["gap"] is None
    assert total["confidence"] == 0.95
    assert 0.0 <= total["low"] <= total["estimate"] <= total["high"] <= 1.0
    assert all(line["objective"] is not None for line in rows)
    assert total["objective"] == math.fsum(line["objective"] for line in rows)
    again = lines(*words, "--sample", "4", "--resume")
    assert [x["row"] for x in again[:-1] if x["bound_kind"] == "checked"] == bounded
    more = lines(*words, "--sample", "6", "--resume")
    assert {x["row"] for x in more[:-1] if x["bound_kind"] == "checked"} > set(bounded)
    done = maskgap("check", tmp_path / "p" / PROOF_NAME, "--instance", file, "-p", "50%")
    assert done.returncode == 0, done.stderr
    whole = lines(*words, "--resume")[-1]
    assert whole["gap"] == pytest.approx(0.0, abs=1e-6)
    assert "estimate" not in whole


def test_a_sample_of_all_rows_is_no_estimate_but_the_gap(file):
    total = lines(file, "-p", "2:4", "--sample", "99", "--rows", "2:7")[-1]
    assert total["gap"] is not None
    assert total["low"] == total["estimate"] == total["high"] == pytest.approx(total["gap"])
    assert total["rows_sampled"] == total["rows"] == 5


def test_an_estimate_is_told_in_words_and_never_called_a_bound(file):
    done = maskgap("bound", file, "-p", "50%", "--sample", "3", "--confidence", "0.8")
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert "estimated gap" in last
    assert "at 80% confidence" in last
    assert last.endswith("this is no bound")


def test_sizes_of_other_rows_are_refused(file, tmp_path):
    words = file, "-p", "50%", "--proof", tmp_path / "p", "--sample", "2"
    lines(*words)
    path = tmp_path / "p" / SAMPLE_NAME
    stored = json.loads(path.read_text())
    for text in ("{", "[]", json.dumps({**stored, "rows": "0:8"}), json.dumps(
        {**stored, "sizes": [*stored["sizes"][:-1], float("nan")]}
    )):  # fmt: skip
        path.write_text(text)
        done = maskgap("bound", *words, "--resume")
        assert done.returncode == 2
        assert SAMPLE_NAME in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sample", "0"], "--sample 0"),
        (["--sample", "2", "--confidence", "1"], "--confidence 1"),
        (["--sample", "2", "-p", "layer:50%"], "--sample takes"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(file, words, told):
    pattern = () if "-p" in words else ("-p", "50%")
    done = maskgap("bound", file, *pattern, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_only_rows_with_a_checked_bound_count():
    problem = Problem.of(random_layer(6, 12, rows=6), parse_pattern("50%"))
    work = SampledBound(problem, RunLimits(60.0), Sample(4), runs=6 + 4 + 2)
    list(work)  # swap on all rows, search on those drawn, and two runs that bound
    kinds = [state.certificate.bound_kind for state in work.rows]
    assert kinds.count(BoundKind.CHECKED) == work.estimate.rows_sampled == 2
