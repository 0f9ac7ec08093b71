"""One encoding of the state of a column."""

import ast
from pathlib import Path

from maskgap.instances.masks.state import FREE, KEPT, PRUNED

ROOT = Path(__file__).resolve().parents[3]


def _assigns(path, name):
    nodes = [
        target
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return any(
        isinstance(found, ast.Name) and found.id == name
        for target in nodes
        for found in ast.walk(target)
    )


def test_states_are_defined_once():
    files = [
        path
        for folder in ("instances", "solvers", "benchmarks", "tests/helpers")
        for path in (ROOT / folder).rglob("*.py")
    ]
    for name in ("PRUNED", "KEPT"):
        defining = [str(path.relative_to(ROOT)) for path in files if _assigns(path, name)]
        assert defining == ["instances/masks/state.py"]


def test_the_numbers_that_digests_of_problems_rest_on():
    assert (FREE, PRUNED, KEPT) == (0, 1, 2)
