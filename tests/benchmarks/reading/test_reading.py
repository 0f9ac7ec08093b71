"""Reading is never running: records, plans and suites of others are data, whatever they hold."""

import json
import os

import pytest

from maskgap.benchmarks.commands.tables import run_plot, run_tables
from maskgap.benchmarks.reading.figures.plots import write_figures
from maskgap.benchmarks.reading.report.page import write_report
from maskgap.benchmarks.reading.run_directory import demoted, read_run
from maskgap.benchmarks.reading.tables.summary import render, write_tables
from maskgap.benchmarks.runs.record import KINDS, STOPS, VERDICTS, Record
from maskgap.benchmarks.runs.record_file import read_records
from maskgap.benchmarks.suites.suite import read_suite
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.instances.errors import InputError
from maskgap.instances.formats.inside import inside
from maskgap.solvers.protocol import Stop
from tests.helpers.command import maskgap
from tests.helpers.records import closed, full_run, mixed_run, record, write

RECORDS = "records.jsonl"


def refused(*words, **more):
    """The one line of a command that ends with exit code 2."""
    done = maskgap(*words, **more)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("maskgap: ")
    assert done.stdout == ""
    return line


def test_the_words_of_a_record_are_those_of_solvers_and_certificate():
    assert tuple(Stop) == STOPS
    assert tuple(Verdict) == VERDICTS
    assert tuple(BoundKind) == KINDS


# A line of records that is not one is an error that names it.


def _with(name, value):
    return json.dumps({**record().model_dump(), name: value})


def _nested(depth):
    return "[" * depth + "]" * depth


BAD = {
    "kind of bound": _with("bound_kind", "certain"),
    "verdict": _with("verdict", "optimal"),
    "stop": _with("stop", "bored"),
    "no rows": _with("rows", 0),
    "no height": _with("height", 0),
    "no columns": _with("n", 0),
    "negative columns": _with("n", -5),
    "negative row": _with("row", -1),
    "negative time": _with("solve_s", -1.0),
    "negative limit": _with("time_limit_s", -1.0),
    "endless time": _with("solve_s", 1e300),
    "huge count": _with("n", 10**400),
    "long count": _with("counters", {"nodes": 1 << 64}),
    "long setting": _with("settings", {"nodes": 1 << 64}),
    "deep settings": _with("settings", {"a": json.loads(_nested(50))}),
    "deep line": _with("settings", {}).replace("{}", _nested(100_000), 1),
    "infinite objective": _with("objective", 0).replace('"objective": 0', '"objective": 1e999'),
    "infinity in a trace": _with("trace", [[0.0, 1.0, 7.5]]).replace("7.5", "Infinity"),
    "infinity written out": _with("trace", [[0.0, 1.0, 7.5]]).replace("7.5", "1e999"),
    "not a number": _with("objective", 0).replace('"objective": 0', '"objective": NaN'),
    "sums that overflow": _with("objective", 1e308),
    "swaps": _with("by_swaps", [[-1, 3.0]]),
    "share": _with("sparsity", 3.0),
    "a word": '"wanda"',
    "a list": "[]",
    "nothing": "",
    "not UTF-8": b'{"key": "\xff"}',
    "a number of digits": "1" * 5000,
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_a_line_that_is_no_record_is_an_error_with_its_number(tmp_path, line):
    data = line if isinstance(line, bytes) else line.encode()
    (tmp_path / RECORDS).write_bytes(record().line().encode() + data + b"\n")
    with pytest.raises(InputError, match=r"records\.jsonl: line 2 is not a record \(.+\)") as told:
        read_run(tmp_path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("solver", "a\ud800b", "a\\ud800b"),
    ("instance", "\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ("instance", "two\nlines | and a bar", "two\\nlines | and a bar"),
    ("group", "\u202egpj.exe", "\\u202egpj.exe"),
])  # fmt: skip
def test_texts_come_out_visible(tmp_path, name, value, shown):
    (tmp_path / RECORDS).write_text(_with(name, value) + "\n")
    (found,) = read_run(tmp_path).records
    assert getattr(found, name) == shown


def _hostile(value):
    """Records as strange as the schema allows."""
    records = [*mixed_run()[:6], record(f"mod:{value}", "p0", 8.0, batched=True)]
    own = {"suite": value, "group": value, "instance": value, "pattern": value, "device": value,
           "solver_version": value, "settings": {value: value, "n": 1e300}, "notes": {value: 1.0},
           "host": {value: value, "cores": value}, "packages": {value: value}, "reason": value,
           "exception": value, "traceback": value, "layer_type": value}  # fmt: skip
    extremes = [
        {"n": 1 << 62, "rows": 1 << 62}, {"solve_s": 1e12}, {"time_limit_s": 0.0},
        {"objective": 1e300, "bound": 1e300}, {"objective": 1e-300}, {"objective": -1.0},
        {"objective": -1e300, "energy": -1.0}, {"bound": -1.0, "bound_kind": "checked"},
        {"verdict": "proved", "objective": None}, {"pruned": [0, 0, 1 << 62]},
        {"counters": {"nodes": 0, "oracle_calls": (1 << 63) - 1}},
        {"trace": [[1e12, 0.0, 0.0], [0.0, -1e300, None]]}, {"sparsity": 0.0},
        {"by_swaps": [[0, 0.0], [1 << 62, -5.0]], "rows": 7}, {"threads": 1 << 62},
        {"gap_tolerance": 1e300}, {"seed": 1 << 62}, {"height": 1 << 62},
    ]  # fmt: skip
    for i, extreme in enumerate(extremes):
        fields = {"problem": f"q{i % 3}", "key": f"x{i}", **own, **extreme}
        records.append(record(("wanda", "fw-bnb", "qp-bound", "swap")[i % 4], **fields))
    return records


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("value", ["\x1b]0;title\x07", "a{b}%s$x$_{", "</script>\u2028", "漢字"])
def test_whatever_a_record_may_hold_has_its_tables_figures_and_page(tmp_path, capfd, value):
    run = write(tmp_path / "run", _hostile(value))
    for fmt in ("md", "csv", "latex"):
        run_tables(run, fmt)
    run_tables(run, "md", run)
    run_plot(run, "svg")
    write_report(run)
    told = capfd.readouterr()
    made = [path.read_text(encoding="utf-8") for path in run.rglob("*.*") if path.name != RECORDS]
    assert not {"\x1b", "\x07"} & set("".join([told.out, told.err, *made]))


# What a record names is not imported.


def test_no_module_that_a_record_names_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        f"Path({str(tmp_path / 'sprung')!r}).touch()\n\n\n@dataclass\nclass X:\n    k: int = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = [record("trap:X", p, 3.0, settings={"k": k}, key=f"{p}{k}") for p in "ab" for k in (1, 2)]
    run = write(tmp_path / "run", [*mixed_run(), *own])
    for words in (["tables"], ["plot"], ["report"], ["tables", "--against", run]):
        done = maskgap(words[0], run, *words[1:], env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    assert "trap:X" in (run / "tables" / "summary.md").read_text()
    assert not (tmp_path / "sprung").exists()


def test_a_batch_solver_of_another_installation_keeps_its_limit_a_row():
    own = {"batched": True, "instance": "L"}
    records = [record("elsewhere:B", f"p{i}", 3.0, row=i, **own) for i in range(4)]
    assert "limit 2.5 s a row" in render(records, "md")
    alone = [r.model_copy(update={"batched": False}) for r in records]
    assert "limit 10 s a row" in render(alone, "md")


# What another checker checked is claimed.


def test_bounds_of_another_checker_count_as_claimed_and_this_is_said_once(tmp_path):
    proved = closed("fw-bnb", "p0", 5.0, bound_kind="checked", verdict="proved")
    old = [r.model_copy(update={"checker": CHECKER - 1}) for r in [proved, record("wanda")]]
    assert demoted(proved) == proved
    reading = read_run(write(tmp_path / "old", old))
    assert [r.verdict for r in reading.records] == ["closed", "feasible"]
    assert {r.bound_kind for r in reading.records} == {"claimed", "trivial"}
    (said,) = reading.remarks
    assert said.startswith("1 bounds were judged by another version of the checker")
    for fmt in ("md", "latex"):
        assert render(reading.records, fmt, reading.remarks).count("another version of") == 1
    assert said in write_report(tmp_path / "old").read_text()
    assert read_run(write(tmp_path / "new", [proved])).remarks == ()


def test_records_without_a_checker_are_of_another():
    fields = record().model_dump()
    del fields["checker"]
    assert not Record(**fields).settled


# Nothing is written through a link, and no file of another kind is taken for records.


@pytest.mark.parametrize("name", ["tables", "figures", "tables/summary.md", "report.html"])
def test_what_is_read_by_name_is_written_through_no_link(tmp_path, name):
    run = write(tmp_path / "run", mixed_run())
    target = tmp_path / "target"
    if "." in name:
        target.write_text("kept")
    else:
        target.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(target)
    doer = {"figures": lambda: write_figures(run, "png"), "report.html": lambda: write_report(run)}
    with pytest.raises(InputError, match="a link"):
        doer.get(name, lambda: write_tables(run, "md"))()
    assert target.read_text() == "kept" if "." in name else not any(target.iterdir())


def test_what_is_no_file_is_no_output(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="in the way"):
        inside(tmp_path, "a")
    assert inside(tmp_path, "a", "b", "c") == tmp_path / "a" / "b" / "c"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / RECORDS)
    assert "not a file" in refused("tables", tmp_path)
    os.mkfifo(tmp_path / "s.toml")
    with pytest.raises(InputError, match="not a TOML file"):
        read_suite(str(tmp_path / "s.toml"))


@pytest.mark.parametrize("text", ["{}", "precious", '{"name": "x"}', "\0" * 10])
def test_a_file_of_another_kind_is_not_cut_for_a_torn_record(tmp_path, text):
    (tmp_path / RECORDS).write_text(text)
    with pytest.raises(InputError, match="not a file of records"):
        read_records(tmp_path / RECORDS)
    whole = record().line()
    for end in (0, 1, 5, 30, len(whole) - 2):
        (tmp_path / RECORDS).write_text(whole + whole[:end])
        assert read_records(tmp_path / RECORDS)[1] == len(whole)


# Encodings.


@pytest.mark.parametrize("command", ["tables", "plot", "report"])
def test_a_locale_without_utf_8_changes_no_file_and_stops_no_command(tmp_path, command):
    name = "Schicht ≤ 漢字"
    own = [r.model_copy(update={"instance": name}) for r in full_run()]
    texts = []
    for language in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                     {"LC_ALL": "C.UTF-8"}):  # fmt: skip
        run = write(tmp_path / language["LC_ALL"], own)
        done = maskgap(command, run, env=language)
        assert done.returncode == 0, done.stderr
        texts.append({p.name: p.read_bytes() for p in run.rglob("*.*") if p.name != RECORDS})
    assert texts[0] == texts[1]
    assert texts[0]
