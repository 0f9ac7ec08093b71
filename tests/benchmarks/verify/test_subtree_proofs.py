"""Functions that hold in subtrees: bounds against every mask, and what is rejected."""

from functools import cache

import numpy as np
import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.exact import losses
from tests.helpers.general import SHAPES, layer_with_extras
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.proofs import whole
from tests.helpers.subtree_proofs import subtree_proof

SIZES = {**SHAPES, "50%": (1, 9), "2:4": (1, 12), "keep=3": (1, 8), "1:2": (1, 6), "100%": (1, 5)}


@cache
def part_of(pattern, seed):
    """A part with masks, they, and the least loss."""
    for more in range(20):
        try:
            layer = layer_with_extras(seed + 100 * more, *SIZES[pattern])
            part = next(iter(Problem.of(layer, parse_pattern(pattern))))
        except InputError:
            continue
        pruned = legal_pruned(layer, pattern, part.rows)
        return part, pruned, min(losses(part, pruned))
    raise AssertionError(pattern)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pattern", SIZES)
def test_no_bound_is_above_the_least_loss(pattern, seed):
    part, pruned, optimum = part_of(pattern, seed)
    proof = subtree_proof(part, pruned, np.random.default_rng(seed), depth=2 + seed % 4)
    assert 0.0 <= check_part(part, proof).bound <= optimum


def test_files_round_trip(tmp_path):
    part, pruned, _ = part_of("50%", 3)
    proof = subtree_proof(part, pruned, np.random.default_rng(3), depth=4)
    path = tmp_path / "row.proof.safetensors"
    write_proof(path, whole(part), [proof])
    (again,) = read_proof(path).proofs
    holds = [function.holds for function in again.evidence.functions]
    assert holds == [function.holds for function in proof.evidence.functions]
    assert any(holds)
    assert check_part(part, again) == check_part(part, proof)
