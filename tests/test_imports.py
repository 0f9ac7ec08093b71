"""Imports go one way, solvers do not import one another, and a command loads what it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from solvers.registry import SPECS

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "instances": {"instances"},
    "solvers": {"instances", "solvers"},
    "benchmarks": {"instances", "solvers", "benchmarks"},
}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    for path in _modules(package):
        ours = {name.partition(".")[0] for name in _imports(path)} & (set(ALLOWED) | {"tests"})
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"


def test_no_registered_solver_imports_another():
    registered = {spec.target.partition(":")[0] for spec in SPECS.values()}
    for module in registered:
        path = ROOT / (module.replace(".", "/") + ".py")
        assert not (set(_imports(path)) & (registered - {module})), path


def test_the_checkers_use_no_solver_code():
    """Neither in their own files nor in any that these bring in."""
    code = (
        "import sys, benchmarks.certify, benchmarks.proof_check, benchmarks.commands.check;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'solvers'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import benchmarks.cli", ["torch", "numpy", "pandas", "matplotlib", "pyscipopt"]),
        ("from benchmarks.commands.listing import run_solvers; run_solvers(None, True)",
         ["torch", "pandas", "matplotlib", "pyscipopt", "highspy", "cvxpy"]),
        ("import benchmarks.commands.solve", ["torch", "pandas", "matplotlib", "cvxpy"]),
        ("import benchmarks.commands.check", ["torch", "solvers", "pandas", "matplotlib"]),
        ("import benchmarks.commands.extract, benchmarks.commands.evaluate", ["torch", "numpy"]),
        ("import benchmarks.commands.prune, benchmarks.pruning.masks",
         ["torch", "transformers", "pandas", "matplotlib", "cvxpy"]),
        ("import benchmarks.commands.run", ["torch", "pandas", "matplotlib", "cvxpy"]),
    ],
)  # fmt: skip
def test_a_command_loads_only_what_it_needs(code, unwanted):
    script = (
        f"import sys\n{code}\nsys.stderr.write(repr([m for m in {unwanted} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == "[]"
