"""The commands on models: a mistake is one line and leaves all as it was; what they write."""

import json
import os
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from maskgap.instances.models.extract_files import run_extract
from tests.helpers.command import told


def files(folder):
    (folder / "note").write_text("my thesis")
    (folder / "bad.jsonl").write_text('{"text": "a \\ud800"}')
    (folder / "0.safetensors").write_text("not a layer")
    (folder / "empty").mkdir()
    np.save(folder / "x.npy", np.ones((4, 4), dtype=np.float32))
    save_file({"y": torch.ones(4, 4)}, folder / "y.safetensors")
    np.save(folder / "wide.npy", np.ones((4, 5), dtype=np.float32))
    return folder


MODEL = "tests.helpers.toys:two_layers"
GOOD = ("--calibration", "x.npy")
ALL = {
    "a file as model": (["note", *GOOD], "note: expected a folder with config.json"),
    "a folder as model": (["empty", *GOOD], "empty: expected a folder with config.json"),
    "no such function": ([f"{MODEL}s", *GOOD], "cannot be called without arguments"),
    "weights that are not there": ([f"{MODEL}@nowhere", *GOOD], "nowhere is no file"),
    "a text for a module": ([MODEL, "--calibration", "note"], "it has no tokenizer"),
    "no such data": ([MODEL, "--calibration", "no.npy"], "no.npy: cannot be read"),
    "a folder as data": ([MODEL, "--calibration", "empty"], "no tokenizer"),
    "another input": ([MODEL, "--calibration", "y.safetensors"], "takes no 'y'"),
    "two data files": ([MODEL, *GOOD, *GOOD], "takes one file, but there are 2"),
    "another width": ([MODEL, "--calibration", "wide.npy"], "the model failed on batch 1"),
    "a device": ([MODEL, *GOOD, "--device", "abacus"], "device 'abacus' cannot be used"),
    "no samples": ([MODEL, *GOOD, "--samples", "0"], "--samples 0"),
    "an option": ([MODEL, *GOOD, "--trust-remote-cod"], "No such option: --trust-remote-cod"),
}
WRITES = {
    "out is a file": ([MODEL, *GOOD, "--out", "note"], "note: "),
    "out is below a file": ([MODEL, *GOOD, "--out", "note/below"], "note/below: cannot be written"),
    "out is nowhere": ([MODEL, *GOOD, "--out", "/proc/nope/x"], "/proc/nope/x: cannot be written"),
    "no layer": ([MODEL, *GOOD, "--layers", "x*", "--out", "new"], "no layer matches 'x*'"),
}
OWN = {
    "extract": {
        "over another file": ([MODEL, *GOOD, "--out", "."], "0.safetensors: exists and is no"),
        "no out": ([MODEL, *GOOD], "Missing option '--out'"),
    },
    "prune": {
        "out is taken": ([MODEL, *GOOD, "--out", "."], ".: is there already"),
        "no such solver": ([MODEL, *GOOD, "--out", "new", "--solver", "w"], "no solver 'w'"),
    },
    "evaluate": {
        "nothing to compare": ([MODEL, *GOOD], "name that by --against"),
        "another model": (
            [MODEL, *GOOD, "--against", "tests.helpers.toys:Net"], "have other layers"
        ),
    },
}  # fmt: skip
CASES = [
    (command, name, words, message)
    for command in OWN
    for name, (words, message) in {
        **ALL, **({} if command == "evaluate" else WRITES), **OWN[command]
    }.items()
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "name", "words", "message"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_a_mistake_is_one_line_and_leaves_all_as_it_was(
    command, name, words, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(files(tmp_path))
    before = sorted((p, p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*"))
    if command != "evaluate" and "--out" not in words and name != "no out":
        words = [*words, "--out", "new"]
    if command == "evaluate" and "--against" not in words and name != "nothing to compare":
        words = [*words, "--against", MODEL]
    if command == "prune":
        words = [*words, "-p", "50%"] + ([] if "--solver" in words else ["--solver", "wanda"])
    code, lines = told(capsys, monkeypatch, command, *words)
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    after = sorted((p, p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*"))
    assert [entry for entry in after if entry[0].name != "new"] == before


def test_layers_that_were_there_are_set_aside_and_the_same_ones_are_not(tmp_path):
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    save_file({"input": inputs}, tmp_path / "a.safetensors")
    save_file({"input": inputs + 1}, tmp_path / "b.safetensors")
    out, lines = tmp_path / "out", []
    for name in "aab":
        run_extract(MODEL, out, "0", [tmp_path / f"{name}.safetensors"], progress=lines.append)
    assert sorted(p.name for p in out.iterdir()) == ["0.safetensors", "0.safetensors.old-1"]
    assert [line for line in lines if "is kept as" in line] == [
        f"{out / '0.safetensors'}: what was there is kept as 0.safetensors.old-1"
    ]


def test_saving_is_tried_before_masks_are_looked_for(tmp_path, capsys, monkeypatch):
    """Where files cannot grow nothing is solved: a solver would say so on its first row."""
    np.save(tmp_path / "x.npy", np.ones((4, 64), dtype=np.float32))
    words = ("prune", "tests.helpers.toys:large", "--solver",
             "tests.helpers.fakes:Refuses", "-p", "50%",
             "--calibration", tmp_path / "x.npy", "--out", tmp_path / "p")  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        code, lines = told(capsys, monkeypatch, *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert len(lines) == 1
    assert "large cannot be saved: " in lines[0] or "cannot be written: " in lines[0]
    assert list((tmp_path / "p").iterdir()) == []
    code, lines = told(capsys, monkeypatch, *words)
    assert "rows of this kind are not taken" in lines[0]


def test_files_have_the_permissions_of_the_umask(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "x.npy", np.ones((4, 4), dtype=np.float32))
    before = os.umask(0o077)
    try:
        code, _ = told(capsys, monkeypatch, "prune", MODEL, "--solver", "wanda", "-p", "50%",
                      "--calibration", tmp_path / "x.npy", "--out", tmp_path / "p")  # fmt: skip
    finally:
        os.umask(before)
    assert code == 0
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "p").rglob("*") if p.is_file()}
    assert set(modes.values()) == {0o600}
    assert {"model.safetensors", "pruning.json"} <= set(modes)
    assert json.loads((tmp_path / "p" / "pruning.json").read_text(encoding="utf-8"))
