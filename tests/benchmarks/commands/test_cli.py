"""The outside contract of the command, as another program sees it."""

import json
import math
import os
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from maskgap.instances.formats.files import write_layer
from maskgap.instances.layer import Layer
from maskgap.solvers.registry import SPECS
from tests.helpers.command import maskgap, started
from tests.helpers.tiny import I1_GRAM, I1_WEIGHT, I2_GRAM, I2_WEIGHT, random_layer

KEYS = ["row", "n", "pattern", "solver", "objective", "bound", "bound_kind", "gap", "stop",
        "verdict", "build_s", "solve_s", "check_s", "pruned"]  # fmt: skip


def solved(*words):
    done = maskgap("solve", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line, parse_constant=_no_constants) for line in done.stdout.splitlines()]


def _no_constants(name):
    raise AssertionError(f"{name} is not strict JSON")


@pytest.fixture
def i1(tmp_path):
    path = tmp_path / "i1.safetensors"
    write_layer(path, Layer.from_arrays(I1_WEIGHT, I1_GRAM, I1_GRAM))
    return path


@pytest.fixture
def layer(tmp_path):
    path = tmp_path / "layer.safetensors"
    write_layer(path, random_layer(5, 12, rows=4))
    return path


def test_solve_prints_one_object_a_row_in_row_order(layer):
    lines = solved(layer, "--pattern", "50%", "--solver", "exhaustive", "--rows", "1:4")
    assert [line["row"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert set(KEYS) <= set(line)
        assert line["pruned"] == sorted(line["pruned"])
        assert len(line["pruned"]) == 6
        assert (line["verdict"], line["bound_kind"], line["stop"]) == (
            "proved", "checked", "finished",
        )  # fmt: skip
        assert line["gap"] <= 1e-6


def test_known_optimum_and_held_out_error(i1):
    (line,) = solved(i1, "--pattern", "keep=2", "--solver", "exhaustive")
    assert (line["objective"], line["pruned"], line["objective_eval"]) == (20.0, [0, 1], 20.0)


def test_a_heuristic_has_the_trivial_bound(i1):
    (line,) = solved(i1, "--pattern", "2:4", "--solver", "wanda")
    assert (line["bound"], line["bound_kind"], line["gap"], line["verdict"]) == (
        0.0, "trivial", 1.0, "feasible",
    )  # fmt: skip


def test_swap_counts_its_swaps_and_takes_a_mask_file(layer, tmp_path):
    start = tmp_path / "start.mask.safetensors"
    solved(layer, "--pattern", "50%", "--solver", "random", "--out", start)
    assert load_file(start)["mask"].shape == (4, 12)
    ended = solved(layer, "--pattern", "50%", "--solver", "swap", "--warm-start", start)
    begun = solved(layer, "--pattern", "50%", "--solver", "random")
    for before, after in zip(begun, ended, strict=True):
        assert after["swaps"] >= 0
        assert after["objective"] <= before["objective"]
    assert len({line["solve_s"] for line in ended}) == 1


def test_a_mask_of_some_rows_says_so(layer, tmp_path):
    path = tmp_path / "m.mask.safetensors"
    solved(layer, "--pattern", "50%", "--solver", "wanda", "--rows", "1:3", "--out", path)
    kept = load_file(path)["mask"].sum(axis=1)
    assert list(kept) == [12, 6, 6, 12]
    shown = maskgap("show", path)
    assert "rows: 1:3" in shown.stdout


def test_proofs_are_written_and_checked(layer, tmp_path):
    proofs = tmp_path / "proofs"
    solved(layer, "--pattern", "50%", "--solver", "exhaustive", "--rows", "0:2", "--proof", proofs)
    assert sorted(p.name for p in proofs.iterdir()) == [
        "row0.proof.safetensors", "row1.proof.safetensors",
    ]  # fmt: skip
    one = proofs / "row1.proof.safetensors"
    held = maskgap("check", one, "--instance", layer, "--pattern", "50%", "--json")
    assert held.returncode == 0, held.stderr
    assert json.loads(held.stdout)["row"] == 1
    for pattern in ("keep=5", "2:4"):
        other = maskgap("check", one, "--instance", layer, "--pattern", pattern)
        assert other.returncode == 1
        assert len(other.stderr.splitlines()) == 1
    data = one.read_bytes()
    for damaged in (data[:-3], data[:-1] + bytes([data[-1] ^ 1]), b"", b"proof"):
        one.write_bytes(damaged)
        bad = maskgap("check", one, "--instance", layer, "--pattern", "50%")
        assert bad.returncode == 1
        assert len(bad.stderr.splitlines()) == 1
    assert maskgap("check", one, "--instance", layer, "--pattern", "9:4").returncode == 2
    assert maskgap("check", one, "--instance", one, "--pattern", "50%").returncode == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pattern", "0:4", "--solver", "wanda"], "'N:M'"),
        (["--pattern", "2:5", "--solver", "wanda"], "d_in is 12"),
        (["--pattern", "keep=13", "--solver", "wanda"], "keeps 13"),
        (["--pattern", "50%", "--solver", "wandas"], "the solvers are"),
        (["--pattern", "50%", "--solver", "wanda", "--rows", "3:9"], "write A:B"),
        (["--pattern", "50%", "--solver", "wanda", "--rows", "2"], "write A:B"),
        (["--pattern", "50%", "--solver", "wanda", "--set", "x=1"], "no setting 'x'"),
        (["--pattern", "50%", "--solver", "obs", "--set", "damping=lots"], "expected a number"),
        (["--pattern", "50%", "--solver", "fw-bnb", "--set", "branching=best"], "expected one of"),
        (["--pattern", "50%", "--solver", "wanda", "--set", "x"], "key=value"),
        (["--pattern", "50%", "--solver", "wanda", "--warm-start", "ria"], "takes no warm start"),
        (["--pattern", "50%", "--solver", "swap", "--warm-start", "nowhere"], "cannot be read"),
        (["--pattern", "50%", "--solver", "wanda", "--time-limit", "-1"], "seconds"),
        (["--pattern", "50%", "--solver", "wanda", "--time-limit", "nan"], "seconds"),
        (["--pattern", "50%", "--solver", "wanda", "--gap", "-1"], "gap"),
        (["--pattern", "50%", "--solver", "wanda", "--threads", "0"], "threads"),
        (["--pattern", "50%", "--solver", "wanda", "--seed", "x"], "seed"),
        (["--pattern", "50%"], "solver"),
        (["--pattern", "50%", "--solver", "tests.helpers.fakes:Refuses"], "not taken"),
        (
            ["--pattern", "50%", "--solver", "swap", "--set", "warm_start=foo"],
            "warm_start=foo: expected one of magnitude",
        ),
        (
            ["--pattern", "50%", "--solver", "tests.helpers.fakes:Picky"],
            "start 'none' does not exist",
        ),
        (["--pattern", "50%", "--solver", "nowhere:Thing"], "cannot be imported"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(layer, words, message):
    done = maskgap("solve", layer, *words, "--json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert "proved" not in done.stdout


def _bad_layers(tmp_path):
    good = {"weight": I1_WEIGHT, "gram": I1_GRAM}
    nan = I1_GRAM.copy()
    nan[1, 2] = math.nan
    skew = I1_GRAM.copy()
    skew[0, 1] = 3
    cases = {
        "nan": {**good, "gram": nan},
        "infinite": {**good, "weight": I1_WEIGHT * math.inf},
        "asymmetric": {**good, "gram": skew},
        "indefinite": {**good, "gram": -I1_GRAM},
        "shape": {**good, "gram": np.eye(3)},
        "no gram": {"weight": I1_WEIGHT},
    }
    for name, tensors in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, metadata={"format": "maskgap-layer/1"})
        yield path
    (tmp_path / "truncated").write_bytes((tmp_path / "shape.safetensors").read_bytes()[:-9])
    yield tmp_path / "truncated"
    yield tmp_path / "missing"


def test_bad_layers_are_one_line_and_exit_2(tmp_path):
    for path in _bad_layers(tmp_path):
        for words in (
            ["solve", path, "--pattern", "50%", "--solver", "wanda", "--json"],
            ["show", path],
            ["export", path, "--row", "0", "--pattern", "50%"],
        ):
            done = maskgap(*words)
            assert done.returncode == 2, (path, words, done)
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert str(path) in done.stderr
            assert done.stdout == ""


@pytest.mark.parametrize("fake", ["Abort", "Raise", "Illegal", "Claims"])
def test_a_crash_or_a_wrong_row_exits_1(layer, fake):
    done = maskgap(
        "solve", layer, "--pattern", "50%", "--solver", f"tests.helpers.fakes:{fake}", "--json"
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 4
    assert {line["verdict"] for line in lines} == (
        {"wrong"} if fake in ("Illegal", "Claims") else {"empty"}
    )
    assert "Traceback" not in done.stderr


def test_an_interrupt_prints_what_there_is_and_exits_130(layer):
    words = ["solve", layer, "--pattern", "50%", "--solver", "tests.helpers.fakes:Patient",
             "--time-limit", "0.5", "--json"]  # fmt: skip
    process = started(*words)
    first = process.stdout.readline()
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(first)["stop"] == "time"
    lines = [json.loads(line) for line in rest.splitlines()]
    assert [line["stop"] for line in lines] in (["interrupted"], ["time", "interrupted"])
    assert all(line["objective"] > 0 for line in lines)
    assert "Traceback" not in errors


def test_solvers_lists_every_name_in_full():
    done = maskgap("solvers", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == list(SPECS)
    for line in lines:
        assert set(line) == {"name", "patterns", "objectives", "proves", "available", "reason"}
        assert line["available"] == (line["reason"] is None)
    table = maskgap("solvers", env={"COLUMNS": "20"}).stdout
    assert all(name in table for name in SPECS)


def test_instances_lists_the_shipped_layers():
    lines = [json.loads(x) for x in maskgap("instances", "--json").stdout.splitlines()]
    assert len(lines) >= 14
    assert {line["n"] for line in lines} >= {12, 160, 384}


@pytest.mark.parametrize("fmt", ["lp", "mps"])
def test_an_exported_row_reads_back_as_the_same_problem(i1, tmp_path, fmt):
    highspy = pytest.importorskip("highspy")
    done = maskgap("export", i1, "--row", 0, "--pattern", "50%", "--format", fmt)
    path = tmp_path / f"row.{fmt}"
    path.write_text(done.stdout)
    solver = highspy.Highs()
    solver.silent()
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    hessian = solver.getModel().hessian_
    exponent = int(done.stdout.splitlines()[0].partition("2^")[2].partition(";")[0])
    columns = np.repeat(np.arange(4), np.diff(hessian.start_))
    lower = np.zeros((4, 4))
    lower[np.array(hessian.index_), columns] = hessian.value_
    full = np.maximum(np.abs(lower), np.abs(lower.T)) * np.sign(lower + lower.T)
    quad = I1_WEIGHT.T * I1_GRAM * I1_WEIGHT
    np.testing.assert_array_equal(full * 2.0**exponent, 2 * quad)
    assert list(solver.getLp().row_lower_) == [2.0]


@pytest.mark.parametrize("exponent", [-40, -12, 0, 12, 60])
def test_gram_scale_changes_no_mask(tmp_path, exponent):
    for name, weight, gram, pruned in (
        ("i1", I1_WEIGHT, I1_GRAM, [0, 1]), ("i2", I2_WEIGHT, I2_GRAM, [2, 3]),
    ):  # fmt: skip
        path = tmp_path / f"{name}.safetensors"
        write_layer(path, Layer.from_arrays(weight, gram * 10.0**exponent))
        (line,) = solved(path, "--pattern", "50%", "--solver", "exhaustive")
        assert line["pruned"] == pruned


def test_a_decimal_comma_locale_changes_nothing(layer):
    words = [layer, "--pattern", "50%", "--solver", "exhaustive", "--json"]
    plain, other = (
        maskgap("solve", *words, env={**os.environ, "LC_ALL": loc}) for loc in ("C", "de_DE.UTF-8")
    )
    rows = [[json.loads(x)["objective"] for x in d.stdout.splitlines()] for d in (plain, other)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


def test_unknown_commands_and_run_errors_are_one_line(tmp_path):
    for words in (["frobnicate"], ["run", "nowhere.toml"], ["run", "smoke", "--jobs", "0"],
                  ["tables", tmp_path], ["plot", tmp_path], ["run", "smoke", "--solvers", "nil"],
                  ["run", "smoke", "--executor", "moon"]):  # fmt: skip
        done = maskgap(*words)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
