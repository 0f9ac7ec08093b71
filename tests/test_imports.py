"""Imports go one way, between floors and between rooms; a command loads what it needs."""

import ast
import graphlib
import re
from functools import cache

import pytest

from maskgap.solvers.registry import SPECS
from tests.helpers.command import ROOT, python

FLOORS = ("instances", "solvers", "benchmarks")

ROOMS = {
    "instances": {"instances.masks"},
    "instances.masks": {"instances"},
    "instances.formats": {"instances", "instances.masks"},
    "instances.models": {"instances", "instances.formats"},
    "instances.sources": {"instances", "instances.masks", "instances.formats", "instances.models"},
    "solvers": {"solvers.kernels"},
    "solvers.kernels": set(),
    "solvers.one_shot": {"solvers", "solvers.kernels"},
    "solvers.objectives": set(),
    "solvers.mip": {"solvers", "solvers.one_shot"},
    "solvers.oracles": {"solvers", "solvers.kernels", "solvers.mip"},
    "solvers.frank_wolfe": {"solvers", "solvers.kernels", "solvers.objectives", "solvers.oracles"},
    "solvers.bounds": {
        "solvers", "solvers.kernels", "solvers.objectives", "solvers.oracles",
        "solvers.frank_wolfe",
    },
    "solvers.convex": {
        "solvers", "solvers.kernels", "solvers.objectives", "solvers.oracles",
        "solvers.frank_wolfe", "solvers.bounds",
    },
    "solvers.local_search": {"solvers", "solvers.kernels", "solvers.one_shot"},
    "solvers.native": {
        "solvers", "solvers.objectives", "solvers.mip", "solvers.frank_wolfe", "solvers.bounds",
    },
    "solvers.tree": {
        "solvers", "solvers.kernels", "solvers.one_shot", "solvers.objectives", "solvers.oracles",
        "solvers.frank_wolfe", "solvers.bounds", "solvers.local_search",
    },
    "benchmarks.verify": set(),
    "benchmarks.suites": set(),
    "benchmarks.runs": {"benchmarks.verify", "benchmarks.suites"},
    "benchmarks.layers": {"benchmarks.verify", "benchmarks.runs"},
    "benchmarks.reading": {"benchmarks.verify", "benchmarks.suites", "benchmarks.runs"},
    "benchmarks.interface": {"benchmarks.verify", "benchmarks.runs", "benchmarks.layers"},
    "benchmarks.models": {
        "benchmarks.verify", "benchmarks.runs", "benchmarks.layers", "benchmarks.reading",
    },
    "benchmarks.commands": {
        "benchmarks.verify", "benchmarks.suites", "benchmarks.runs", "benchmarks.layers",
        "benchmarks.reading", "benchmarks.interface", "benchmarks.models",
    },
    "benchmarks.reference": {
        "benchmarks.verify", "benchmarks.runs", "benchmarks.reading", "benchmarks.models",
        "benchmarks.commands",
    },
}  # fmt: skip
"""What each room may import beside itself and the floors below its own. A folder in a room is part
of it."""

FORBIDDEN = {
    "benchmarks.verify": {"solvers"},
    "benchmarks.suites": {"solvers"},
    "benchmarks.reading": {"solvers"},
    "solvers": {"instances.sources", "instances.models"},
}
"""What a room may not import of the floors below."""


@cache
def _files():
    """Module -> path, of all files but those of timings, which are tests."""
    found = {}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "timings" not in parts:
                found[".".join(part for part in parts if part != "__init__")] = path
    return found


@cache
def _imports(module):
    """Modules of ours that a module imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(_files()[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module]
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full.removeprefix("maskgap.") in _files():
                    names = [*[n for n in names if n != node.module], full]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            assert top not in (*FLOORS, "tests"), f"{module} imports {name}"
            if top == "maskgap":
                found.add(name.removeprefix("maskgap."))
    return found - {module}


def _room(module):
    """The room of a module: the longest that names it."""
    while module and module not in ROOMS:
        module = module.rpartition(".")[0]
    return module


@pytest.mark.parametrize("module", sorted(_files()))
def test_a_room_imports_what_it_may(module):
    room, floor = _room(module), module.partition(".")[0]
    for wanted in _imports(module):
        assert wanted in _files(), f"{module} imports {wanted}, which is no file"
        other, below = _room(wanted), wanted.partition(".")[0]
        if below == floor:
            assert other == room or other in ROOMS[room], f"{module} imports {wanted}"
        else:
            assert FLOORS.index(below) < FLOORS.index(floor), f"{module} imports {wanted}"
        for place, forbidden in FORBIDDEN.items():
            if room == place or room.startswith(f"{place}."):
                assert not any(
                    wanted == name or wanted.startswith(f"{name}.") for name in forbidden
                ), f"{module} imports {wanted}"


def test_no_circle_of_files():
    order = graphlib.TopologicalSorter({name: _imports(name) for name in _files()})
    assert len(list(order.static_order())) == len(_files())


def test_no_registered_solver_imports_another():
    registered = {spec.target.partition(":")[0].removeprefix("maskgap.") for spec in SPECS.values()}
    for module in registered:
        assert not (_imports(module) & (registered - {module})), module


def test_no_test_is_imported_nor_named_by_another():
    """What several share is in tests/helpers, models and solvers that a command loads too."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        named = re.findall(r"\btests\.(?:\w+\.)*test_\w+", text)
        assert not named, f"{path} names {named[0]}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                assert ".test_" not in f".{node.module}", f"{path} imports {node.module}"


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("maskgap", ["numpy", "torch", "maskgap.instances"]),
        ("maskgap.benchmarks.commands.cli",
         ["torch", "numpy", "pandas", "matplotlib", "pyscipopt"]),
        ("maskgap.benchmarks.commands.solve", ["torch", "pandas", "matplotlib", "cvxpy"]),
        ("maskgap.benchmarks.verify.certificate", ["maskgap.solvers", "torch", "pandas"]),
        ("maskgap.benchmarks.commands.check",
         ["torch", "maskgap.solvers", "pandas", "matplotlib"]),
        ("maskgap.benchmarks.commands.extract", ["torch", "numpy"]),
        ("maskgap.benchmarks.commands.evaluate", ["torch", "numpy"]),
        ("maskgap.benchmarks.commands.prune",
         ["torch", "transformers", "pandas", "matplotlib", "cvxpy"]),
        ("maskgap.benchmarks.models.masks",
         ["torch", "transformers", "pandas", "matplotlib", "cvxpy"]),
        ("maskgap.benchmarks.commands.run", ["torch", "pandas", "matplotlib", "cvxpy"]),
    ],
)  # fmt: skip
def test_a_module_loads_only_what_it_needs(code, unwanted):
    script = (
        f"import sys\nimport {code}\n"
        f"sys.stderr.write(repr([m for m in {unwanted} if m in sys.modules]))"
    )
    assert python(script).stderr == "[]"


def test_the_list_of_solvers_loads_none():
    script = (
        "import sys\nfrom maskgap.benchmarks.commands.listing import run_solvers\n"
        "run_solvers(None, True)\n"
        "heavy = ['torch', 'pandas', 'matplotlib', 'pyscipopt', 'highspy', 'cvxpy']\n"
        "sys.stderr.write(repr([m for m in heavy if m in sys.modules]))"
    )
    assert python(script).stderr == "[]"


KINDS = {
    "BudgetGroups", "LinearSet", "RowPattern", "RowShare", "RowKeep", "KeptOfGroup", "LayerShare",
    "Transposable", "Constrained", "TileRule", "FlowRule", "BlockRule",
}  # fmt: skip
"""Classes of patterns, of sets of masks and of their oracles."""


@pytest.mark.parametrize("module", sorted(_files()))
def test_nobody_asks_for_the_class_of_a_pattern_or_set(module):
    """`Pattern` and `MaskSet` say what differs; a side constraint may ask how its budget counts."""
    if module == "instances.masks.constrained":
        return
    for node in ast.walk(ast.parse(_files()[module].read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            named = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
            assert not named & KINDS, f"{module}:{node.lineno}"
