"""Runs on a dask cluster of the loopback address: the same records as in processes of our own."""

import json
import os
import pickle
import signal
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

pytest.importorskip("distributed", reason="pip install maskgap[cluster]")

import dask
from distributed import LocalCluster

from maskgap.benchmarks.runs.cluster import client as clusters
from maskgap.benchmarks.runs.cluster import connection, site
from maskgap.benchmarks.runs.cluster.connection import connected
from maskgap.benchmarks.runs.environment import here
from maskgap.benchmarks.runs.placement import Placement
from maskgap.benchmarks.runs.planning import SuiteRun
from maskgap.benchmarks.runs.record_file import read_records
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.suites.suite import read_suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import PATTERNS, parse_pattern
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Problem
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import Deadline, Limits, Stop
from maskgap.solvers.registry import build
from tests.helpers.command import started
from tests.helpers.general import SHAPES, layer_with_extras
from tests.helpers.tiny import random_layer

FAKES = "tests.helpers.fakes"
WORKERS = 3

TIMES = {
    "started", "build_s", "warmup_s", "solve_s", "check_s", "wall_s", "peak_memory_bytes",
    "trace", "host",
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """A scheduler with three workers of one thread. A run that fells two of them is given up."""
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.deploy.lost-worker-timeout": "1 day",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit="2GiB",
        ) as found,
    ):
        yield found


@pytest.fixture
def scheduler(cluster):
    """With all its workers, for some tests kill them."""
    _wait_for(lambda: len(cluster.scheduler.workers) == WORKERS)
    return cluster


@contextmanager
def executor(scheduler, capped=False, say=lambda text: None):
    placement = Placement("dask", scheduler.scheduler_address, capped=capped)
    with connected(placement, say) as found:
        found.preload([FAKES])
        yield found


def _task(solver, limit=60.0, settings=None, **more):
    problem = Problem.of(random_layer(1, 8), parse_pattern("50%"))
    limits = RunLimits(limit_s=limit, **more)
    return Task(problem, f"{FAKES}:{solver}", settings or {}, limits)


def _toml(tmp_path, solvers, limit=60.0, rows=4):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 12, rows=rows))
    path = tmp_path / "t.toml"
    path.write_text(
        f'name = "t"\n[[groups]]\nname = "g"\ninstances = ["layer.safetensors"]\n'
        f'patterns = ["50%", "2:4"]\nsolvers = [{", ".join(solvers)}]\ntime_limit_s = {limit}\n'
    )
    return path


def _named(*names):
    return [json.dumps(name) for name in names]


def _wait_for(condition, limit_s=120.0):
    end = time.perf_counter() + limit_s
    while not (found := condition()):
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.05)
    return found


def _gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _content(records):
    """What does not depend on the moment or the machine, by key: each key once."""
    assert len({r.key for r in records}) == len(records)
    kept = {
        r.key: {name: value for name, value in r.model_dump().items() if name not in TIMES}
        for r in records
    }
    for own in kept.values():
        own["notes"] = {k: v for k, v in own["notes"].items() if not k.endswith("_s")}
    return kept


def _recorded(directory):
    return read_records(directory / "records.jsonl")[0]


def _worker_of(pid):
    """The worker whose server a run was forked from."""
    return psutil.Process(psutil.Process(pid).ppid()).parent()


def _workers(scheduler):
    return [worker.process.pid for worker in scheduler.workers.values() if worker.process]


def test_a_suite_gives_the_same_records_as_locally(scheduler, tmp_path):
    toml = _toml(tmp_path, _named("wanda", "random", "exhaustive", "swap", "gurobi", "qp-bound"))
    suite = read_suite(str(toml))
    local = run_suite(suite, tmp_path / "local", SuiteRun(jobs=2))
    with executor(scheduler) as found:
        there = run_suite(suite, tmp_path / "there", executor=found)
    assert there.signal_number is None
    assert _content(_recorded(tmp_path / "there")) == _content(local.records)
    assert {r.verdict for r in there.records} >= {"proved", "feasible"}
    assert all(r.host and r.packages["maskgap"] for r in there.records)


def test_an_objective_reaches_the_workers(scheduler, tmp_path):
    toml = _toml(tmp_path, _named("wanda", "exhaustive"), rows=2)
    toml.write_text(toml.read_text() + 'objective = "refit"\nridge = 0.1\n')
    suite = read_suite(str(toml))
    local = run_suite(suite, tmp_path / "local", SuiteRun(jobs=2))
    with executor(scheduler) as found:
        there = run_suite(suite, tmp_path / "there", executor=found)
    assert _content(there.records) == _content(local.records)
    assert {r.ridge for r in there.records} == {0.1}
    assert {r.verdict for r in there.records if r.solver == "exhaustive"} == {"closed"}


def test_a_worker_killed_in_the_middle_loses_nothing(scheduler, tmp_path):
    """A run begins on it and waits; started again elsewhere, it answers at once."""
    folder = tmp_path / "marks"
    folder.mkdir()
    once = f'{{ name = "{FAKES}:Once", settings = {{ folder = {json.dumps(str(folder))} }} }}'
    toml = _toml(tmp_path, [once, *_named("wanda", "exhaustive", "random")], limit=600.0, rows=1)
    process = started(
        "run", toml, "--allow-code", "--out", tmp_path / "there", "--executor", "dask",
        "--scheduler", scheduler.scheduler_address,
    )  # fmt: skip
    pid = int(_wait_for(lambda: next(folder.glob("row?"), None)).read_text())
    run, worker = psutil.Process(pid), _worker_of(pid)
    assert worker.pid in _workers(scheduler)
    worker.kill()
    _wait_for(lambda: _gone(run))
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    local = run_suite(read_suite(str(toml)), tmp_path / "local", SuiteRun(jobs=2))
    assert _content(_recorded(tmp_path / "there")) == _content(local.records)
    assert {r.stop for r in local.records} == {"finished"}


def test_a_crash_is_a_record_and_not_repeated(scheduler, tmp_path):
    toml = _toml(tmp_path, _named(f"{FAKES}:Abort", f"{FAKES}:Raise", "wanda"), rows=1)
    local = run_suite(read_suite(str(toml)), tmp_path / "local", SuiteRun(jobs=2))
    with executor(scheduler) as found:
        there = run_suite(read_suite(str(toml)), tmp_path / "there", executor=found)
    assert _content(there.records) == _content(local.records)
    assert sum("SIGABRT" in (r.exception or "") for r in there.records) == 2
    assert len(_recorded(tmp_path / "there")) == len(local.records)


def test_a_run_that_takes_its_workers_with_it_is_given_up(scheduler):
    with executor(scheduler) as found:
        outcomes = dict(found.outcomes([_task("Fells"), _task("Good"), _task("Good")]))
    assert outcomes[0].answers[0].stop is Stop.CRASHED
    assert "every worker that ran it died" in outcomes[0].exception
    assert outcomes[0].place.host == {}
    assert [outcomes[i].answers[0].stop for i in (1, 2)] == [Stop.FINISHED] * 2


def test_when_all_workers_die_others_get_the_layer_anew(scheduler):
    layer = random_layer(2, 1200)  # of those that runs share in memory
    task = Task(Problem.of(layer, parse_pattern("50%")), "wanda", {})
    with executor(scheduler) as found:
        ((_, before),) = found.outcomes([task])
        for pid in _workers(scheduler):
            os.kill(pid, signal.SIGKILL)
        ((_, after),) = found.outcomes([task])
    assert (before.answers[0].mask == after.answers[0].mask).all()
    assert after.place == here()


def test_an_interrupt_ends_runs_in_order_and_exits_130(tmp_path):
    """On a cluster of its own, with the signal sent to the whole group as a terminal does."""
    toml = _toml(tmp_path, _named("wanda", f"{FAKES}:Patient"), limit=600.0)
    out = tmp_path / "run"
    process = started(
        "run",
        toml,
        "--allow-code",
        "--out",
        out,
        "--executor",
        "dask",
        "--jobs",
        2,
        start_new_session=True,
    )
    path = out / "records.jsonl"
    _wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 4)
    time.sleep(2.0)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    ended = [r for r in _recorded(out) if r.stop == "interrupted"]
    assert 1 <= len(ended) <= 2
    assert all(r.objective is not None for r in ended)
    _wait_for(lambda: all(map(_gone, children)))


def test_runs_end_when_their_command_is_killed(scheduler, tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    once = f'{{ name = "{FAKES}:Once", settings = {{ folder = {json.dumps(str(folder))} }} }}'
    toml = _toml(tmp_path, [once], limit=600.0, rows=1)
    process = started(
        "run", toml, "--allow-code", "--out", tmp_path / "run", "--executor", "dask",
        "--scheduler", scheduler.scheduler_address,
    )  # fmt: skip
    pid = int(_wait_for(lambda: next(folder.glob("row?"), None)).read_text())
    run = psutil.Process(pid)
    process.kill()
    process.communicate()
    _wait_for(lambda: _gone(run))
    with executor(scheduler) as found:
        names = found._client.run_on_scheduler(
            lambda dask_scheduler: [*dask_scheduler.worker_plugins]
        )
        assert [name for name in names if name.startswith("maskgap-")] == [found._site]


def test_a_whole_layer_has_the_same_certificate_as_locally(scheduler, tmp_path):
    layer = random_layer(5, 12, rows=5)
    write_layer(tmp_path / "layer", Layer.from_arrays(layer.weight, layer.gram, 2 * layer.gram))
    words = ("bound", tmp_path / "layer", "-p", "50%", "--max-runs", 9, "--json")
    where = ("--executor", "dask", "--scheduler", scheduler.scheduler_address)
    local, there = started(*words), started(*words, *where)
    found = [json.loads(line) for line in there.communicate(timeout=240)[0].splitlines()]
    expected = [json.loads(line) for line in local.communicate(timeout=240)[0].splitlines()]
    assert there.returncode == local.returncode == 0
    assert len(found) == 6
    for total in (found[-1], expected[-1]):
        total["trace"] = total["trace"][-1][1:]  # without the seconds
    assert found == expected


def test_a_run_has_its_share_of_the_worker_s_memory(scheduler):
    with executor(scheduler, capped=True) as found:
        ((_, capped),) = found.outcomes([_task("Asks")])
    with executor(scheduler) as found:
        ((_, free),) = found.outcomes([_task("Asks")])
    assert capped.answers[0].stop is Stop.MEMORY
    assert free.answers[0].stop is Stop.FINISHED


def test_more_threads_than_any_worker_has_is_an_error(scheduler):
    with executor(scheduler) as found:
        assert found.threads(2) == 1
        with pytest.raises(InputError, match="--nthreads 2"):
            list(found.outcomes([_task("Good", threads=2)]))


def test_bad_input_found_by_a_solver_is_an_error(scheduler):
    with executor(scheduler) as found:
        with pytest.raises(InputError, match="damping=much: expected a number"):
            found.settings([Wanted("obs", {"damping": "much"}, ObjectiveName.MASK)])
        with pytest.raises(InputError, match="'foo' does not exist"):
            list(found.outcomes([_task("Deaf"), _task("Picky", settings={"start": "foo"})]))


def test_a_task_travels_without_its_layer():
    layer = random_layer(2, 256, rows=64)
    start = Problem.of(layer, parse_pattern("50%")).weight > 0
    problem = Problem(layer, parse_pattern("50%"), range(3, 5), start)
    task = Task(problem, "wanda", {})
    sent = pickle.dumps(site.light(task))
    assert len(sent) < 8000
    back = site._whole(pickle.loads(sent), layer)
    assert (back.problem.start[3:5] == start[3:5]).all()
    assert back.problem.digest == problem.digest


EVERY_KIND = ("50%", "keep=5", "2:4", *SHAPES)


def test_every_kind_of_pattern_is_solved_on_a_worker(scheduler):
    """With what a pattern rests on in the layer: costs, forced columns."""
    problems = []
    for text in EVERY_KIND:
        layer = layer_with_extras(1, *SHAPES.get(text, (1, 8)))
        problems.append(Problem.of(layer, parse_pattern(text)))
    assert {type(problem.pattern) for problem in problems} == set(PATTERNS)
    tasks = [Task(problem, "wanda", {}) for problem in problems]
    with executor(scheduler) as found:
        outcomes = dict(found.outcomes(tasks))
    for number, problem in enumerate(problems):
        masks = np.stack([answer.mask for answer in outcomes[number].answers])
        here_too = build("wanda").solve_rows(problem, Limits(Deadline(60.0)), 0)
        assert (masks == np.stack([answer.mask for answer in here_too])).all(), EVERY_KIND[number]
        assert problem.is_legal(masks.reshape(-1, problem.layer.d_in))


@pytest.mark.parametrize("text", ["50%;cost=45%", "50%;forced"])
def test_costs_and_forced_columns_of_a_shared_layer_reach_a_worker(scheduler, text):
    """A layer so large that the worker keeps it in memory that its runs share."""
    plain = random_layer(2, 1200)
    rng = np.random.default_rng(3)
    extras = {
        "column_cost": (np.arange(1200) % 40 == 0).astype(int),
        "forced": rng.integers(-1, 2, (1, 1200)) * (np.arange(1200) % 3 == 0),
    }
    layer = Layer.of({**plain.arrays(), **extras}, plain.meta)
    problem = Problem.of(layer, parse_pattern(text))
    with executor(scheduler) as found:
        ((_, outcome),) = found.outcomes([Task(problem, "wanda", {})])
    assert outcome.exception is None
    assert problem.is_legal(outcome.answers[0].mask[None, :])
    if text.endswith("forced"):
        forced = layer.forced[0] != 0
        assert (outcome.answers[0].mask[forced] == (layer.forced[0, forced] > 0)).all()


def test_other_sources_are_refused(scheduler, monkeypatch):
    monkeypatch.setattr(clusters, "sources", lambda modules: {"kernels": "other"})
    with (
        executor(scheduler) as found,
        pytest.raises(InputError, match=r"has kernels \w+, this machine other"),
    ):
        list(found.outcomes([_task("Good")]))


def test_other_versions_are_refused(scheduler, monkeypatch):
    ours = {**site.versions(), "maskgap": "9.9"}
    monkeypatch.setattr(connection, "versions", lambda: ours)
    with (
        pytest.raises(InputError, match=r"the scheduler has maskgap .*, this machine 9\.9"),
        executor(scheduler),
    ):
        pass
