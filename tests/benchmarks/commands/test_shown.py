"""What a command shows: numbers never better than meant, no escapes, names, help."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from maskgap.benchmarks.commands.numbers import at_least, at_most, percent
from maskgap.instances.formats.files import write_layer, write_tensors
from tests.helpers.command import maskgap, one_line
from tests.helpers.tiny import random_layer


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
    one_line(missing)
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
