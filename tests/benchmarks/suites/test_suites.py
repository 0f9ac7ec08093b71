"""Suite files: what they may say, that they stay in their folder, and run no code unasked."""

import json
from dataclasses import replace

import pytest

from maskgap.benchmarks.commands.run import RunOptions, run
from maskgap.benchmarks.reading.run_directory import read_run
from maskgap.benchmarks.reading.tables.summary import render
from maskgap.benchmarks.runs.planning import SuiteRun
from maskgap.benchmarks.runs.record_file import load_run
from maskgap.benchmarks.runs.runner import dry_run, run_suite
from maskgap.benchmarks.suites.extraction import Extraction
from maskgap.benchmarks.suites.suite import Group, SolverEntry, Suite, load_instance, read_suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_layer
from tests.helpers.command import ROOT, maskgap, python
from tests.helpers.tiny import random_layer

GROUP = {"name": "g", "instances": ["layer.safetensors"], "patterns": ["50%"], "solvers": ["wanda"]}


def toml(folder, name="t", extract=None, **more):
    """A suite file of one group, beside its layer; keyword arguments replace the group's fields."""
    write_layer(folder / "layer.safetensors", random_layer(3, 8, rows=2))
    lines = [f"name = {json.dumps(name)}", "[[groups]]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in {**GROUP, **more}.items()]
    if extract is not None:
        lines += ["[extract]", *(f"{k} = {json.dumps(v)}" for k, v in extract.items())]
    path = folder / "t.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# The fields, and the page that lists them.


@pytest.mark.parametrize(("text", "fields"), [
    ("foo = 1", "name, description, groups, extract"),
    ("[[groups]]\nsolver = []", "name, instances, patterns, solvers, rows, time_limit_s, gap"),
    ("[[groups]]\nsolvers = [{ name = 'obs', setting = 1 }]", "name, settings"),
    ("[extract]\nsample = 1", "model, layers, calibration, samples, sequence_length"),
])  # fmt: skip
def test_an_unknown_field_names_those_that_there_are(tmp_path, text, fields):
    path = toml(tmp_path)
    whole = path.read_text()
    place = text.partition("\n")[2]
    path.write_text(
        f"{text}\n{whole}" if not place
        else whole + f"\n{place}" if "[[" in text and "solvers" not in place
        else whole.replace('solvers = ["wanda"]', place) if "[[" in text
        else f"{whole}\n[extract]\nmodel = 'm'\n{place}"
    )  # fmt: skip
    with pytest.raises(InputError, match=f"the fields here are .*{fields}"):
        read_suite(str(path))


def test_the_page_of_suites_lists_every_field_with_its_default():
    page = (ROOT / "benchmarks" / "suites" / "README.md").read_text(encoding="utf-8")
    for model in (Suite, Group, SolverEntry, Extraction):
        for name, field in model.model_fields.items():
            if name == "directory":
                continue
            (line,) = [x for x in page.splitlines() if x.startswith(f"| `{model.__name__}.{name}`")]
            if not field.is_required():
                default = field.get_default(call_default_factory=True)
                told = "none" if default is None else json.dumps(default)
                assert f"| `{told}` |" in line, line
            else:
                assert "| required |" in line, line


@pytest.mark.parametrize(("change", "message"), [
    ({"name": "../../up"}, "field name"),
    ({"name": "/up"}, "field name"),
    ({"name": "..",}, "field name"),
    ({"name": "a\x1b[31m"}, "field name"),
    ({"name": ""}, "field name"),
    ({"name": "n" * 300}, "field name"),
    ({"instances": ["/etc/passwd"]}, "leads out of the folder"),
    ({"instances": ["a/../../b.safetensors"]}, "leads out of the folder"),
    ({"patterns": ["50%\x1b"]}, "control characters"),
    ({"time_limit_s": 1e300}, "time_limit_s"),
    ({"gap": 2.0}, "gap"),
    ({"seeds": [0, 1, -1]}, "seeds"),
    ({"seeds": [0, 1, 1]}, "'1' is there twice"),
    ({"threads": 10**6}, "threads"),
    ({"solvers": [3]}, "solvers"),
    ({"extract": {"model": "m", "calibration": ["/etc/passwd"]}}, "leads out of the folder"),
])  # fmt: skip
def test_what_a_suite_may_not_say_is_an_error_with_its_field(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_suite(str(toml(tmp_path, **change)))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "beside").mkdir()
    suite = read_suite(str(toml(tmp_path / "beside")))
    assert load_instance("layer.safetensors", suite, tmp_path).d_out == 2
    (tmp_path / "outside.safetensors").write_bytes(
        (tmp_path / "beside" / "layer.safetensors").read_bytes()
    )
    (tmp_path / "beside" / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(InputError, match="a link out of the folder"):
        load_instance("link.safetensors", suite, tmp_path)


def test_a_suite_is_read_as_utf_8_whatever_the_locale(tmp_path):
    path = toml(tmp_path, name="größe 漢字")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "from maskgap.benchmarks.suites.suite import read_suite\n"
    code += f"print(ascii(read_suite({str(path)!r}).name))"
    assert python(code, env=plain).stdout.strip() == ascii("größe 漢字")


# Code that a file names.

TRAP = (
    "from dataclasses import dataclass\nfrom pathlib import Path\n"
    "Path('sprung').touch()\n\n\n@dataclass(frozen=True)\nclass X:\n"
    "    def solve(self, problem, limits, seed):\n        return None\n"
)


@pytest.mark.parametrize(("change", "words", "sprung"), [
    ({"solvers": ["wanda", "trap:X"]}, [], False),
    ({"solvers": ["wanda", "trap:X"]}, ["--solvers", "wanda"], False),
    ({"solvers": ["wanda", "trap:X"]}, ["--dry-run"], False),
    ({"extract": {"model": "trap:X"}}, ["--solvers", "wanda"], False),
    ({"extract": {"model": "trap:X"}}, [], False),
    ({"solvers": ["wanda", "trap:X"]}, ["--solvers", "trap:X", "--dry-run"], True),
    ({"solvers": ["wanda", "trap:X"]}, ["--allow-code", "--dry-run"], True),
])  # fmt: skip
def test_code_that_a_suite_names_runs_only_when_the_user_says_so(tmp_path, change, words, sprung):
    toml(tmp_path, **change)
    (tmp_path / "trap.py").write_text(TRAP)
    done = maskgap("run", "t.toml", "--out", "out", *words, cwd=tmp_path)
    assert (tmp_path / "sprung").exists() == sprung, done.stderr
    named = "wanda" not in words[-1:] or "extract" in change
    assert done.returncode == (0 if sprung or not named else 2)
    if named and not sprung:
        assert "names code that would run here: trap:X" in done.stderr
        assert done.stderr.count("\n") == 1


# A suite that was edited.


def test_the_table_shows_what_the_suite_plans_and_names_the_rest(tmp_path):
    out = tmp_path / "out"
    both = read_suite(str(toml(tmp_path, solvers=["wanda", "magnitude"])))
    assert len(run_suite(both, out).records) == 4
    assert read_run(out).remarks == ()
    edited = read_suite(str(toml(tmp_path, patterns=["2:4"], solvers=["wanda"])))
    assert len(run_suite(edited, out).records) == 2
    reading = read_run(out)
    assert {(r.solver, r.pattern) for r in reading.records} == {("wanda", "2:4")}
    (said,) = reading.remarks
    assert "2 of wanda at 50%, 2 of magnitude at 50% (4 records in all)" in said
    assert render(reading.records, "md", reading.remarks).count(said) == 1
    assert len(load_run(out)) == 6
    run_suite(both, out)
    assert len(load_run(out)) == 6  # nothing was run again
    assert {(r.solver, r.pattern) for r in read_run(out).records} == {
        ("wanda", "50%"), ("magnitude", "50%")
    }  # fmt: skip


def test_running_one_solver_again_keeps_the_others_in_the_table(tmp_path):
    out = tmp_path / "out"
    suite = read_suite(str(toml(tmp_path, solvers=["wanda", "magnitude"])))
    run_suite(suite, out)
    run_suite(suite, out, SuiteRun(solvers=["wanda"]))
    assert {r.solver for r in read_run(out).records} == {"wanda", "magnitude"}
    edited = read_suite(str(toml(tmp_path, patterns=["2:4"], solvers=["wanda", "magnitude"])))
    run_suite(edited, out, SuiteRun(solvers=["wanda"]))
    assert {r.solver for r in read_run(out).records} == {"wanda"}


def test_a_faulty_run_that_is_planned_no_more_fails_no_suite(tmp_path):
    out = tmp_path / "out"
    broken = read_suite(str(toml(tmp_path, solvers=["tests.helpers.fakes:Raise", "wanda"])))
    assert run_suite(broken, out).faults
    assert not run_suite(read_suite(str(toml(tmp_path))), out).faults


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "maskgap-plan/2", "keys": {}}', "\0"])
def test_a_plan_that_is_none_is_an_error_that_says_what_to_do(tmp_path, text):
    run_suite(read_suite(str(toml(tmp_path))), tmp_path / "out")
    (tmp_path / "out" / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"plan\.json: not a plan; delete it"):
        read_run(tmp_path / "out")


def test_a_dry_run_tells_what_is_recorded_and_writes_nothing(tmp_path, capsys):
    suite = read_suite(str(toml(tmp_path, solvers=["wanda", "exhaustive"])))
    assert [done for _, done in dry_run(suite, tmp_path / "out")] == [False] * 3
    assert not (tmp_path / "out").exists()
    run_suite(suite, tmp_path / "out", SuiteRun(solvers=["wanda"]))
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    options = RunOptions(str(tmp_path / "t.toml"), out=tmp_path / "out", plan_only=True)
    assert run(options) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert told[0].startswith("g: layer.safetensors 50% wanda")
    assert told[-1].startswith("3 runs: 1 recorded, 2 to run, 0 refused at once; at most 120 s")
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    run(replace(options, as_json=True))
    *lines, total = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["to_run"] for line in lines] == [0, 2]
    assert total == {"total": True, "recorded": 1, "to_run": 2, "refused": 0, "limit_s": 120.0}


# Mistakes.


@pytest.mark.parametrize("words", [
    ["nowhere.toml"], ["."], ["smoke", "--solvers", "wanda,nosuch"], ["smoke", "--solvers", ","],
    ["smoke", "--jobs", "-1"], ["smoke", "--jobs", "100000"], ["smoke", "--time-limit", "inf"],
    ["smoke", "--time-limit", "nan"], ["smoke", "--time-limit", "0"], ["smoke", "--out", "file"],
    ["smoke", "--out", "file/below"], ["smoke", "--out", "/dev/full"],
    ["smoke", "--out", "x" * 300], ["smoke", "--scheduler", "tcp://h:1"], ["block", "--dry-run"],
])  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, words):
    (tmp_path / "file").write_text("kept")
    place = [] if "--out" in words else ["--out", "out"]
    done = maskgap("run", *words, *place, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("maskgap: ")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_the_security_page_names_tests_that_there_are():
    page = (ROOT / "benchmarks" / "SECURITY.md").read_text(encoding="utf-8")
    named = {word.strip("`,| ") for word in page.split() if "tests/" in word and ".py" in word}
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []
