"""Root gaps by the diagonal: `python -m maskgap.benchmarks.reference.diagonals`.

Of sparse regression, with the ridge that an instance states, and with the diagonal of a
semidefinite programme that is found where none is stated. A gap is (value - bound of the first
node) / |value|, value that of the best point, found to a gap of 1e-6.
"""

import sys

import numpy as np

from maskgap.benchmarks.reading.typeset import markdown, percent
from maskgap.instances.program import Program, QuadraticForm
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.regression import sparse_regression
from maskgap.solvers.convex.minimise import minimise
from maskgap.solvers.objectives.convex.quadratic import quadratic
from maskgap.solvers.oracles.mixed.make import milp

CASES = ((1, 15), (1, 30), (2, 30))
"""Seed and size."""


def root_gap(program: Program, stated: bool) -> float:
    """The gap of the first node. Raises TypeError for an objective that is no quadratic."""
    form, space = program.objective, program.space
    if not isinstance(form, QuadraticForm):
        raise TypeError("a quadratic is needed")
    f = quadratic(form.matrix, form.linear, form.constant, form.diagonal if stated else None)
    rows = milp(
        space.matrix, space.row_lower, space.row_upper, space.lower, space.upper,
        space.integral.astype(np.int64),
    )  # fmt: skip
    found = minimise(f, rows, time_limit=600.0)
    return (found.objective - found.root_bound) / abs(found.objective)


def _line(made: Instance) -> dict[str, str]:
    return {
        "case": f"`{made.name}`",
        "ridge stated": percent(root_gap(made.program, stated=True)),
        "found": percent(root_gap(made.program, stated=False)),
    }


def main() -> int:
    """Print the table."""
    print(markdown([_line(sparse_regression(seed, size)) for seed, size in CASES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
