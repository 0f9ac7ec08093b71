"""`maskgap bound`: what it takes from files of proofs and masks, and what it does not believe."""

import json
from dataclasses import replace

import numpy as np
import pytest

from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.files import read_layer, write_layer, write_mask
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import write_proof
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


def hostile_resume(tmp_path, layer, masks, pattern="50%"):
    """What `bound --resume` makes of a file whose proofs have these masks."""
    problem = Problem.of(layer, parse_pattern(pattern))
    (tmp_path / "d").mkdir()
    proofs = [
        PartProof(p.row, p.digest, 0.0, m, Enumeration(), passes=99)
        for p, m in zip(problem, masks, strict=True)
    ]
    write_proof(tmp_path / "d" / "bound.proof.safetensors", problem, proofs)
    return maskgap(
        "bound", tmp_path / "l.safetensors", "-p", pattern, "--proof", tmp_path / "d", "--resume",
        "--time-limit", 0, "--json", "--out", tmp_path / "out.mask.safetensors",
    )  # fmt: skip


@pytest.mark.parametrize(
    "mask", [np.ones(6, bool), np.zeros(6, bool), np.ones(5, bool), np.arange(6) < 4]
)
def test_no_mask_of_a_file_counts_before_it_is_legal(tmp_path, layer, mask):
    code, out, err = hostile_resume(tmp_path, layer, [mask] * ROWS)
    assert code == 1, err  # no row has a mask
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == ROWS + 1
    assert all(line["objective"] is None for line in lines)
    assert not (tmp_path / "out.mask.safetensors").exists()


def test_legal_masks_of_a_file_are_gone_on_from(tmp_path, layer):
    code, out, err = hostile_resume(tmp_path, layer, [np.arange(6) < 3] * ROWS)
    assert code == 0, err
    total = json.loads(out.splitlines()[-1])
    assert total["bound_kind"] == "checked"
    assert 0.0 < total["bound"] <= total["objective_high"]


def resumed(tmp_path, proofs, pattern="50%", *more):
    """What `bound --resume` makes of a file of proofs, and what lies in its folder then."""
    problem = Problem.of(read_layer(tmp_path / "l.safetensors"), parse_pattern(pattern))
    (tmp_path / "d").mkdir()
    write_proof(tmp_path / "d" / "bound.proof.safetensors", problem, proofs(problem))
    done = maskgap(
        "bound", tmp_path / "l.safetensors", "-p", pattern, "--proof", tmp_path / "d", "--resume",
        "--time-limit", 60, "--max-runs", 24, "--json", *more,
    )  # fmt: skip
    return done, sorted(path.name for path in (tmp_path / "d").glob("*safetensors*"))


def test_a_proof_that_does_not_hold_is_named_and_kept_aside(tmp_path, layer):
    def raised(problem):
        return [replace(proof, bound=2.0 * proof.bound + 1.0) for proof in enumerated(problem)]

    (code, _, err), names = resumed(tmp_path, raised)
    assert code == 0, err
    assert "not gone on from: row 0: proof rejected" in err
    assert "is not supported" in err
    assert names == ["bound.proof.safetensors", "bound.proof.safetensors.old-1"]


@pytest.mark.parametrize("pattern", ["50%", "layer:50%"])
def test_passes_that_a_file_claims_are_not_believed(tmp_path, layer, pattern):
    def idle(problem):
        return [replace(trivial_proof(part), passes=10**6) for part in problem]

    (code, out, err), _ = resumed(tmp_path, idle, pattern)
    assert code == 0, err
    total = json.loads(out.splitlines()[-1])
    assert total["objective"] is not None
    assert total["bound_kind"] == "checked"


def test_bound_without_a_mask_for_every_row_exits_1(tmp_path, layer):
    code, out, _ = maskgap(
        "bound", tmp_path / "l.safetensors", "-p", "50%", "--time-limit", 0, "--json"
    )
    assert code == 1
    assert json.loads(out.splitlines()[-1])["objective"] is None


def test_a_device_that_is_not_there_is_told_before_work(tmp_path, layer):
    for command in (["bound"], ["solve", "--solver", "swap"]):
        words = [tmp_path / "l.safetensors", "-p", "50%", "--device", "nowhere"]
        code, out, err = maskgap(*command, *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert "--device nowhere" in err


def test_masks_written_for_a_layer_are_read_for_it_alone(tmp_path, layer):
    other = random_layer(8, 6, rows=ROWS)
    write_mask(
        tmp_path / "m.mask.safetensors",
        np.ones((ROWS, 6), bool),
        other,
        "50%",
        "me",
        rows=range(ROWS),
    )
    code, _, err = maskgap(
        "bound", tmp_path / "l.safetensors", "-p", "50%", "--mask", tmp_path / "m.mask.safetensors"
    )
    assert code == 2
    assert "another layer" in err
