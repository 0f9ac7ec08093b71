"""Fifteen hundred altered proof files: what is accepted of them holds in exact arithmetic."""

from collections import Counter

import pytest

from maskgap.instances.formats.evidence.leaves import Leaves
from tests.fuzz.files import run_file
from tests.fuzz.honest import honest
from tests.fuzz.runs import Tally

CHUNK = 100


@pytest.mark.parametrize("first", range(0, 1500, CHUNK))
def test_nothing_false_is_accepted(first):
    tally = Tally()
    for seed in range(first, first + CHUNK):
        tally.add(run_file(seed))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.counts["accepted"] > CHUNK / 20
    assert tally.counts["rejected"] > CHUNK / 4


def test_the_honest_files_are_of_every_kind_of_proof_and_pattern():
    kinds = Counter(one.proofs[0].evidence.kind for one in honest())
    assert set(kinds) == {"trivial", "enumeration", "leaves", "shift", "shared-budget", "refit"}
    assert len({one.pattern for one in honest()}) > 12
    held = [proof.evidence for one in honest() for proof in one.proofs]
    trees = [evidence for evidence in held if isinstance(evidence, Leaves)]
    assert any(len(tree.branch) > 5 for tree in trees)
    functions = [function for tree in trees for function in tree.functions]
    assert any(len(function.triangles) for function in functions)
    assert sum(function.holds > 0 for function in functions) > 20
