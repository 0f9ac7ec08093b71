"""A solver of the caller's own is found beside the caller, and nothing else there is imported."""

import json

import pytest

from tests.helpers.command import maskgap, one_line
from tests.helpers.traps import set_traps, sprung


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
    one_line(done)
    assert message in done.stderr
