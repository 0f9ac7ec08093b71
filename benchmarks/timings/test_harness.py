"""What a run costs beyond itself, and what a second worker brings: `make harness`.

Nothing is asserted about time. `start_s` is a process that does nothing, from start to exit, forked
from the same server; `overhead_s` is what a run takes beyond that and beyond the time it spends at
its task: sending it, certifying and writing its record. `gain` is the throughput of two workers
over that of one: on runs that keep a core busy, which takes two idle cores, and on runs that wait
for half a second, which shows the harness alone.
"""

import math
import multiprocessing
import time
from contextlib import nullcontext
from statistics import median

import pytest

from maskgap.benchmarks.runs.chosen_executor import chosen_cluster
from maskgap.benchmarks.runs.placement import Placement
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.process_start import bare_main
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.suites.suite import Suite
from maskgap.instances.objective import ObjectiveName
from maskgap.solvers.kernels.wanted import Wanted

EXECUTORS = ["local", "dask"]
INSTANCES = ["query0-n12", "key1-n16", "output5-n16"]


def _suite(instances, solvers=("exhaustive",), **more):
    group = {
        "name": "g", "instances": list(instances), "patterns": ["50%", "2:4"],
        "solvers": list(solvers), "time_limit_s": 60.0, **more,
    }  # fmt: skip
    return Suite.model_validate({"name": "harness", "groups": [group]})


def _executor(name, workers):
    if name == "local":
        return nullcontext(Pool(workers, 1))
    pytest.importorskip("distributed", reason="pip install maskgap[cluster]")
    placement = Placement(name, workers=workers, jobs=workers, capped=True)
    return chosen_cluster(placement, print)


def _start_s():
    context = multiprocessing.get_context("forkserver")
    spent = []
    for _ in range(20):
        begun = time.perf_counter()
        process = context.Process(target=int)
        with bare_main():
            process.start()
        process.join()
        spent.append(time.perf_counter() - begun)
    return median(spent)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_overhead(benchmark, tmp_path, executor):
    """Runs of milliseconds, one after another; the server and the layers are there already."""
    with _executor(executor, 1) as found:
        local = Pool(1, 1)
        local.preload(["maskgap.solvers.tree.exhaustive"])
        assert list(local.settings([Wanted("exhaustive", {}, ObjectiveName.MASK)]))
        run_suite(_suite(INSTANCES), tmp_path / "before", executor=found)
        result = benchmark.pedantic(
            lambda: run_suite(_suite(INSTANCES), tmp_path / "run", executor=found), rounds=1
        )
    runs = len(result.records)
    start_s = _start_s()
    run_s = benchmark.stats.stats.min / runs
    own_s = math.fsum(record.wall_s for record in result.records) / runs
    figures = {"run_s": run_s, "own_s": own_s, "start_s": start_s, "runs": runs}
    figures["overhead_s"] = run_s - own_s - start_s
    benchmark.extra_info.update(figures)
    print({"executor": executor, **{name: round(value, 4) for name, value in figures.items()}})


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("work", "solver", "limit_s"),
    [("busy", "exhaustive", 60.0), ("waiting", "tests.helpers.fakes:Patient", 0.5)],
)
def test_throughput(benchmark, tmp_path, executor, work, solver, limit_s):
    """Runs of some tenths of a second, on one worker and on two."""
    suite = _suite(
        ["synthetic:n=20,rows=24,seed=1"], [solver], patterns=["50%"], time_limit_s=limit_s
    )
    spent = {}
    for workers in (1, 2):
        with _executor(executor, workers) as found:
            before = _suite(INSTANCES, [solver], time_limit_s=0.1, rows="0:1")
            run_suite(before, tmp_path / f"before{workers}", executor=found)
            begun = time.perf_counter()
            result = run_suite(suite, tmp_path / f"run{workers}", executor=found)
            spent[workers] = time.perf_counter() - begun
    runs = len(result.records)
    benchmark.pedantic(lambda: None, rounds=1)
    figures = {"one_s": spent[1] / runs, "two_s": spent[2] / runs, "gain": spent[1] / spent[2]}
    benchmark.extra_info.update(figures)
    print(
        {
            "executor": executor,
            "work": work,
            **{name: round(value, 3) for name, value in figures.items()},
        }
    )
