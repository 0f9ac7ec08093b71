"""What a command does to what a user has, and how it ends: files, streams, signals."""

import hashlib
import json
import resource
import shlex
import signal
import subprocess
import time

import pytest
from safetensors.numpy import load_file

from maskgap.benchmarks.commands.bound_store import PROOF_NAME
from maskgap.benchmarks.commands.solve import LAYER_PROOF
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.command import maskgap, one_line, started, words_of
from tests.helpers.tiny import random_layer


def _contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


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
    one_line(done)
    assert done.stdout == ""
    after = _contents(layer.parent)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"pr/.lock"}


def test_a_warm_start_and_a_mask_that_is_judged_are_inputs(layer):
    folder = layer.parent
    assert maskgap(*SOLVE, "--out", "m", cwd=folder).returncode == 0
    one_line(maskgap("solve", "layer", "-p", "50%", "--solver", "swap", "--warm-start", "m",
                      "--out", "m", cwd=folder))  # fmt: skip
    one_line(maskgap(*BOUND, "--mask", "m", "--out", "m", cwd=folder))


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
    one_line(maskgap(*words, "--rows", "2:4", "--resume", cwd=folder))
    assert _contents(folder) == before


def test_two_bounds_do_not_write_into_one_directory(tmp_path):
    words = ["bound", "value1-n384", "-p", "50%", "--rows", "0:2", "--proof", "pr"]
    first = started(*words, "--time-limit", "200", cwd=tmp_path)
    try:
        while not (tmp_path / "pr" / ".lock").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        second = maskgap(*words, "--resume", "--time-limit", "1", cwd=tmp_path)
        one_line(second)
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
