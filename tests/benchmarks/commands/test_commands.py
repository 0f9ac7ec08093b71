"""What a command does to what a user has, and how it ends: files, streams, folders, mistakes."""

import hashlib
import json
import resource
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from maskgap.benchmarks.commands.bound_store import PROOF_NAME
from maskgap.benchmarks.commands.cli import main
from maskgap.benchmarks.commands.numbers import at_least, at_most, percent
from maskgap.benchmarks.commands.solve import LAYER_PROOF
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.files import read_layer, write_layer, write_tensors
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.command import maskgap, started, words_of
from tests.helpers.tiny import random_layer
from tests.helpers.traps import set_traps, sprung


@pytest.fixture
def called(tmp_path, monkeypatch, capfd):
    """The command in this process and in `tmp_path`: for what ends before any run."""

    def call(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONSAFEPATH", "1")
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["maskgap", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, ended.value.code, out, err)

    return call


@pytest.fixture
def layer(tmp_path):
    write_layer(tmp_path / "layer", random_layer(5, 12, rows=4))
    return tmp_path / "layer"


def _contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _one_line(done, code=2):
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("maskgap: ")
    assert "Traceback" not in done.stderr


SOLVE = ("solve", "layer", "-p", "50%", "--solver", "exhaustive", "--json")
BOUND = ("bound", "layer", "-p", "50%", "--time-limit", "60", "--json")


def _thesis(folder):
    (folder / "thesis.txt").write_text("mine")


def _proof_of(path):
    def make(folder):
        (folder / path).parent.mkdir(exist_ok=True)
        problem = Problem.of(read_layer(folder / "layer"), parse_pattern("50%"), range(1))
        (part,) = problem
        proof = PartProof(0, part.digest, 0.0, None, Enumeration())
        write_proof(folder / path, problem, [proof])

    return make


def _copy_of_layer(path):
    def make(folder):
        (folder / path).parent.mkdir(exist_ok=True)
        write_layer(folder / path, random_layer(1, 4))

    return make


@pytest.mark.parametrize("command", [SOLVE, BOUND])
@pytest.mark.parametrize(
    ("options", "there"),
    [
        (("--out", "layer"), None),
        (("--out", "./../{name}/layer"), None),
        (("--out", "thesis.txt"), _thesis),
        (("--out", "other"), _copy_of_layer("other")),
        (("--out", "a-proof"), _proof_of("a-proof")),
        (("--out", "."), None),
        (("--out", "layer/below"), None),
        (("--out", "/proc/nowhere/m"), None),
        (("--out", "/dev/null"), None),
        (("--proof", "layer"), None),
        (("--proof", "layer/below"), None),
        (("--proof", "/proc/nowhere"), None),
        (("--proof", "pr", "--out", "pr"), None),
        (("--proof", "pr", "--out", "pr/{proof}"), None),
        (("--proof", "pr"), _copy_of_layer("pr/{proof}")),
    ],
)
def test_outputs_are_refused_before_any_work_and_nothing_is_touched(
    layer, called, command, options, there
):
    proof = "row0.proof.safetensors" if command is SOLVE else PROOF_NAME
    if there is not None:
        if there.__name__ == "make" and options == ("--proof", "pr"):
            _copy_of_layer(f"pr/{proof}")(layer.parent)
        else:
            there(layer.parent)
    before = _contents(layer.parent)
    words = [word.format(name=layer.parent.name, proof=proof) for word in options]
    done = called(*command, *words)
    _one_line(done)
    assert done.stdout == ""
    after = _contents(layer.parent)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"pr/.lock"}


def test_a_warm_start_and_a_mask_that_is_judged_are_inputs(layer):
    folder = layer.parent
    assert maskgap(*SOLVE, "--out", "m", cwd=folder).returncode == 0
    _one_line(maskgap("solve", "layer", "-p", "50%", "--solver", "swap", "--warm-start", "m",
                      "--out", "m", cwd=folder))  # fmt: skip
    _one_line(maskgap(*BOUND, "--mask", "m", "--out", "m", cwd=folder))


def test_a_write_that_fails_at_the_end_costs_nothing_else(tmp_path):
    write_layer(tmp_path / "layer", random_layer(5, 12, rows=1000))

    def small_files():  # the trial and the proofs are smaller than this, the mask is not
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    for words, proof in (
        ((*SOLVE, "--rows", "0:2", "--proof", "pr"), "pr/row1.proof.safetensors"),
        ((*BOUND, "--rows", "0:2", "--proof", "pb"), f"pb/{PROOF_NAME}"),
    ):
        done = maskgap(*words, "--out", "m", cwd=tmp_path, preexec_fn=small_files)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("maskgap: m: cannot be written: File too")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["row"] for line in lines if "row" in line] == [0, 1]
        assert read_proof(tmp_path / proof).proofs
        assert not (tmp_path / "m").exists()
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("pattern", ["50%", "layer:50%"])
def test_proofs_and_masks_of_another_question_are_kept(layer, pattern):
    folder = layer.parent
    name = LAYER_PROOF if pattern.startswith("layer") else "row1.proof.safetensors"
    solver = "fw-bnb" if pattern.startswith("layer") else "exhaustive"
    for asked in (pattern, "2:4" if pattern == "50%" else "layer:25%"):
        done = maskgap("solve", "layer", "-p", asked, "--solver", solver, "--rows", "0:2",
                       "--proof", "pr", "--out", "m", "--json", cwd=folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert f"{name}.old-1" in done.stderr
    assert "m.old-1" in done.stderr
    rows = ("--rows", "0:2") if pattern.startswith("layer") else ()
    check = maskgap("check", f"pr/{name}.old-1", "--instance", "layer", "-p", pattern, *rows,
                    cwd=folder)  # fmt: skip
    assert check.returncode == 0, check.stderr
    assert (load_file(folder / "m.old-1")["mask"] != load_file(folder / "m")["mask"]).any()


@pytest.mark.parametrize("pattern", ["50%", "layer:50%"])
def test_a_proof_is_not_lost_to_one_of_other_rows(layer, pattern):
    folder = layer.parent
    words = ("bound", "layer", "-p", pattern, "--time-limit", "8", "--proof", "pr")
    assert maskgap(*words, "--rows", "0:2", cwd=folder).returncode == 0
    before = _contents(folder)
    _one_line(maskgap(*words, "--rows", "2:4", "--resume", cwd=folder))
    assert _contents(folder) == before


def test_two_bounds_do_not_write_into_one_directory(tmp_path):
    words = ["bound", "value1-n384", "-p", "50%", "--rows", "0:2", "--proof", "pr"]
    first = started(*words, "--time-limit", "200", cwd=tmp_path)
    try:
        while not (tmp_path / "pr" / ".lock").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        second = maskgap(*words, "--resume", "--time-limit", "1", cwd=tmp_path)
        _one_line(second)
        assert "another run is writing here" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        _, errors = first.communicate(timeout=60)
    assert first.returncode == 143
    assert "--resume goes on from pr" in errors


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=lambda value: str(value)
)
def test_a_signal_is_told_by_the_exit_code(tmp_path, number, code):
    write_layer(tmp_path / "layer", random_layer(5, 12, rows=4))
    words = ["solve", "layer", "-p", "50%", "--solver", "tests.helpers.fakes:Patient", "--json",
             "--time-limit", "0.5"]  # fmt: skip
    process = started(*words, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code


SHOWN = [
    "--help",
    "solvers",
    "export query0-n12 --row 0 -p 50%",
    "solve query0-n12 -p 50% --solver wanda",
    "bound query0-n12 -p 50% --rows 0:1 --max-runs 1 --json",
]


@pytest.mark.parametrize("words", SHOWN)
@pytest.mark.parametrize("stream", ["> /dev/full", "| true", "2> /dev/full", ">&- 2>&- 0<&-"])
def test_a_stream_that_is_closed_or_full_is_no_traceback(tmp_path, words, stream):
    script = f"set -o pipefail; {shlex.join(words_of())} {words} {stream}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path,
                          timeout=120)  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("maskgap: ")]
    if stream == "> /dev/full":
        assert done.returncode == 2
        assert errors == ["maskgap: standard output: No space left on device"]
    else:
        assert done.returncode in ((0, 1) if stream == "| true" else (0,))
        assert not errors


@pytest.mark.parametrize("words", [SOLVE, SOLVE[:-1]], ids=["lines", "table"])
@pytest.mark.parametrize(("stream", "code"), [("| true", 1), ("> /dev/full", 2)])
def test_work_goes_on_for_its_files_when_nobody_reads(layer, words, stream, code):
    command = shlex.join(words_of(*words, "--out", "m", "--proof", "pr"))
    script = f"set -o pipefail; {command} {stream}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=layer.parent)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (code == 2)
    assert load_file(layer.parent / "m")["mask"].sum() == 24
    assert len(list((layer.parent / "pr").iterdir())) == 4


@pytest.mark.parametrize(
    "words",
    [
        "solve layer -p 50% --solver swap",
        "solve layer -p 50% --solver scip-miqp --rows 0:1",
        "solve layer -p 50% --solver mine:Mine",
        "bound layer -p 50% --rows 0:1",
        "run smoke --solvers wanda --out r",
        "export layer --row 0 -p 50%",
        "show layer",
        "solvers",
    ],
)
def test_nothing_is_imported_from_the_current_directory(layer, words):
    set_traps(layer.parent)
    (layer.parent / "mine.py").write_text(MINE)
    (layer.parent / "beside.py").write_text("SCALE = 2.0\n")
    done = maskgap(*words.split(), cwd=layer.parent)
    assert done.returncode == 0, done.stderr
    assert sprung(layer.parent) == []


MINE = """
from dataclasses import dataclass

import numpy as np

from beside import SCALE
from maskgap.solvers.protocol import Answer, Stop

print("imported")


@dataclass(frozen=True)
class Mine:
    fail: bool = False

    def solve(self, problem, limits, seed):
        if self.fail:
            raise ValueError("boom")
        mask = problem.legal.prune_lowest(SCALE * problem.quad.diagonal())
        return Answer(mask, Stop.FINISHED, claimed_objective=problem.scaled_loss(mask))


class NoSettings:
    def solve(self, problem, limits, seed):
        pass


@dataclass(frozen=True)
class NoMethod:
    pass
"""


def test_a_solver_is_found_beside_the_caller_and_its_crash_says_where(layer):
    folder = layer.parent
    (folder / "mine.py").write_text(MINE)
    (folder / "beside.py").write_text("SCALE = 2.0\n")
    words = ("solve", "layer", "-p", "50%", "--rows", "0:1", "--solver", "mine:Mine")
    done = maskgap(*words, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "feasible"
    crashed = maskgap(*words, "--set", "fail=true", cwd=folder)
    assert crashed.returncode == 1
    assert "ValueError: boom; where: --log DIR" in crashed.stderr
    logged = maskgap(*words, "--set", "fail=true", "--log", "logs", cwd=folder)
    assert "see logs" in logged.stderr
    text = (folder / "logs" / "row0.log").read_text()
    assert "mine.py" in text
    assert 'raise ValueError("boom")' in text


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (None, "mine:Mine", "there is no module 'mine' in the directory of the call"),
        (None, ":Mine", "cannot be imported"),
        (None, "mine:", "cannot be imported"),
        (MINE, "mine:Other", "mine has no dataclass 'Other'"),
        (MINE, "mine:NoSettings", "has no dataclass 'NoSettings'"),
        (MINE, "mine:NoMethod", "neither solve nor solve_rows"),
        ("import nowhere_to_be_found", "mine:Mine", "No module named 'nowhere_to_be_found'"),
        ("x = 1 / 0", "mine:Mine", "ZeroDivisionError: division by zero"),
        ("def broken(:", "mine:Mine", "SyntaxError"),
        ("raise SystemExit(3)", "mine:Mine", "SystemExit"),
    ],
)
def test_a_solver_that_cannot_be_had_is_one_line(layer, source, target, message):
    folder = layer.parent
    (folder / "beside.py").write_text("SCALE = 2.0\n")
    if source is not None:
        (folder / "mine.py").write_text(source.replace('print("imported")', ""))
    done = maskgap("solve", "layer", "-p", "50%", "--solver", target, cwd=folder)
    _one_line(done)
    assert message in done.stderr


def test_shipped_layers_go_by_name_and_a_file_of_that_name_wins(tmp_path):
    assert "layer 4 x 12" in maskgap("show", "query0-n12", cwd=tmp_path).stdout
    done = maskgap("solve", "query0-n12", "-p", "50%", "--solver", "exhaustive", "--proof", "pr",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0
    check = maskgap("check", "pr/row2.proof.safetensors", "--instance", "query0-n12", "-p", "50%",
                    cwd=tmp_path)  # fmt: skip
    assert check.returncode == 0
    write_layer(tmp_path / "query0-n12", random_layer(1, 8, rows=2))
    assert "layer 2 x 8" in maskgap("show", "query0-n12", cwd=tmp_path).stdout
    missing = maskgap("show", "query0-n13", cwd=tmp_path)
    _one_line(missing)
    assert "maskgap instances" in missing.stderr


@pytest.mark.parametrize("width", ["20", "80"])
def test_tables_cut_no_number_and_sum_up(tmp_path, width):
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(2, 24)) * 0.02, rng.normal(size=(24, 400))
    save_file({"weight": weight, "gram": inputs @ inputs.T * 1e-7}, tmp_path / "small",
              {"format": "maskgap-layer/1"})  # fmt: skip
    words = ("small", "-p", "50%", "--solver", "scip-miqp")
    env = {"COLUMNS": width}
    lines = [
        json.loads(line)
        for line in maskgap("solve", *words, "--json", cwd=tmp_path).stdout.splitlines()
    ]
    shown = maskgap("solve", *words, cwd=tmp_path, env=env).stdout
    assert "…" not in shown
    for line in lines:
        assert at_most(line["objective"]) in shown
        assert at_least(line["bound"]) in shown
    assert at_most(sum(line["objective"] for line in lines)) in shown
    assert "/ wanda" in shown
    assert "…" not in maskgap("bound", "small", "-p", "50%", cwd=tmp_path, env=env).stdout


def test_a_solver_without_bounds_has_dashes_and_a_hint(layer):
    done = maskgap("solve", "layer", "-p", "50%", "--solver", "wanda", cwd=layer.parent)
    assert "100" not in done.stdout
    assert "trivial" not in done.stdout
    assert done.stdout.count("1.0000") == 5
    assert "maskgap bound layer --pattern '50%'" in done.stderr
    (line, *_) = maskgap("solve", "layer", "-p", "50%", "--solver", "wanda", "--json",
                         cwd=layer.parent).stdout.splitlines()  # fmt: skip
    assert (json.loads(line)["gap"], json.loads(line)["bound_kind"]) == (1.0, "trivial")


def test_numbers_shown_are_never_better_than_meant():
    assert (at_least(3.99999999999), at_most(3.99999999999)) == ("3.9999999", "4")
    assert (at_least(4.00000000001), at_most(4.00000000001)) == ("4", "4.0000001")
    assert (at_least(20.0), at_most(20.0), at_least(0.0), at_most(None)) == ("20", "20", "0", "-")
    assert [percent(gap) for gap in (0.0, 1e-6, 2e-6, 0.12341, 1.0, None)] == [
        "0.00%", "0.00%", "0.01%", "12.35%", "100.00%", "-",
    ]  # fmt: skip


def test_show_sends_no_escapes_and_has_json(tmp_path):
    meta = {"format": "maskgap-layer/1", "note": "\x1b[2J\x1b]0;mine\x07", "\x1bkey": "\u202etxt"}
    write_tensors(tmp_path / "l", {"weight": np.eye(2, 4), "gram": np.eye(4)}, meta)
    done = maskgap("show", "l", cwd=tmp_path)
    assert done.returncode == 0
    assert all(c.isprintable() or c == "\n" for c in done.stdout)
    assert "\\x1b[2J" in done.stdout
    told = json.loads(maskgap("show", "l", "--json", cwd=tmp_path).stdout)
    assert told["meta"]["note"] == meta["note"]
    assert (told["kind"], told["d_out"], told["d_in"], told["gram_rank"]) == ("layer", 2, 4, 4)
    assert maskgap("solve", "l", "-p", "50%", "--solver", "exhaustive", "--proof", "p", "--out",
                   "m", cwd=tmp_path).returncode == 0  # fmt: skip
    assert json.loads(maskgap("show", "m", "--json", cwd=tmp_path).stdout)["pruned"] == 0.5
    proof = json.loads(maskgap("show", "p/row1.proof.safetensors", "--json", cwd=tmp_path).stdout)
    assert (proof["kind"], proof["row"], proof["by"]) == ("proof", 1, "enumeration")


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"mask": np.ones((2, 2), np.float32)},
        {"mask": np.ones(3, np.bool_)},
        {"mask": np.ones((0, 3), np.bool_)},
    ],
)
def test_show_of_a_broken_mask_is_one_line(tmp_path, called, tensors):
    save_file(tensors, tmp_path / "m", {"format": "maskgap-mask/1"})
    _one_line(called("show", "m"))


MISTAKES = {
    "solve": [
        "solve",
        "solve layer -p 50%",
        "solve layer -p half --solver wanda",
        "solve nowhere -p 50% --solver wanda",
        "solve . -p 50% --solver wanda",
        "solve layer -p 50% --solver wanda --gap 2",
        "solve layer -p 50% --solver wanda --threads 1000",
        "solve layer -p 50% --solver wanda --seed 99999999999999999999",
        "solve layer -p 50% --solver search --set population=2.5",
        "solve layer -p 50% --solver search --set population=4 --set population=8",
        "solve layer -p 50% --solver fw-bnb --set fixing=perhaps",
        "solve layer -p 50% --solver swap --device gpu",
        "solve layer -p 50% --solver wanda --rows -1:2",
        "solve layer -p 50% --solver wanda --log layer",
        "solve layer -p 50% --solver gurobi",
        "solve layer -p 50%;cost=50% --solver swap",
        "solve layer -p 3:5^T --solver swap",
    ],
    "bound": [
        "bound layer",
        "bound layer -p 50% --max-runs 0",
        "bound layer -p 50% --resume",
        "bound layer -p 50% --rows 4:4",
        "bound layer -p 50% --mask layer",
        "bound layer -p 2:4^T",
        "bound layer -p 50% --executor moon",
        "bound layer -p 50% --scheduler tcp://nowhere:1",
        "bound layer -p 50% --gap nan",
    ],
    "show": ["show", "show nowhere", "show .", "show layer extra", "show /dev/null", "show text"],
    "export": [
        "export layer --row 0",
        "export layer -p 50%",
        "export layer --row 4 -p 50%",
        "export layer --row -1 -p 50%",
        "export layer --row 0 -p 7:5",
        "export layer --row 0 -p 50% --format xml",
        "export text --row 0 -p 50%",
    ],
    "solvers": ["solvers extra", "solvers --jsn", "solvers nosuch", "solver", "solvers -x"],
    "instances": ["instances extra", "instances --all", "instance", "instances -q", "instances ''"],
}


@pytest.mark.parametrize("words", [words for group in MISTAKES.values() for words in group])
def test_a_mistake_is_one_line_and_exit_2(layer, called, words):
    (layer.parent / "text").write_text("no safetensors at all, but long enough for a header")
    if "gurobi" in words and __import__("importlib").util.find_spec("gurobipy"):
        pytest.skip("gurobi is installed")
    _one_line(called(*words.replace("''", "x").split()))


def test_the_command_alone_shows_its_help(tmp_path):
    done = maskgap(cwd=tmp_path)
    assert done.returncode == 2
    assert "solve" in done.stdout
    assert done.stderr == ""


def test_a_solver_is_described_with_its_settings(tmp_path):
    told = json.loads(maskgap("solvers", "search", "--json", cwd=tmp_path).stdout)
    assert told["settings"]["population"] == 128
    assert "population" in maskgap("solvers", "search", cwd=tmp_path).stdout
    table = maskgap("solvers", cwd=tmp_path).stdout
    gives = {line.split()[0]: line[14:].split()[0] for line in table.splitlines()[1:-2]}
    assert gives["scip-miqp"] == gives["highs-oa"] == "claim"
    assert gives["fw-bnb"] == gives["exhaustive"] == "proof"
