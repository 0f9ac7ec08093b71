"""No call takes a list of more than five values by place; options travel as one typed object."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("instances", "solvers", "benchmarks")

MOST = 5
"""Positional parameters, `self` and `cls` not counted."""

MOST_NAMED = 8
"""Keyword-only parameters: more of them are options that want one type."""

KERNELS = {"strict", "unchecked", "exact", "fast", "reordered", "kernel", "jit"}
"""Decorators of compiled functions, which take arrays and no objects."""

COMMANDS = {"command"}
"""Decorators of commands, whose parameters are the options of the command line."""


def _name(mark):
    """The name of a decorator: the last one of `triton.jit`, that of `kernel(...)`."""
    mark = mark.func if isinstance(mark, ast.Call) else mark
    return mark.attr if isinstance(mark, ast.Attribute) else mark.id


def _functions():
    """(name, parameters) of every function that is no kernel and no command."""
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and "timings" not in module:
                    marks = {_name(mark) for mark in node.decorator_list}
                    if not marks & (KERNELS | COMMANDS):
                        yield f"{module}.{node.name}", node.args


def _by_place(args):
    return [a.arg for a in args.posonlyargs + args.args if a.arg not in ("self", "cls")]


AS_KNOWN = {"solvers.oracles.mixed.make.milp"}
"""Functions that take a set in the well-known order of `scipy.optimize.milp`."""


def test_no_function_takes_more_than_five_values_by_place():
    long = {name for name, args in _functions() if len(_by_place(args)) > MOST} - AS_KNOWN
    assert not long, sorted(long)


def test_no_function_takes_a_crowd_of_named_options():
    assert not [name for name, args in _functions() if len(args.kwonlyargs) > MOST_NAMED]
