"""What an extraction that was killed was writing is cleared by the next one, and nothing else."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from maskgap.instances.formats.files import read_layer
from maskgap.instances.models.extract_files import run_extract
from tests.helpers.command import ROOT, environment

TOY = "tests.helpers.toys:two_layers"

STOPPED = """
import os, sys, time

ending, seen, real = sys.argv[1], [], os.replace

def replace(source, target):
    seen.extend([source] * str(source).endswith(ending))
    if len(seen) == 2:
        print("here", flush=True)
        time.sleep(600)
    real(source, target)

os.replace = replace
sys.argv[1:] = sys.argv[2:]
from maskgap.benchmarks.commands.cli import main
main()
"""
"""The command, which stops for good where the second file of an ending takes its place."""


@pytest.mark.parametrize("ending", [".part", ".new"])
def test_files_of_a_killed_extraction_go_and_those_of_a_living_one_stay(tmp_path, ending):
    data, out = tmp_path / "x.npy", tmp_path / "out"
    np.save(data, np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    words = ["extract", TOY, "--calibration", data, "--samples", "4", "--out", out]
    run = subprocess.Popen(
        [sys.executable, "-c", STOPPED, ending, *map(str, words)], cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert any(line == "here\n" for line in run.stdout)
        (unfinished,) = out.glob(".maskgap-*")
        assert unfinished.suffix == ending
        told = []
        run_extract(TOY, out, "*", [data], 4, progress=told.append)
        assert unfinished.exists()  # its owner lives
        assert not any("taken away" in line for line in told)
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()
    (out / ".maskgap-mine.txt").write_text("a note")
    (out / f".maskgap-{'0' * 16}.new").symlink_to("0.safetensors")
    told = []
    run_extract(TOY, out, "*", [data], 4, progress=told.append)
    assert not unfinished.exists()
    assert f"{out}: unfinished files of a call that was killed are taken away: 1" in told
    assert {path.name for path in out.iterdir()} == {
        "0.safetensors", "1.safetensors", ".maskgap-mine.txt", f".maskgap-{'0' * 16}.new"
    }  # fmt: skip
    assert read_layer(out / "1.safetensors").weight.shape == (4, 4)
