"""Where the next run goes: what passes brought to other rows decides."""

from math import inf

import pytest

from maskgap.benchmarks.layers import rows as bounding
from maskgap.benchmarks.layers.aims import CHUNK_ROWS
from maskgap.benchmarks.layers.next_run import Gains
from maskgap.benchmarks.layers.passes import Pass
from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import ROWS_ON_CPU
from tests.helpers.tiny import random_layer


def test_a_rate_is_a_share_a_second():
    gains = Gains()
    gains.note(1, 10.0, 6.0, 2.0)
    gains.note(1, 30.0, 18.0, 4.0)
    # 16 of 40 in 3 s on average; then a pass that is taken to bring half of that in as long
    assert gains.rate(1) == pytest.approx(max(0.4 / 3.0, (1 - 0.6 * 0.8) / 6.0))
    assert gains.rate(2) == pytest.approx(0.2 / 3.0)


def test_a_pass_that_brings_nothing_does_not_hide_the_one_after_it():
    gains = Gains()
    gains.note(1, 10.0, 10.0, 1.0)
    gains.note(2, 10.0, 5.0, 1.0)
    assert gains.rate(1) >= 0.5 / 2.0
    assert gains.rate(2) == pytest.approx(0.5)


def test_a_first_mask_is_no_fall():
    gains = Gains()
    gains.note(1, inf, 10.0, 1.0)
    assert 0.0 < gains.rate(1) < inf


class Told(Pool):
    """Notes the solver and rows of each run, and lets none take place."""

    def __init__(self):
        super().__init__(1, 1)
        self.runs = []

    def outcomes(self, tasks):
        self.runs += [(task.solver, task.problem.rows) for task in tasks]
        return iter(())


def _work(monkeypatch, stages, rows, device="cpu"):
    monkeypatch.setattr(bounding, "ladder", lambda n: iter(stages))
    problem = Problem.of(random_layer(1, 8, rows=rows), parse_pattern("50%"))
    return LayerBound(problem, RunLimits(60.0, device=device), executor=Told())


def test_rows_with_most_to_gain_come_first(monkeypatch):
    stages = [Pass("qp-bound"), Pass("sdp-bound")]
    work = _work(monkeypatch, stages, 3)
    for state, (width, passes) in zip(work.rows, [(8.0, 1), (10.0, 0), (9.0, 0)], strict=True):
        state.least, state.passes = width, passes
    work._gains.note(1, 1.0, 0.5, 1.0)
    work._gains.note(2, 1.0, 0.4, 0.5)
    chosen = []
    busy: set[int] = set()
    while (aim := work._best(busy)) is not None:
        busy.update(aim.rows)
        chosen.append((aim.stage.solver, aim.rows.start))
    # 0.6 a 0.5 s for 8 is more than 0.5 + 0.5 * 0.6 a 1.5 s for 10
    assert chosen == [("sdp-bound", 0), ("qp-bound", 1), ("qp-bound", 2)]


@pytest.mark.parametrize(("device", "most"), [("cpu", ROWS_ON_CPU), ("cuda", CHUNK_ROWS)])
def test_neighbours_join_a_run_of_a_batched_solver(monkeypatch, device, most):
    work = _work(monkeypatch, [Pass("lowrank-bound")], 300, device)
    for state in work.rows:
        state.least = 0.1 if state.problem.row < 10 else 1.0
    work.rows[150].least = 1.5
    aim = work._best(set())
    assert aim is not None
    assert len(aim.rows) == most
    assert 150 in aim.rows
    assert aim.rows.start >= 10


def test_passes_on_all_rows_lead_and_each_row_is_taken_once(monkeypatch):
    stages = [Pass("swap", looks_for_masks=True, together=True), Pass("qp-bound")]
    work = _work(monkeypatch, stages, 4)
    list(work)
    assert work._pool.runs[0] == ("swap", range(4))
    work._pool.runs.clear()
    for state in work.rows:
        state.passes = 1
    list(work)
    assert work._pool.runs == [("qp-bound", range(row, row + 1)) for row in range(4)]
