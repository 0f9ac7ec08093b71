"""`maskgap check`: a proof holds for the question asked and no other; any file gets a line."""

import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from maskgap.benchmarks.commands.check import CheckOptions, run
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.files import write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import PROOF_FORMAT, _digest, read_proof, write_proof
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.command import ended as maskgap
from tests.helpers.general import layer_with_extras
from tests.helpers.proofs import enumerated
from tests.helpers.tiny import random_layer

ROWS = 4


@pytest.fixture
def layer(tmp_path):
    found = layer_with_extras(1, ROWS, 6)
    write_layer(tmp_path / "l.safetensors", found)
    return found


def problem_of(layer, pattern, rows=None):
    return Problem.of(layer, parse_pattern(pattern), rows)


def check(tmp_path, pattern, rows=None, limit=None, as_json=False, file="p.safetensors"):
    return checked(tmp_path / file, tmp_path / "l.safetensors", pattern, rows, limit, as_json)


def checked(proof, instance, pattern, rows=None, limit=None, as_json=False):
    """Exit code and what is printed, as of the command."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run(
                CheckOptions(proof, instance, pattern, rows=rows, time_limit=limit, as_json=as_json)
            )
        except InputError as error:
            code = 2
            print(error, file=err)
    return code, out.getvalue(), err.getvalue()


def test_all_rows_of_a_proof_are_shown_and_summed(tmp_path, layer):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    code, out, err = check(tmp_path, "50%")
    assert (code, err) == (0, "")
    assert out.count("holds") == ROWS
    assert f"rows 0:{ROWS} of {ROWS}: all hold" in out
    lines = [json.loads(line) for line in check(tmp_path, "50.0%", as_json=True)[1].splitlines()]
    assert [line["row"] for line in lines] == list(range(ROWS))
    assert all(line["holds"] and line["derived_bound"] >= line["bound"] for line in lines)


@pytest.mark.parametrize(
    "asked",
    [
        "keep=3",
        "3:6",
        "layer:50%",
        "layer:60%",
        "2:3",
        "1:2",
        "50%;cost=100%",
        "50%;block=1",
        "51%",
    ],
)
def test_another_pattern_is_another_question(tmp_path, layer, asked):
    """Some of these have the same masks, and some of their parts the same digest."""
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    code, out, err = check(tmp_path, asked, as_json=True)
    assert code == 1
    assert f"about the pattern '50%', not '{asked}'" in err
    (line,) = map(json.loads, out.splitlines())
    assert line["holds"] is False


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [("layer:50%", "0:2"), ("layer:50%", "2:4"), ("layer:50%", "1:3"), ("1:2^T", "0:2"),
     ("1:2^T", "2:4")],
)  # fmt: skip
def test_coupled_rows_are_all_rows_unless_some_are_named(tmp_path, layer, pattern, rows):
    problem = problem_of(layer, pattern, parse_rows(rows, ROWS))
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    code, out, err = check(tmp_path, pattern)
    assert (code, out) == (1, "")
    assert f"about rows {rows}, not 0:4" in err
    assert check(tmp_path, pattern, rows)[0] == 0
    assert check(tmp_path, pattern, "2:4" if rows == "0:2" else "0:2")[0] == 1


def test_rows_of_their_own_may_be_some_of_the_layer_and_are_counted(tmp_path, layer):
    problem = problem_of(layer, "50%", range(1, 3))
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    code, out, _ = check(tmp_path, "50%")
    assert code == 0
    assert "rows 1:3 of 4" in out
    assert check(tmp_path, "50%", "0:4")[0] == 1


PARTS = {
    "none": lambda proofs: [],
    "one missing": lambda proofs: proofs[:2] + proofs[3:],
    "the last missing": lambda proofs: proofs[:-1],
    "one repeated": lambda proofs: [*proofs[:2], proofs[1], *proofs[2:]],
    "all the same": lambda proofs: [proofs[0]] * len(proofs),
    "one too many": lambda proofs: [*proofs, proofs[0]],
    "out of order": lambda proofs: [proofs[1], proofs[0], *proofs[2:]],
    "from the last": lambda proofs: proofs[::-1],
    "renamed": lambda proofs: [replace(proofs[1], row=0), *proofs[1:]],
    "taller": lambda proofs: [replace(proofs[0], height=2), *proofs[1:]],
}


@pytest.mark.parametrize("change", PARTS)
@pytest.mark.parametrize("rows", [None, "0:4"])
def test_rows_are_all_there_once_and_in_order(tmp_path, layer, change, rows):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, PARTS[change](enumerated(problem)))
    code, out, err = check(tmp_path, "50%", rows)
    assert (code, out) == (1, "")
    assert ("belongs to another problem" if change == "renamed" else "once and in order") in err


def test_strips_begin_where_strips_begin(tmp_path, layer):
    with_rows = ["solve", tmp_path / "l.safetensors", "-p", "1:2^T", "--solver", "swap", "--json"]
    code, _, err = maskgap(*with_rows, "--rows", "1:3")
    assert code == 2
    assert "row 1 begins none" in err


def test_another_layer_or_objective_is_another_question(tmp_path, layer):
    problem = problem_of(layer, "50%")
    other = Problem.of(random_layer(9, 6, rows=ROWS), parse_pattern("50%"))
    write_proof(tmp_path / "p.safetensors", other, enumerated(other))
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert "another layer" in err
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    tampered(tmp_path / "p.safetensors", objective="refit", ridge=(0.01).hex())
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert "about the objective 'refit, ridge 0.01', not 'mask'" in err


def tampered(path, tensors=None, **meta):
    """Change a file's metadata or tensors, and make its digest fit."""
    with safe_open(path, "np") as file:
        held = dict(file.metadata())
    arrays = load_file(path) if tensors is None else tensors
    held |= meta
    held.pop("digest")
    save_file(arrays, path, {**held, "digest": _digest(arrays, held)})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rows": "0:999999999999"}, "its rows are"),
        ({"rows": "4:0"}, "its rows are"),
        ({"rows": "0:5"}, "about rows 0:5"),
        ({"parts": "[" * 100_000}, "malformed"),
        ({"parts": "{}"}, "malformed"),
        ({"parts": "[1e999]"}, "malformed"),
        ({"parts": "nonsense"}, "malformed"),
        ({"pattern": "what"}, "not one of the forms"),
        ({"format": "maskgap-proof/1"}, "make it again"),
        ({"format": "maskgap-proof/9"}, f"expected {PROOF_FORMAT}"),
        ({"more": "than asked"}, "metadata"),
    ],
)
def test_headers_that_lie_are_named(tmp_path, layer, change, word):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    tampered(tmp_path / "p.safetensors", **change)
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert word in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bound", "0x1p99999"), ("bound", "nan"), ("bound", "inf"), ("bound", "x" * 1000),
        ("bound", 1.0), ("row", -1), ("row", 10**30), ("row", True), ("row", "0"), ("height", 0),
        ("kind", "magic"), ("kind", "leaves"), ("kind", "shift"), ("kind", "shared-budget"),
        ("problem", "00"), ("passes", -3), ("passes", 10**9), ("functions", 2), ("shift", 0),
        ("budget", 3), ("rows", []), ("mask", True), ("surplus", 1),
    ],
)  # fmt: skip
def test_heads_that_lie_are_named(tmp_path, layer, key, value):
    problem = problem_of(layer, "50%")
    path = tmp_path / "p.safetensors"
    write_proof(path, problem, enumerated(problem))
    with safe_open(path, "np") as file:
        heads = json.loads(file.metadata()["parts"])
    heads[1][key] = value
    tampered(path, parts=json.dumps(heads))
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "part1" in err or "1." in err


def test_no_tensor_lies_beside_those_that_are_named(tmp_path, layer):
    problem = problem_of(layer, "50%")
    path = tmp_path / "p.safetensors"
    write_proof(path, problem, enumerated(problem))
    tampered(path, tensors={"part9.u0": np.zeros(3)})
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert "no part names its tensor 'part9.u0'" in err


def test_trivial_proofs_hold_a_place_and_a_mask(tmp_path, layer):
    problem = problem_of(layer, "50%")
    mask = np.arange(6) < 3
    proofs = [replace(trivial_proof(row), mask=mask) for row in problem]
    write_proof(tmp_path / "p.safetensors", problem, proofs)
    code, out, _ = check(tmp_path, "50%")
    assert code == 0
    assert out.count("trivial bound 0") == ROWS
    write_proof(tmp_path / "p.safetensors", problem, [replace(p, bound=1.0) for p in proofs])
    assert check(tmp_path, "50%")[0] == 1
    write_proof(tmp_path / "p.safetensors", problem, [replace(p, mask=mask[:5]) for p in proofs])
    assert check(tmp_path, "50%")[0] == 1


def huge_claim(path):
    header = json.dumps({"x": {"dtype": "F64", "shape": [10**6, 10**6], "data_offsets": [0, 8]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))


def sparse(path):
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    os.truncate(path, 1 << 43)


FILES = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "empty": lambda path: path.touch(),
    "a text": lambda path: path.write_text("bound 7, honestly"),
    "a header of 2^63 bytes": lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f{}"),
    "a claim of 10^12 numbers": huge_claim,
    "terabytes of nothing": sparse,
    "nested lists": lambda path: path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("place", ["proof", "instance"])
def test_any_file_gets_one_line(tmp_path, layer, kind, place):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    (tmp_path / "odd").unlink(missing_ok=True)
    FILES[kind](tmp_path / "odd")
    paths = {"proof": tmp_path / "p.safetensors", "instance": tmp_path / "l.safetensors"}
    paths[place] = tmp_path / "odd"
    code, _, err = checked(paths["proof"], paths["instance"], "50%")
    assert code == (1 if place == "proof" else 2)
    assert len(err.splitlines()) == 1
    assert "odd" in err


def test_paths_and_options_that_are_wrong_exit_2(tmp_path, layer):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    for pattern, rows, limit in (
        ("50%", "0:9", None),
        ("50%", "x", None),
        ("50%", None, 0.0),
        ("50%", None, float("nan")),
        ("50", None, None),
    ):
        code, _, err = check(tmp_path, pattern, rows, limit)
        assert (code, len(err.splitlines())) == (2, 1), err
    code, _, err = check(tmp_path, "50%", file="nothing.safetensors")
    assert code == 2
    assert "no such file" in err


def test_what_is_not_checked_in_time_is_refused_in_words(tmp_path):
    layer = random_layer(0, 24, rows=2)
    write_layer(tmp_path / "l.safetensors", layer)
    problem = problem_of(layer, "50%")
    proofs = [PartProof(p.row, p.digest, 0.0, None, Enumeration()) for p in problem]
    write_proof(tmp_path / "p.safetensors", problem, proofs)
    code, _, err = check(tmp_path, "50%", limit=0.05)
    assert code == 1
    assert "not checked within 0.05 s" in err


def test_masks_of_proofs_are_written_down_with_all_rows(tmp_path, layer):
    """`bound` keeps a proof of each row, so that a file says all that was asked."""
    code, _, _ = maskgap(
        "bound", tmp_path / "l.safetensors", "-p", "50%", "--max-runs", 1, "--time-limit", 60,
        "--proof", tmp_path / "d", "--json",
    )  # fmt: skip
    assert code == 0
    (path,) = (tmp_path / "d").glob("*.safetensors")
    file = read_proof(path)
    assert [proof.row for proof in file.proofs] == list(range(ROWS))
    assert check(tmp_path, "50%", file=path.relative_to(tmp_path))[0] == 0


@pytest.mark.parametrize("field", ["objective", "pattern", "rows", "layer"])
def test_texts_of_a_file_are_shown_and_not_sent(tmp_path, layer, field):
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    tampered(tmp_path / "p.safetensors", **{field: "\x1b]0;mine\x07 first\nsecond line"})
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("form", ["0.{}%", "{}%", "50%;cost=0.{}%", "layer:{}%", "keep={}"])
def test_numbers_of_thousands_of_digits_are_no_patterns(tmp_path, layer, form):
    pattern = form.format("1" * 5000)
    problem = problem_of(layer, "50%")
    write_proof(tmp_path / "p.safetensors", problem, enumerated(problem))
    assert check(tmp_path, pattern)[0] == 2
    tampered(tmp_path / "p.safetensors", pattern=pattern)
    code, _, err = check(tmp_path, "50%")
    assert code == 1
    assert "not one of the forms" in err
