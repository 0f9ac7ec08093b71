"""`tables`, `plot`, `report` and the account of `run` from outside: outputs, mistakes, two runs."""

import csv
import io
import json
import signal
import time

import pytest

from maskgap.benchmarks.reading.contest import contests
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.report.page import render_page
from maskgap.benchmarks.reading.tables.comparison import render_comparison
from maskgap.benchmarks.reading.tables.summary import notes, render, shown_summary
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from tests.helpers.command import maskgap, started
from tests.helpers.records import closed, mixed_run, record, write
from tests.helpers.tiny import random_layer

# A solver that is not installed.


def _absent(*records):
    own = {"stop": "refused", "install": "pip install gurobipy", "solve_s": 0.0}
    return [*records, *(record("gurobi", r.problem, None, **own) for r in records)]


def test_a_solver_that_is_not_installed_is_named_once_and_has_no_line(tmp_path):
    records = cross_check(_absent(record("wanda", "p0"), record("wanda", "p1")))
    (contest,) = contests(records)
    assert [line["solver"] for line in shown_summary(contest)] == ["wanda*"]
    said = "gurobi is not installed (pip install gurobipy) and has no line."
    assert notes(contest) == [said]
    for fmt in ("md", "latex"):
        assert render(records, fmt).count("gurobi is not installed") == 1
    assert "gurobi" not in render(records, "csv")
    assert render_page(records).count("gurobi is not installed") == 1
    (figure, *_) = write_figures(write(tmp_path / "run", records), "svg")
    assert "gurobi" not in figure.read_text()


def test_a_solver_that_refuses_what_it_could_take_keeps_its_line():
    refused = record("gurobi", "p0", None, stop="refused", reason="more columns than the licence")
    (contest,) = contests([record("wanda"), refused])
    assert {line["solver"] for line in shown_summary(contest)} == {"wanda*", "gurobi"}
    (alone,) = contests(_absent(record("wanda"))[1:])
    assert [line["solver"] for line in shown_summary(alone)] == ["gurobi"]


# Two runs side by side.


def test_two_runs_are_compared_on_the_rows_that_both_have():
    there = [record("swap", f"p{i}", 10.0) for i in range(3)]
    here = [record("swap", "p0", 5.0, group="renamed"), record("swap", "p1", 10.0),
            record("swap", "p9", 1.0), record("obs", "p0", 1.0)]  # fmt: skip
    there.append(record("qp-bound", "p0", None, bound=4.0, bound_kind="checked"))
    text = render_comparison(cross_check(here), cross_check(there), "csv")
    (line,) = csv.DictReader(io.StringIO(text))
    assert line == {
        "solver": "swap", "rows": "2", "solved": "2 > 2", "error ratio": "0.7071", "better": "1",
        "worse": "0", "certified gap": "80.0 % > 100.0 %", "time ratio": "1.00",
    }  # fmt: skip
    assert "| swap   |    2 |" in render_comparison(here, there, "md")
    assert r"\begin{table}" in render_comparison(here, there, "latex")
    with pytest.raises(InputError, match="no row in common"):
        render_comparison(here, [record("swap", "elsewhere")], "md")


def test_a_run_compared_with_itself_changes_nothing(tmp_path):
    run = write(tmp_path / "run", mixed_run())
    done = maskgap("tables", run, "--against", run, "--format", "csv")
    assert done.returncode == 0, done.stderr
    lines = {line["solver"]: line for line in csv.DictReader(io.StringIO(done.stdout))}
    assert lines["swap"]["error ratio"] == lines["wanda"]["error ratio"] == "1.0000"
    assert {line["time ratio"] for line in lines.values()} == {"1.00"}
    assert not (run / "tables").exists()


# Outputs.


def test_csv_is_all_there_is_on_standard_output(tmp_path):
    run = write(tmp_path / "run", [*mixed_run(), closed("scip-miqp", "p9", 3.0, checker=0)])
    done = maskgap("tables", run, "--format", "csv")
    lines = list(csv.reader(io.StringIO(done.stdout)))
    assert {len(line) for line in lines} == {len(lines[0])}
    said = done.stderr.splitlines()
    assert "another version of the checker" in said[0]
    assert said[1:] == [str(run / "tables" / f"{n}.csv") for n in ("summary", "problems")]


def test_no_number_and_no_name_is_cut_in_a_narrow_pipe(tmp_path):
    name = "a-very-long-name-of-a-solver:OfOnesOwnThatGoesOnAndOn"
    run = write(tmp_path / "run", [record(name, "p0", 5.9557235e-06), record("wanda", "p0", 1.0)])
    done = maskgap("tables", run, code=0, env={"COLUMNS": "40"}, cwd=tmp_path)
    assert name in done.stdout
    assert "…" not in done.stdout
    assert "5.95572e-06" in (run / "tables" / "problems.md").read_text()


def test_a_run_in_json_is_its_records_and_a_total(tmp_path):
    done = maskgap("run", "smoke", "--solvers", "wanda,exhaustive", "--json", "--out", "r",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    *records, total = map(json.loads, done.stdout.splitlines())
    assert len(records) == 12
    assert {r["solver"] for r in records} == {"wanda", "exhaustive"}
    assert total["total"] is True
    assert total["records"] == 12
    assert sum(total[v] for v in ("proved", "closed", "feasible", "empty", "wrong")) == 12
    assert (total["crashed"], total["interrupted"], total["directory"]) == (0, False, "r")


def test_a_signal_is_told_by_the_exit_code(tmp_path):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 8, rows=1))
    (tmp_path / "t.toml").write_text(
        'name = "t"\n[[groups]]\nname = "g"\ninstances = ["layer.safetensors"]\n'
        'patterns = ["50%"]\nsolvers = ["tests.helpers.fakes:Patient", "wanda"]\n'
        "time_limit_s = 60.0\n"
    )
    process = started("run", "t.toml", "--out", "r", "--allow-code", cwd=tmp_path)
    path = tmp_path / "r" / "records.jsonl"
    end = time.perf_counter() + 60
    while not (path.exists() and path.read_bytes()):
        assert time.perf_counter() < end
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "interrupted; the same command goes on from here" in said


def test_what_solvers_print_is_no_result(tmp_path):
    write_layer(tmp_path / "layer.safetensors", random_layer(3, 8, rows=1))
    (tmp_path / "t.toml").write_text(
        'name = "t"\n[[groups]]\nname = "g"\ninstances = ["layer.safetensors"]\n'
        'patterns = ["50%"]\nsolvers = ["tests.helpers.fakes:Chatters"]\n'
    )
    done = maskgap("run", "t.toml", "--out", "r", "--allow-code", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2
    assert "said by Python" in done.stderr
    assert "native" not in done.stderr + done.stdout


# Mistakes.


@pytest.mark.parametrize("words", [
    ["tables", "nowhere"], ["tables", "file"], ["tables", "empty"], ["tables", "run", "--format",
    "xlsx"], ["tables", "run", "--against", "nowhere"], ["tables", "run", "--against", "other"],
    ["tables"], ["plot", "nowhere"], ["plot", "file"], ["plot", "empty"], ["plot", "run",
    "--format", "gif"], ["plot", "broken"], ["plot", "blocked"], ["report", "nowhere"],
    ["report", "empty"], ["report", "broken"], ["report", "run", "--out", "file"],
    ["report", "run", "--out", "run"], ["report", "run", "--out", "file/below"],
    ["report", "run", "--out", "/proc/nope/x"], ["report", "blocked"], ["tables", "blocked"],
])  # fmt: skip
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, words):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "run", [record("wanda")])
    write(tmp_path / "other", [record("wanda", "another")])
    blocked = write(tmp_path / "blocked", [record("wanda")])
    for name in ("tables", "figures"):
        (blocked / name).write_text("kept")
    (blocked / "report.html").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "records.jsonl").write_text("{}\n")
    before = {p: p.is_dir() or p.read_bytes() for p in tmp_path.rglob("*")}
    done = maskgap(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("maskgap: ")
    assert {p: p.is_dir() or p.read_bytes() for p in tmp_path.rglob("*")} == before
