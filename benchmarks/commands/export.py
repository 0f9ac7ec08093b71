"""`maskgap export`: one row as a binary quadratic programme in LP or MPS text.

    minimise z^T Q z   subject to   sum of z over group g = pruned,   z binary

in scaled units: the loss is the objective times 2^exponent, which the first line states. LP writes
the objective as [ 2 z^T Q z ] / 2 with each pair once; QUADOBJ in MPS holds the lower triangle of
2 Q, since MPS objectives carry the factor 1/2. Numbers are written so that they read back exactly.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from instances.errors import InputError
from instances.files import read_layer
from instances.groups import Matrix
from instances.patterns import parse_pattern
from instances.problem import Problem, RowProblem

TERMS_PER_LINE = 4


def run(file: Path, row: int, pattern: str, fmt: str) -> int:
    """Print the model. Raises InputError."""
    writers = {"lp": lp_text, "mps": mps_text}
    if fmt not in writers:
        raise InputError(f"--format {fmt}: expected lp or mps")
    layer = read_layer(file)
    if not 0 <= row < layer.d_out:
        raise InputError(f"{file}: row {row} is not within its {layer.d_out} rows")
    problem = Problem.of(layer, parse_pattern(pattern), range(row, row + 1))
    print(writers[fmt](problem.row(row)), end="")
    return 0


def _pairs(quad: Matrix) -> Iterator[tuple[int, int, float]]:
    """(i, j, Q_ij) of the lower triangle, i >= j, zeros left out."""
    for i, j in zip(*np.nonzero(np.tril(quad)), strict=True):
        yield int(i), int(j), float(quad[i, j])


def lp_text(problem: RowProblem) -> str:
    """The row in CPLEX LP format."""
    terms = [
        f"{'+' if value >= 0 else '-'} {abs(value) * (2 if i == j else 4)!r} "
        + (f"z{i} ^ 2" if i == j else f"z{i} * z{j}")
        for i, j, value in _pairs(problem.quad)
    ]
    lines = [
        f"\\ loss = objective * 2^{problem.exponent}; z = 1 where pruned",
        "Minimize",
        " obj: [",
    ]
    lines += _wrapped(terms or ["+ 0.0 z0 ^ 2"])
    lines += [" ] / 2", "Subject To"]
    groups = problem.groups
    for g in range(groups.count):
        columns = range(g * groups.size, (g + 1) * groups.size)
        lines.append(f" budget{g}:")
        lines += _wrapped([f"+ z{j}" for j in columns])
        lines.append(f" = {groups.pruned}")
    lines.append("Binary")
    lines += _wrapped([f"z{j}" for j in range(problem.n)])
    return "\n".join([*lines, "End", ""])


def _wrapped(terms: list[str]) -> list[str]:
    starts = range(0, len(terms), TERMS_PER_LINE)
    return ["  " + " ".join(terms[s : s + TERMS_PER_LINE]) for s in starts]


def mps_text(problem: RowProblem) -> str:
    """The row in free MPS format with a QUADOBJ section."""
    groups = problem.groups
    lines = [f"* loss = objective * 2^{problem.exponent}; z = 1 where pruned"]
    lines += [f"NAME row{problem.row}", "ROWS", " N obj"]
    lines += [f" E budget{g}" for g in range(groups.count)]
    lines.append("COLUMNS")
    lines += [f" z{j} budget{j // groups.size} 1" for j in range(problem.n)]
    lines.append("RHS")
    lines += [f" RHS budget{g} {groups.pruned}" for g in range(groups.count)]
    lines += ["BOUNDS", *(f" BV BND z{j}" for j in range(problem.n)), "QUADOBJ"]
    lines += [f" z{j} z{i} {2 * value!r}" for i, j, value in _pairs(problem.quad)]
    return "\n".join([*lines, "ENDATA", ""])
