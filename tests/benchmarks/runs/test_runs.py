"""Runs: isolation, limits, records that survive a kill, resume by key."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from maskgap.benchmarks.runs.planning import SuiteRun
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.record_file import append_records, load_run, read_records
from maskgap.benchmarks.runs.recording import keys_of
from maskgap.benchmarks.runs.run_process import GRACE_S
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.suites.suite import Suite, read_suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Stop
from maskgap.solvers.registry import SPECS, build, settings_of
from tests.helpers.command import python, started
from tests.helpers.tiny import random_layer

FAKES = "tests.helpers.fakes"
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _task(solver, limit=5.0, n=8, **more):
    problem = Problem.of(random_layer(1, n), parse_pattern("50%"))
    return Task(problem, solver, {}, RunLimits(limit_s=limit, **more))


def _pool(jobs=2, memory_bytes=None):
    pool = Pool(jobs, 1, memory_bytes)
    pool.preload([FAKES])
    return pool


def _outcomes(*tasks):
    return dict(_pool().outcomes(tasks))


def test_a_native_crash_costs_one_run_only():
    found = _outcomes(
        _task(f"{FAKES}:Abort"), _task(f"{FAKES}:Good"), _task(f"{FAKES}:Raise"),
        _task(f"{FAKES}:Quits"), _task(f"{FAKES}:Refuses"), _task(f"{FAKES}:Good"),
    )  # fmt: skip
    stops = [found[i].answers[0].stop for i in range(6)]
    crashed, good = Stop.CRASHED, Stop.FINISHED
    assert stops == [crashed, good, crashed, crashed, Stop.REFUSED, good]
    assert "SIGABRT" in found[0].exception
    assert "ZeroDivisionError" in found[2].exception
    assert "on purpose" in found[2].traceback
    assert found[1].peak_memory_bytes > 0


def test_a_run_that_ignores_its_limit_is_killed_and_leaves_what_it_had():
    start = time.perf_counter()
    outcome = _outcomes(_task(f"{FAKES}:Deaf", limit=0.2))[0]
    assert outcome.answers[0].stop is Stop.TIME
    assert outcome.answers[0].mask is not None
    assert outcome.answers[0].claimed_bound == pytest.approx(
        outcome.answers[0].claimed_objective / 4
    )
    assert time.perf_counter() - start < GRACE_S + 30


def test_a_batch_that_is_killed_leaves_the_rows_that_were_done():
    problem = Problem.of(random_layer(3, 8, rows=4), parse_pattern("50%"))
    task = Task(problem, f"{FAKES}:HangsAfterTwo", {}, RunLimits(0.2))
    ((_, outcome),) = _pool().outcomes([task])
    assert [answer.mask is not None for answer in outcome.answers] == [True, True, False, False]
    stops = [answer.stop for answer in outcome.answers]
    assert stops == [Stop.FINISHED, Stop.FINISHED, Stop.TIME, Stop.TIME]


def test_a_memory_cap_is_a_reason_not_a_crash():
    ((_, outcome),) = _pool(memory_bytes=1 << 32).outcomes([_task(f"{FAKES}:Hungry")])
    assert outcome.answers[0].stop is Stop.MEMORY


def _suite(tmp_path, solvers, **more):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 8, rows=2))
    group = {
        "name": "g", "instances": ["layer.safetensors"], "patterns": ["50%"],
        "solvers": solvers, "time_limit_s": 5.0, **more,
    }  # fmt: skip
    return Suite.model_validate({"name": "t", "groups": [group], "directory": tmp_path})


def test_finished_runs_survive_a_crash_and_are_not_repeated(tmp_path):
    suite = _suite(tmp_path, ["exhaustive", f"{FAKES}:Abort", "random", "wanda"])
    out = tmp_path / "run"
    first = run_suite(suite, out, SuiteRun(jobs=2))
    assert len(first.records) == 2 + 2 + 6 + 2
    assert {r.solver for r in first.faults} == {f"{FAKES}:Abort"}
    lines = (out / "records.jsonl").read_bytes()
    again = run_suite(suite, out)
    assert (out / "records.jsonl").read_bytes() == lines
    assert len(again.records) == len(first.records)
    retried = run_suite(suite, out, SuiteRun(retry_failed=True))
    assert len(read_records(out / "records.jsonl")[0]) == len(first.records) + 2
    assert len(retried.records) == len(first.records)


def test_order_does_not_matter_and_every_parameter_does(tmp_path):
    out = tmp_path / "run"
    run_suite(_suite(tmp_path, ["wanda", "magnitude"]), out)
    before = (out / "records.jsonl").read_bytes()
    run_suite(_suite(tmp_path, ["magnitude", "wanda"]), out)
    assert (out / "records.jsonl").read_bytes() == before
    changed = run_suite(_suite(tmp_path, [{"name": "obs", "settings": {"damping": 0.1}}]), out)
    changed = run_suite(_suite(tmp_path, [{"name": "obs", "settings": {"damping": 0.2}}]), out)
    assert len(changed.records) == 2  # the table is that of the suite as it is now
    assert len(load_run(out)) == 4 + 4
    task = _task("random")
    keys = {tuple(keys_of(task))}
    for change in ({"seed": 1}, {"limit_s": 6.0}, {"gap": 1e-3}, {"threads": 2}):
        keys.add(tuple(keys_of(replace(task, limits=replace(task.limits, **change)))))
    other = Problem.of(task.problem.layer, parse_pattern("keep=3"))
    keys.add(tuple(keys_of(replace(task, problem=other))))
    assert len(keys) == 6


def test_bad_input_found_by_a_solver_is_an_error_and_leaves_no_record(tmp_path):
    solvers = ["wanda", {"name": f"{FAKES}:Picky", "settings": {"start": "foo"}}]
    with pytest.raises(InputError, match="'foo'"):
        run_suite(_suite(tmp_path, solvers), tmp_path / "run")
    assert {r.solver for r in load_run(tmp_path / "run")} == {"wanda"}


def test_a_setting_out_of_its_choices_is_told_before_any_run(tmp_path):
    solvers = ["wanda", {"name": "swap", "settings": {"warm_start": "foo"}}]
    with pytest.raises(InputError, match="warm_start=foo: expected one of magnitude"):
        run_suite(_suite(tmp_path, solvers), tmp_path / "run")
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_a_wrong_setting_is_an_error_before_anything_runs(tmp_path):
    wrong = {"name": "obs", "settings": {"damping": "much"}}
    with pytest.raises(InputError, match="damping=much: expected a number"):
        run_suite(_suite(tmp_path, ["wanda", wrong]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_planning_a_run_imports_no_solver(tmp_path):
    """Their settings come from the server of the runs: torch alone takes a second to import."""
    toml = _toml(tmp_path, ["swap", "fw-bnb"], 5.0)
    code = (
        "import sys; from pathlib import Path\n"
        "from maskgap.benchmarks.runs.runner import run_suite\n"
        "from maskgap.benchmarks.suites.suite import read_suite\n"
        f"r = run_suite(read_suite({str(toml)!r}), Path({str(tmp_path / 'run')!r}))\n"
        "assert r.records[0].settings['warm_start'] == 'wanda' and not r.faults\n"
        "heavy = ('torch', 'maskgap.solvers.local_search.swap', 'maskgap.solvers.tree.fw_bnb')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_a_torn_last_line_is_cut_and_only_that_run_repeated(tmp_path):
    suite = _suite(tmp_path, ["exhaustive", "magnitude", "wanda"])
    out = tmp_path / "run"
    run_suite(suite, out)
    path = out / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    result = run_suite(suite, out)
    assert len(result.records) == 6
    records, size = read_records(path)
    assert size == path.stat().st_size
    assert [r.key for r in records[:5]] == [json.loads(x)["key"] for x in whole.splitlines()[:5]]


def test_damage_elsewhere_is_refused_with_its_line_and_nothing_is_touched(tmp_path):
    suite = _suite(tmp_path, ["wanda"])
    out = tmp_path / "run"
    run_suite(suite, out)
    path = out / "records.jsonl"
    path.write_bytes(b"garbage\n" + path.read_bytes())
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 1 is not a record"):
        run_suite(suite, out)
    assert path.read_bytes() == before
    run_suite(suite, out, SuiteRun(fresh=True))
    assert len(load_run(out)) == 2
    assert [p.read_bytes() for p in out.glob("records-*.old.jsonl")] == [before]


def test_older_records_without_later_fields_still_load(tmp_path):
    suite = _suite(tmp_path, ["wanda"])
    run_suite(suite, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "records.jsonl").read_text().splitlines()[0])
    for name in ("bound", "bound_kind", "gap", "packages", "trace"):
        del record[name]
    (tmp_path / "run" / "records.jsonl").write_text(json.dumps(record) + "\n")
    (loaded,) = load_run(tmp_path / "run")
    assert loaded.bound is None
    record["schema_version"] = 99
    (tmp_path / "run" / "records.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="schema 99"):
        load_run(tmp_path / "run")


def test_records_are_strict_json(tmp_path):
    suite = _suite(tmp_path, [f"{FAKES}:Refuses", f"{FAKES}:Good"])
    run_suite(suite, tmp_path / "run")
    records = load_run(tmp_path / "run")
    refused = next(r for r in records if r.stop == "refused")
    assert (refused.objective, refused.gap, refused.verdict) == (None, None, "empty")
    with pytest.raises(ValueError, match="finite"):
        type(refused).model_validate({**refused.model_dump(), "objective": float("nan")})


def test_one_false_bound_fails_the_suite(tmp_path):
    claims = {"name": f"{FAKES}:Claims", "settings": {}}
    result = run_suite(_suite(tmp_path, ["exhaustive", claims]), tmp_path / "run")
    assert {r.solver for r in result.faults} == {f"{FAKES}:Claims"}


def _wait_for(condition, limit_s=60.0):
    end = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.02)


def _toml(tmp_path, solvers, limit):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 8, rows=4))
    path = tmp_path / "t.toml"
    path.write_text(
        f'name = "t"\n[[groups]]\nname = "g"\ninstances = ["layer.safetensors"]\n'
        f'patterns = ["50%"]\nsolvers = {json.dumps(solvers)}\ntime_limit_s = {limit}\n'
    )
    return path


def test_kill_9_of_the_harness_loses_only_runs_under_way(tmp_path):
    toml = _toml(tmp_path, ["wanda", "exhaustive", f"{FAKES}:Patient"], 1.0)
    out = tmp_path / "run"
    process = started("run", toml, "--allow-code", "--out", out, "--jobs", 1, **SILENT)
    path = out / "records.jsonl"
    _wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 9)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    done = [r.key for r in read_records(path)[0]]
    assert len(set(done)) >= 9
    result = run_suite(read_suite(str(toml)), out, SuiteRun(jobs=2))
    assert len(result.records) == 12
    assert [r.key for r in read_records(path)[0]][: len(done)] == done


def test_runs_far_from_their_limit_do_not_outlive_a_kill_9(tmp_path):
    toml = _toml(tmp_path, ["wanda", f"{FAKES}:Deaf"], 600.0)
    out = tmp_path / "run"
    process = started("run", toml, "--allow-code", "--out", out, "--jobs", 1, **SILENT)
    path = out / "records.jsonl"
    _wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 4)
    time.sleep(1.0)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_an_interrupt_ends_runs_in_order_and_exits_130(tmp_path):
    toml = _toml(tmp_path, ["wanda", f"{FAKES}:Patient"], 60.0)
    out = tmp_path / "run"
    process = started(
        "run",
        toml,
        "--allow-code",
        "--out",
        out,
        "--jobs",
        1,
    )
    path = out / "records.jsonl"
    _wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 4)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "feasible" in stdout
    last = read_records(path)[0][-1]
    assert last.stop == "interrupted"
    assert last.objective is not None


def test_two_runs_do_not_write_to_one_directory(tmp_path):
    toml = _toml(tmp_path, [f"{FAKES}:Patient"], 30.0)
    out = tmp_path / "run"
    process = started("run", toml, "--allow-code", "--out", out, **SILENT)
    try:
        _wait_for((out / "records.jsonl").exists)
        with pytest.raises(InputError, match="another run is writing"):
            run_suite(read_suite(str(toml)), out)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3", "field name"),
        ("name = ", "not TOML"),
        ('name = "x"\ngroups = []', "field groups"),
        (
            'name="x"\n[[groups]]\nname="g"\ninstances=["a"]\npatterns=["2:4"]\n'
            'solvers=["wanda"]\nseeds=[0]',
            "seeds",
        ),
        (
            'name="x"\n[[groups]]\nname="g"\ninstances=["a"]\npatterns=[2]\nsolvers=["wanda"]',
            "patterns",
        ),
    ],
)
def test_a_bad_suite_names_its_field(tmp_path, text, message):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_suite(str(path))


def test_appending_never_rewrites(tmp_path):
    suite = _suite(tmp_path, ["wanda"])
    result = run_suite(suite, tmp_path / "run")
    path = tmp_path / "run" / "records.jsonl"
    before = path.read_bytes()
    append_records(path, result.records)
    assert path.read_bytes().startswith(before)
    assert len(load_run(tmp_path / "run")) == 2
    assert np.isfinite([r.sparsity for r in result.records]).all()


def test_a_batch_solver_tells_how_many_rows_it_is_through_with():
    problem = Problem.of(random_layer(1, 8, rows=4), parse_pattern("50%"))
    pool, told = _pool(), []
    pool.progress = told.append
    ((_, outcome),) = pool.outcomes([Task(problem, f"{FAKES}:Plods", {})])
    assert len(outcome.answers) == 4
    assert told == sorted(told)
    assert {1, 2} <= set(told)


def test_a_record_says_what_its_solver_is(tmp_path):
    claims = {"name": f"{FAKES}:Claims", "settings": {"factor": 0.5}}
    once = {"name": f"{FAKES}:Once", "settings": {"folder": str(tmp_path)}}
    solvers = ["exhaustive", {"name": "search", "settings": {"population": 4}}, "gurobi"]
    suite = _suite(tmp_path, [*solvers, claims, once], time_limit_s=0.5)
    found = {r.solver: r for r in run_suite(suite, tmp_path / "run").records}
    exhaustive, search = found["exhaustive"], found["search"]
    assert (exhaustive.gives, exhaustive.batched, exhaustive.register_place) == ("proof", False, 0)
    assert (search.gives, search.batched, search.install) == ("mask", True, None)
    assert search.summary == SPECS["search"].summary
    default = settings_of(build("search"))
    assert list(search.defaults.items()) == list(default.items())  # in the solver's order
    assert search.settings == {**default, "population": 4}
    assert found["gurobi"].install == SPECS["gurobi"].missing
    own = found[claims["name"]]
    assert (own.gives, own.register_place, own.defaults) == ("mask", None, {"factor": 2.0})
    assert found[once["name"]].defaults is None  # it cannot be told nothing
