"""What tests of commands share: a command in this process, and a layer for it."""

import subprocess
import sys

import pytest

from maskgap.instances.formats.files import write_layer
from tests.helpers.tiny import random_layer


@pytest.fixture
def called(tmp_path, monkeypatch, capfd):
    """The command in this process and in `tmp_path`: for what ends before any run."""
    from maskgap.benchmarks.commands.cli import main  # not for tests that call none

    def call(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["maskgap", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, ended.value.code, out, err)

    return call


@pytest.fixture
def layer(tmp_path):
    """The file of a layer of 4 rows of 12 columns."""
    write_layer(tmp_path / "layer", random_layer(5, 12, rows=4))
    return tmp_path / "layer"
