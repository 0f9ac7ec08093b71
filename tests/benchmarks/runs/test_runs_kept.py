"""What stands of a run and what is run again, and that no answer or disk loses the rest."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from maskgap.benchmarks.reading.run_directory import read_run
from maskgap.benchmarks.runs.planning import SuiteRun
from maskgap.benchmarks.runs.pool import Pool
from maskgap.benchmarks.runs.record_file import load_run, read_records
from maskgap.benchmarks.runs.runner import run_suite
from maskgap.benchmarks.runs.source_digest import source_digest
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.suites.suite import Suite
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Stop
from tests.helpers.command import ROOT, maskgap, python
from tests.helpers.tiny import random_layer

FAKES = "tests.helpers.fakes"
RECORDS = "records.jsonl"


def _suite(tmp_path, *solvers, **more):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 8, rows=3))
    group = {
        "name": "g", "instances": ["layer.safetensors"], "patterns": ["50%"],
        "solvers": list(solvers), "time_limit_s": 5.0, **more,
    }  # fmt: skip
    return Suite.model_validate({"name": "t", "groups": [group], "directory": tmp_path})


def _by_solver(result):
    found = {}
    for record in result.records:
        found.setdefault(record.solver, []).append(record)
    return found


# What is settled.


@pytest.mark.parametrize(("number", "stop"), [
    (signal.SIGKILL, Stop.MEMORY), (signal.SIGTERM, Stop.INTERRUPTED),
    (signal.SIGHUP, Stop.INTERRUPTED), (signal.SIGSEGV, Stop.CRASHED),
])  # fmt: skip
def test_a_signal_from_outside_is_no_fault_of_the_solver(number, stop):
    problem = Problem.of(random_layer(1, 8), parse_pattern("50%"))
    pool = Pool(1, 1)
    pool.preload([FAKES])
    task = Task(problem, f"{FAKES}:Struck", {"number": int(number)}, RunLimits(5.0))
    ((_, outcome),) = pool.outcomes([task])
    assert outcome.answers[0].stop is stop
    assert signal.Signals(number).name in outcome.exception


def test_only_what_ended_by_itself_and_was_judged_as_today_is_not_run_again(tmp_path):
    out, suite = tmp_path / "run", _suite(tmp_path, "wanda", "magnitude", "exhaustive")
    run_suite(suite, out)
    lines = [json.loads(line) for line in (out / RECORDS).read_text().splitlines()]
    changes = [{"stop": "interrupted"}, {"stop": "memory"}, {"checker": CHECKER - 1},
               {"stop": "crashed"}, {}, {}, {"stop": "time"}, {"stop": "refused"}]  # fmt: skip
    changed = [{**line, **change} for line, change in zip(lines, changes, strict=False)]
    text = "".join(json.dumps(line) + "\n" for line in [*changed, *lines[len(changes) :]])
    (out / RECORDS).write_text(text)
    run_suite(suite, out)
    again = [r.key for r in read_records(out / RECORDS)[0][len(lines) :]]
    wanda = {line["key"] for line in lines[:3]}  # a batch, which is run as a whole
    assert set(again) == wanda
    assert {r.stop for r in load_run(out) if r.key in wanda} == {"finished"}
    result = run_suite(suite, out, SuiteRun(retry_failed=True))
    assert "crashed" not in {r.stop for r in result.records}
    assert {"time", "refused"} <= {r.stop for r in result.records}


def test_interrupted_runs_are_finished_by_the_same_command(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    suite = _suite(tmp_path, {"name": f"{FAKES}:Once", "settings": {"folder": str(marks)}},
                   time_limit_s=60.0, rows="0:1")  # fmt: skip
    (tmp_path / "s.json").write_text(suite.model_dump_json())
    code = (
        "import sys; from pathlib import Path\n"
        "from maskgap.benchmarks.runs.runner import run_suite\n"
        "from maskgap.benchmarks.suites.suite import Suite\n"
        f"s = Suite.model_validate_json(Path({str(tmp_path / 's.json')!r}).read_text())\n"
        f"print(run_suite(s, Path({str(tmp_path / 'run')!r})).signal_number)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while not list(marks.glob("row?")):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert told.strip() == str(int(signal.SIGTERM))
    assert {r.stop for r in load_run(tmp_path / "run")} == {"interrupted"}
    assert [r.stop for r in run_suite(suite, tmp_path / "run").records] == ["finished"]


def test_a_changed_solver_is_another_and_so_is_one_whose_helper_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "own_things"
    (package / "deep").mkdir(parents=True)
    files = {
        "alone.py": "import os, numpy\n",
        "uses.py": "from own_things import helper\nfrom own_things.deep.more import x\n",
        "own_things/__init__.py": "", "own_things/helper.py": "from . import other\n",
        "own_things/other.py": "y = 1\n", "own_things/deep/__init__.py": "",
        "own_things/deep/more.py": "x = 1\n", "own_things/unused.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def digests():
        source_digest.cache_clear()
        return source_digest("alone"), source_digest("uses")

    alone, uses = digests()
    assert len(alone) == len(uses) == 12
    for name in ("own_things/other.py", "own_things/deep/more.py", "own_things/__init__.py"):
        (tmp_path / name).write_text(files[name] + "z = 2\n")
        changed = digests()
        assert changed[0] == alone
        assert changed[1] != uses
        (tmp_path / name).write_text(files[name])
    (tmp_path / "own_things" / "unused.py").write_text("z = 2\n")
    assert digests() == (alone, uses)
    (tmp_path / "alone.py").write_text("broken (\n")
    assert digests()[0] not in (alone, "unknown")
    assert source_digest("sys") == source_digest("no_such_module") == "unknown"


def test_a_run_of_a_changed_solver_is_not_taken_for_done(tmp_path):
    body = (
        "from dataclasses import dataclass\nimport numpy as np\n"
        "from maskgap.solvers.protocol import Answer, Stop\n\n\n"
        "@dataclass(frozen=True)\nclass Mine:\n"
        "    def solve(self, problem, limits, seed):\n"
        "        mask = problem.groups.prune_lowest({} * np.arange(problem.n))\n"
        "        return Answer(mask, Stop.FINISHED)\n"
    )
    _suite(tmp_path, "wanda")
    (tmp_path / "t.toml").write_text(
        'name = "t"\n[[groups]]\nname = "g"\ninstances = ["layer.safetensors"]\n'
        'patterns = ["50%"]\nsolvers = ["changing:Mine"]\n'
    )
    for sign, lines in (("1.0", 3), ("1.0", 3), ("-1.0", 6)):
        (tmp_path / "changing.py").write_text(body.format(sign))
        done = maskgap("run", "t.toml", "--out", "run", "--allow-code", code=0, cwd=tmp_path)
        assert done.stdout.startswith("3 rows recorded")
        assert len((tmp_path / "run" / RECORDS).read_text().splitlines()) == lines


# An answer that cannot be judged is one rejected row.


WAYS = ("claim", "huge claim", "mask", "proof", "notes", "counters", "trace", "time", "no answer",
        "too few")  # fmt: skip


@pytest.mark.parametrize("per", ["row", "layer"])
def test_an_answer_that_breaks_its_judge_is_a_rejected_row(tmp_path, per):
    spoils = [{"name": f"{FAKES}:Spoils", "settings": {"how": how}} for how in WAYS]
    suite = _suite(tmp_path, "wanda", *spoils, "magnitude", per=per)
    found = {}
    for record in run_suite(suite, tmp_path / "run", SuiteRun(jobs=2)).records:
        found.setdefault(record.settings.get("how", record.solver), []).append(record)
    for honest in ("wanda", "magnitude"):
        assert all(r.objective is not None for r in found[honest])
    for how in WAYS:
        first, *others = found[how]
        if how == "proof" or (per == "layer" and how in ("huge claim", "counters")):
            assert first.verdict == "feasible"  # the proof alone is rejected; sums lack the others
            assert ("proof rejected" in first.reason) == (how == "proof")
            continue
        # a list is no mask, as an array that misses the budgets is none
        ending = first.verdict if how == "mask" else first.stop
        assert (ending, first.objective) == ("wrong" if how == "mask" else "crashed", None)
        assert first.reason
        if how not in ("too few", "no answer"):
            assert all(r.verdict == "feasible" for r in others)
    assert read_run(tmp_path / "run").records


def test_what_a_solver_says_is_kept_as_text(tmp_path):
    (record, *_) = run_suite(_suite(tmp_path, f"{FAKES}:Speaks"), tmp_path / "run").records
    assert record.verdict == "feasible"
    assert record.notes == {"\x1b[31m": "\\ud800", "size": "inf"}
    (shown, *_) = read_run(tmp_path / "run").records
    assert shown.notes == {"\\x1b[31m": "\\ud800", "size": "inf"}


# Disks, limits and links.


def _run(tmp_path, *words, limits=()):
    def limited():
        for what, value in limits:
            resource.setrlimit(what, value)

    return maskgap("run", *words, cwd=tmp_path, preexec_fn=limited)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    words = ("smoke", "--solvers", "wanda,magnitude,obs", "--out", "run", "--jobs", "1")
    done = _run(tmp_path, *words, limits=[(resource.RLIMIT_FSIZE, (12_000, 12_000))])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("maskgap: ")]
    assert "records.jsonl: cannot be written" in line
    before = read_records(tmp_path / "run" / RECORDS)[0]
    assert before
    done = _run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    after = read_records(tmp_path / "run" / RECORDS)[0]
    assert after[: len(before)] == before
    assert len(after) == len({r.key for r in after}) == 18


def test_a_hard_limit_of_memory_is_no_crash(tmp_path):
    hard = 6 << 30
    words = ("smoke", "--solvers", "wanda", "--out", "run", "--jobs", "1")
    code = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({hard}, {hard}))\n"
        "from maskgap.benchmarks.runs.pool import Pool\n"
        "from maskgap.benchmarks.runs import child\n"
        "from maskgap.benchmarks.runs.task import RunLimits, Task\n"
        "child.resource.setrlimit = lambda *a: None if a[1][1] <= "
        f"{hard} else (_ for _ in ()).throw(ValueError('not allowed to raise it'))\n"
        "from maskgap.instances.masks.patterns import parse_pattern\n"
        "from maskgap.instances.problem import Problem\n"
        "from tests.helpers.tiny import random_layer\n"
        "p = Problem.of(random_layer(1, 8), parse_pattern('50%'))\n"
        f"pool = Pool(1, 1, {hard} * 100)\n"
        "((_, o),) = pool.outcomes([Task(p, 'wanda', {}, RunLimits(5.0))])\n"
        "print(o.answers[0].stop)"
    )
    assert python(code).stdout == "finished\n"
    done = _run(tmp_path, *words, limits=[(resource.RLIMIT_DATA, (hard, hard))])
    assert done.returncode == 0, done.stderr
    assert "crashed" not in done.stderr


@pytest.mark.parametrize("name", [".lock", RECORDS, "plan.json"])
def test_a_link_in_the_directory_of_a_run_is_not_written_through(tmp_path, name):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="link"):
        run_suite(_suite(tmp_path, "wanda"), tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "kept"


def test_files_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o077)
    try:
        run_suite(_suite(tmp_path, "wanda"), tmp_path / "run")
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "run").iterdir()}
    assert modes == {RECORDS: 0o600, "plan.json": 0o600, ".lock": 0o600}
