"""The batched interior-point method against the one of single rows."""

import numpy as np
import pytest
import torch

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.interior_batch import rows_that_fit, solve_rows
from maskgap.solvers.bounds.relaxations import SdpBound
from maskgap.solvers.bounds.semidefinite import solve_sdp
from maskgap.solvers.protocol import Deadline, Limits
from tests.helpers.tiny import random_layer

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pattern", ["50%", "2:4", "keep=4", "5:12"])
def test_rows_of_a_batch_are_solved_as_one_by_one(pattern, device):
    problem = Problem.of(random_layer(4, 24, rows=3), parse_pattern(pattern))
    quads = [part.quad for part in problem]
    batch = solve_rows(quads, problem.groups, device, Deadline(60))
    for quad, found in zip(quads, batch, strict=True):
        alone = solve_sdp(quad, problem.groups, Deadline(60))
        assert found.converged
        assert alone.converged
        assert found.iterations == alone.iterations
        assert found.bound == pytest.approx(alone.bound, rel=1e-8)
        assert found.function.u == pytest.approx(alone.function.u, abs=1e-6)
        assert found.point == pytest.approx(alone.point, abs=1e-6)


def test_rows_that_are_done_early_or_cannot_go_on_do_not_touch_others():
    rng = np.random.default_rng(1)
    problem = Problem.of(random_layer(4, 16, rows=1), parse_pattern("50%"))
    quad = problem.part_of(0).quad
    one = np.outer(*[rng.normal(size=16)] * 2)
    quads = [quad, np.diag(rng.random(16)), one / one.diagonal().mean(), quad]
    batch = solve_rows(quads, problem.groups, "cpu", Deadline(60))
    for given, found in zip(quads, batch, strict=True):
        alone = solve_sdp(given, problem.groups, Deadline(60))
        assert found.bound == pytest.approx(alone.bound, rel=1e-8, abs=1e-7)
    assert len({found.iterations for found in batch}) > 1
    assert batch[0].bound == pytest.approx(batch[3].bound, rel=1e-12)


def test_batches_of_the_memory_that_is_free_change_nothing(monkeypatch):
    problem = Problem.of(random_layer(4, 16, rows=5), parse_pattern("50%"))
    quads = [part.quad for part in problem]
    whole = solve_rows(quads, problem.groups, "cpu", Deadline(60))
    monkeypatch.setattr("maskgap.solvers.bounds.interior_batch.rows_that_fit", lambda *_: 2)
    for one, other in zip(
        whole, solve_rows(quads, problem.groups, "cpu", Deadline(60)), strict=True
    ):
        assert one.bound == pytest.approx(other.bound, rel=1e-10)


@CUDA
def test_sdp_bound_takes_its_steps_on_the_card():
    (part,) = Problem.of(random_layer(4, 32, rows=1), parse_pattern("50%"))
    answer = SdpBound().solve(part, Limits(Deadline(60), device="cuda"), 0)
    alone = SdpBound().solve(part, Limits(Deadline(60)), 0)
    assert answer.claimed_bound == pytest.approx(alone.claimed_bound, rel=1e-6)


def test_an_expired_deadline_leaves_a_valid_bound():
    problem = Problem.of(random_layer(4, 16, rows=1), parse_pattern("50%"))
    quad = problem.part_of(0).quad
    (found,) = solve_rows([quad], problem.groups, "cpu", Deadline(0.0))
    assert not found.converged
    assert found.bound <= solve_sdp(quad, problem.groups, Deadline(60)).bound


def test_a_batch_has_a_row_at_least():
    assert rows_that_fit("cpu", 10**6) == 1
    assert rows_that_fit("cpu", 100) > rows_that_fit("cpu", 400) > 1
