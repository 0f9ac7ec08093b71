"""Whole layers: masks and checked bounds row by row, resumed, judged, and checked from the file."""

import json
import math
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from maskgap import bound
from maskgap.benchmarks.commands.bound_store import PROOF_NAME
from maskgap.benchmarks.layers import rows as bounding
from maskgap.benchmarks.layers import work as layer_work
from maskgap.benchmarks.layers.bounding import bounding as bound_layer
from maskgap.benchmarks.layers.passes import WIDE_COLUMNS, Pass, ladder
from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.instances.formats.files import read_mask, write_layer, write_mask
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.sources import shipped
from maskgap.solvers.one_shot import scores
from tests.helpers.command import maskgap, started
from tests.helpers.tiny import brute_force, random_layer


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "layer.safetensors"
    layer = random_layer(5, 12, rows=5)
    write_layer(path, Layer.from_arrays(layer.weight, layer.gram, 2 * layer.gram))
    return path


def lines(*words, code=0):
    done = maskgap("bound", *words, "--json")
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def problem_of(layer, pattern="50%", start=None):
    return Problem.of(layer, parse_pattern(pattern), None, start)


def worked(layer, pattern="50%", start=None, **more):
    work = LayerBound(problem_of(layer, pattern, start), RunLimits(120.0), **more)
    list(work)
    return work


def test_a_small_layer_is_proved_row_by_row_and_in_total(file, tmp_path):
    layer = random_layer(5, 12, rows=5)
    *rows, total = lines(file, "-p", "2:4", "--proof", tmp_path / "p", "--out", tmp_path / "m")
    assert [line["row"] for line in rows] == list(range(5))
    for line, weight in zip(rows, layer.weight, strict=True):
        loss, pruned = brute_force(weight, layer.gram, 4, 2)
        assert line["objective"] == pytest.approx(loss, rel=1e-9)
        assert line["pruned"] == list(pruned)
        assert line["bound_kind"] == "checked"
        assert line["verdict"] == "proved"
        assert line["objective_eval"] == pytest.approx(2 * loss, rel=1e-9)
    assert total["total"] is True
    assert "row" not in total
    assert total["objective"] == math.fsum(line["objective"] for line in rows)
    assert total["bound"] == math.fsum(line["bound"] for line in rows)
    assert total["gap"] == pytest.approx(
        (total["objective"] - total["bound"]) / total["objective"], abs=1e-12
    )
    assert (total["closed"], total["rows"], total["verdict"]) == (5, 5, "proved")
    mask = read_mask(tmp_path / "m", layer)
    assert [np.flatnonzero(~row).tolist() for row in mask] == [line["pruned"] for line in rows]
    done = maskgap("check", tmp_path / "p" / PROOF_NAME, "--instance", file, "-p", "2:4")
    assert done.returncode == 0
    assert done.stdout.count("holds") == 5


def test_a_mask_is_judged_and_not_improved(file, tmp_path):
    layer = random_layer(5, 12, rows=5)
    wanda = problem_of(layer).groups.prune_lowest(np.abs(layer.weight))
    write_mask(tmp_path / "mask", wanda, layer, "50%", "wanda", rows=range(5))
    *rows, total = lines(file, "-p", "50%", "--mask", tmp_path / "mask")
    losses = problem_of(layer).losses(wanda)
    assert [line["objective"] for line in rows] == pytest.approx(losses.tolist(), rel=1e-12)
    for line, weight in zip(rows, layer.weight, strict=True):
        loss, _ = brute_force(weight, layer.gram, 12, 6)
        assert line["bound"] == pytest.approx(loss, rel=1e-6)
    assert total["gap"] > 0.01
    assert total["verdict"] == "feasible"
    assert total["closed"] == 5  # no bound can be higher: the work ended by itself


def test_work_ends_at_the_total_gap_that_is_enough(monkeypatch):
    stages = [Pass("swap", looks_for_masks=True), Pass("shift-bound"), Pass("fw-bnb")]
    monkeypatch.setattr(bounding, "ladder", lambda n: iter(stages))
    monkeypatch.setattr(layer_work, "SUM_INTERVAL_S", 0.0)
    layer = random_layer(5, 12, rows=5)
    whole = worked(layer)
    assert (whole.total.closed, whole.interrupted) == (5, False)
    work = worked(layer, enough=0.99)
    assert 0 < work.total.gap <= 0.99
    assert work.total.closed < 5
    assert not work.interrupted
    held = {proof.row: proof for proof in work.proofs()}
    again = worked(layer, enough=0.99, held=held)
    assert again.total.bound == work.total.bound


def test_a_pass_that_takes_minorants_begins_from_those_with_triangles(monkeypatch):
    stages = [
        Pass("swap", looks_for_masks=True),
        Pass("sdp-bound", {"triangle_rounds": 2, "triangle_least": 1e-3}),
        Pass(
            "fw-bnb", {"reoptimise": "on", "max_nodes": 3}, takes_masks=True, takes_minorants=True
        ),
    ]
    monkeypatch.setattr(bounding, "ladder", lambda n: iter(stages))
    work = LayerBound(problem_of(random_layer(5, 40, rows=3)), RunLimits(120.0))
    given = []
    judged = work._judged
    monkeypatch.setattr(
        work,
        "_judged",
        lambda aims, task_of: judged(aims, lambda aim: given.append(task_of(aim)) or given[-1]),
    )
    list(work)
    of = {
        task.problem.rows.start: task.problem.minorants for task in given if task.problem.minorants
    }
    assert [task.problem.minorants for task in given if task.solver != "fw-bnb"] == [None] * 4
    for row, minorants in of.items():
        assert list(minorants) == [row]
        assert len(minorants[row].triangles) > 0
    assert of
    assert all(state.certificate.bound_kind is BoundKind.CHECKED for state in work.rows)


def test_the_command_ends_at_the_total_gap(tmp_path):
    path = tmp_path / "layer.safetensors"
    write_layer(path, random_layer(5, 40, rows=12))
    *_, total = lines(path, "-p", "50%", "--total-gap", "0.9", "--threads", "1")
    assert total["gap"] <= 0.9


def test_a_proof_that_is_changed_or_belongs_elsewhere_is_found_out(file, tmp_path):
    lines(file, "-p", "50%", "--proof", tmp_path / "p")
    path = tmp_path / "p" / PROOF_NAME
    again = maskgap("bound", file, "-p", "50%", "--proof", tmp_path / "p")
    assert again.returncode == 2
    assert "--resume" in again.stderr
    other = maskgap("bound", file, "-p", "2:4", "--proof", tmp_path / "p", "--resume")
    assert other.returncode == 2
    assert "about the pattern" in other.stderr
    assert maskgap("check", path, "--instance", file, "-p", "2:4").returncode == 1
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "maskgap-proof/1"})
    broken = maskgap("bound", file, "-p", "50%", "--proof", tmp_path / "p", "--resume")
    assert broken.returncode == 2
    assert len(broken.stderr.splitlines()) == 1


def test_resume_needs_proofs(file):
    done = maskgap("bound", file, "-p", "50%", "--resume")
    assert done.returncode == 2
    assert "--proof" in done.stderr


@pytest.mark.parametrize("cut", [3, 7, 11])
def test_a_run_cut_by_number_and_gone_on_with_ends_like_a_whole_one(monkeypatch, cut):
    """Passes that leave rows open, so that there is something to go on with."""
    stages = [Pass("swap", looks_for_masks=True), Pass("qp-bound"), Pass("sdp-bound")]
    monkeypatch.setattr(bounding, "ladder", lambda n: iter(stages))
    layer = random_layer(3, 40, rows=5)
    whole = worked(layer)
    first = worked(layer, runs=cut)
    held = {proof.row: proof for proof in first.proofs()}
    rest = worked(layer, held=held)
    for a, b, c in zip(first.rows, rest.rows, whole.rows, strict=True):
        assert b.certificate == c.certificate
        assert (b.mask == c.mask).all()
        assert b.certificate.bound >= a.certificate.bound
        assert b.proof is not None
        assert b.proof.bound == c.proof.bound


def test_no_time_leaves_trivial_bounds_and_says_so(file):
    done = maskgap("bound", file, "-p", "50%", "--time-limit", "0", "--json")
    assert done.returncode == 1  # rows without a mask
    *rows, total = map(json.loads, done.stdout.splitlines())
    assert total["bound"] == 0.0
    assert total["bound_kind"] == "trivial"
    assert total["objective"] is None
    assert all(line["pruned"] is None for line in rows)


def test_wide_rows_go_up_the_ladder_and_widest_first():
    layer = random_layer(1, 232, rows=3)
    work = LayerBound(problem_of(layer), RunLimits(120.0), runs=9)
    seen = [(state.problem.row, state.passes) for state in work]
    assert [passes for _, passes in seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    objectives = {s.problem.row: s.certificate.objective for s in work.rows}
    assert [row for row, _ in seen[6:]] == sorted(objectives, key=lambda r: -objectives[r])
    assert work.total.bound_kind is BoundKind.CHECKED
    assert 0.0 < work.total.gap < 0.5
    assert work.total.verdict is Verdict.FEASIBLE


def test_wide_rows_all_have_a_mask_and_a_bound_before_any_is_improved():
    layer = random_layer(1, WIDE_COLUMNS + 8, rows=3, tokens=4 * WIDE_COLUMNS)
    work = LayerBound(problem_of(layer), RunLimits(120.0), runs=2 * 3)
    list(work)
    assert {state.passes for state in work.rows} == {2}
    kinds = {state.certificate.bound_kind for state in work.rows}
    assert kinds == {BoundKind.CHECKED}
    assert all(0.0 < state.certificate.gap < 0.9 for state in work.rows)
    wanda = scores.lowest(work.problem, scores.wanda(layer))
    assert (work.masks() == wanda).all()


@pytest.mark.parametrize("n", [16, 384, 1024, 4096])
def test_the_ladder_begins_with_masks_and_never_ends(n):
    from itertools import islice

    from maskgap.solvers.registry import build, spec_of

    stages = list(islice(ladder(n), 12))
    assert stages[0].looks_for_masks
    for stage in stages:
        assert spec_of(stage.solver).missing is None
        build(stage.solver, stage.settings)


def _degenerate():
    rng = np.random.default_rng(3)
    plain = random_layer(9, 8, rows=3)
    inputs = rng.normal(size=(8, 40))
    doubled = inputs[[0, 0, 1, 1, 2, 3, 4, 5]]
    dead = inputs * np.array([1.0, 0, 1, 1, 0, 1, 1, 1])[:, None]
    single = plain.gram.astype(np.float32)
    single[0, 1] = np.nextafter(single[0, 1], np.float32(9e9))  # sums differ in their last bits
    return {
        "low rank": (plain.weight, inputs[:, :2] @ inputs[:, :2].T),
        "duplicated": (plain.weight, doubled @ doubled.T),
        "duplicated rows and columns": (np.ones((3, 8)), doubled @ doubled.T),
        "dead columns": (plain.weight, dead @ dead.T),
        "zero row": (plain.weight * np.array([[1.0], [0.0], [1.0]]), plain.gram),
        "float32": (plain.weight.astype(np.float32), single),
        "float32 low rank": (plain.weight, (inputs[:, :3] @ inputs[:, :3].T).astype(np.float32)),
    }


@pytest.mark.parametrize("case", _degenerate())
@pytest.mark.parametrize("pattern", ["50%", "2:4", "keep=1"])
def test_degenerate_layers_are_proved(case, pattern):
    layer = Layer.from_arrays(*_degenerate()[case])
    groups = parse_pattern(pattern).row_groups(8)
    work = worked(layer, pattern)
    for state, weight in zip(work.rows, layer.weight, strict=True):
        best, _ = brute_force(weight, layer.gram, groups.size, groups.pruned)
        scale = float(weight**2 @ layer.gram.diagonal())
        assert state.certificate.gap <= 1e-6
        # a loss of 0 needs no proof: it is a squared norm
        assert state.certificate.verdict is Verdict.PROVED, state.certificate
        assert state.certificate.bound <= best + 1e-12 * scale
        assert state.certificate.objective == pytest.approx(best, rel=1e-6, abs=1e-12 * scale)


@pytest.mark.parametrize("pattern", ["50%", "layer:50%"])
def test_an_interrupt_keeps_what_there_is_and_a_later_call_is_never_weaker(tmp_path, pattern):
    words = [
        shipped.path("value1-n384"), "-p", pattern, "--rows", "0:2", "--threads", "1",
        "--proof", tmp_path / "p", "--json",
    ]  # fmt: skip
    process = started("bound", *words, "--time-limit", "250")
    assert process.stderr is not None
    for line in process.stderr:
        if "total gap" in line and "100.00%" not in line and "gap -" not in line:
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    before = [json.loads(line) for line in out.splitlines()]
    assert before[-1]["bound_kind"] == "checked"
    asked = "--instance", words[0], "-p", pattern, "--rows", "0:2"
    done = maskgap("check", tmp_path / "p" / PROOF_NAME, *asked)
    assert done.returncode == 0, done.stderr
    after = lines(*words, "--time-limit", "10", "--resume")
    assert after[-1]["bound_kind"] == "checked"
    assert after[-1]["bound"] >= before[-1]["bound"] * (1 - 1e-12)
    assert after[-1]["objective"] <= before[-1]["objective"] * (1 + 1e-12)


def test_patterns_whose_layers_are_not_bounded_are_refused(file):
    done = maskgap("bound", file, "-p", "50%;cap=3/4", "--time-limit", "5")
    assert done.returncode == 2
    assert "layer:P%" in done.stderr


def test_the_interface_on_arrays():
    layer = random_layer(5, 12, rows=2)
    work = bound(layer.weight, layer.gram, "50%", time_limit=60.0)
    assert work.total.verdict is Verdict.PROVED
    mask = work.masks()
    assert mask is not None
    judged = bound(layer.weight, layer.gram, "50%", mask=mask)
    assert judged.total.objective == work.total.objective


def test_bad_input_is_one_line(file, tmp_path):
    for words in (
        (tmp_path / "none", "-p", "50%"),
        (file, "-p", "5:4"),
        (file, "-p", "50%", "--rows", "3:99"),
        (file, "-p", "50%", "--time-limit", "-1"),
        (file, "-p", "50%", "--threads", "0"),
        (file, "-p", "50%", "--gap", "-1"),
        (file, "-p", "50%", "--total-gap", "1"),
        (file, "-p", "50%", "--total-gap", "nan"),
        (file, "-p", "50%", "--total-gap", "0.1", "--sample", "1"),
        (file, "-p", "50%", "--max-runs", "-1"),
        (file, "-p", "50%", "--mask", tmp_path / "none"),
    ):
        done = maskgap("bound", *words)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


def test_a_wrong_answer_is_not_forgotten_for_a_right_one_after_it(monkeypatch):
    stages = [
        Pass("tests.helpers.fakes:Illegal", looks_for_masks=True),
        Pass("swap", looks_for_masks=True),
    ]
    monkeypatch.setattr(bounding, "ladder", lambda n: iter(stages))
    work = worked(random_layer(5, 12, rows=2))
    assert work.total.objective is not None
    assert work.total.verdict is Verdict.WRONG
    assert all("budgets" in state.certificate.reason for state in work.rows)


class Noted(Pool):
    """Notes the tasks it is given, and runs none."""

    def __init__(self):
        super().__init__(1, 1)
        self.tasks = []

    def outcomes(self, tasks):
        self.tasks += tasks
        return iter(())


@pytest.mark.parametrize("pattern", ["50%", "layer:50%"])
def test_limits_reach_each_run_whole(pattern):
    limits = RunLimits(60.0, 1e-3, 1, "cuda", 7)
    pool = Noted()
    list(
        bound_layer(problem_of(random_layer(1, 8, rows=3), pattern), limits, runs=3, executor=pool)
    )
    assert pool.tasks
    for task in pool.tasks:
        own = task.limits
        assert (own.gap, own.device, own.seed) == (1e-3, "cuda", 7)
        assert 0.0 < own.limit_s <= 60.0
