"""`maskgap export`: a row as a binary quadratic programme in LP or MPS text.

    minimise z^T Q z   subject to   lower <= A z <= upper,   z binary, some fixed

with the rows of its set of masks (`instances.masks.rows`), which for most patterns are a budget a
group. Where the pattern couples rows, all of the part are one programme, end to end. Units are
scaled: the loss is the objective times 2^exponent, which the first line states. LP writes
the objective as [ 2 z^T Q z ] / 2 with each pair once; QUADOBJ in MPS holds the lower triangle of
2 Q, since MPS objectives carry the factor 1/2. Numbers are written so that they read back exactly.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.rows import Row
from maskgap.instances.masks.state import FREE, PRUNED
from maskgap.instances.problem import Part, Problem

TERMS_PER_LINE = 4


def run(file: Path, row: int, pattern: str, fmt: str) -> int:
    """Print the model. Raises InputError, or Refused for a part too large to be written."""
    writers = {"lp": lp_text, "mps": mps_text}
    if fmt not in writers:
        raise InputError(f"--format {fmt}: expected lp or mps")
    layer = read_layer(file)
    if not 0 <= row < layer.d_out:
        raise InputError(f"{file}: row {row} is not within its {layer.d_out} rows")
    parsed = parse_pattern(pattern)
    coupled = parsed.coupled
    problem = Problem.of(layer, parsed, None if coupled else range(row, row + 1))
    print(writers[fmt](problem.part_of(row)), end="")
    return 0


def _pairs(quad: Matrix) -> Iterator[tuple[int, int, float]]:
    """(i, j, Q_ij) of the lower triangle, i >= j, zeros left out."""
    for i, j in zip(*np.nonzero(np.tril(quad)), strict=True):
        yield int(i), int(j), float(quad[i, j])


def lp_text(problem: Part) -> str:
    """The row in CPLEX LP format."""
    terms = [
        f"{'+' if value >= 0 else '-'} {abs(value) * (2 if i == j else 4)!r} "
        + (f"z{i}^2" if i == j else f"z{i} * z{j}")
        for i, j, value in _pairs(problem.quad)
    ]
    lines = [
        f"\\ loss = objective * 2^{problem.exponent}; z = 1 where pruned",
        "Minimize",
        " obj: [",
    ]
    lines += _wrapped(terms or ["+ 0.0 z0^2"])
    lines += [" ] / 2", "Subject To"]
    rows, state = _rows(problem)
    for name, row in rows:
        sums = _wrapped([_term(a, j) for j, a in zip(row.columns, row.values, strict=True)])
        for sign, side in _sides(row):
            suffix = "_upper" if sign == "<=" and row.lower is not None else ""
            lines += [f" {name}{suffix}:", *sums, f" {sign} {side}"]
    fixed = [(j, int(s == PRUNED)) for j, s in enumerate(state) if s != FREE]
    if fixed:
        lines += ["Bounds", *(f" z{j} = {value}" for j, value in fixed)]
    lines.append("Binary")
    lines += _wrapped([f"z{j}" for j, forced in enumerate(state) if forced == FREE])
    return "\n".join([*lines, "End", ""])


def _wrapped(terms: list[str]) -> list[str]:
    starts = range(0, len(terms), TERMS_PER_LINE)
    return ["  " + " ".join(terms[s : s + TERMS_PER_LINE]) for s in starts]


def _rows(problem: Part) -> tuple[list[tuple[str, Row]], list[int]]:
    """The rows of the set of masks, each with its name, and the states of the columns."""
    system = problem.legal.linear_rows()
    rows = list(system.as_rows())
    stem = "row" if problem.legal.equal_groups is None else "budget"
    return [(f"{stem}{number}", row) for number, row in enumerate(rows)], system.state.tolist()


def _term(value: int, column: int) -> str:
    sign, size = "-" if value < 0 else "+", abs(int(value))
    return f"{sign} z{column}" if size == 1 else f"{sign} {size} z{column}"


def _sides(row: Row) -> list[tuple[str, int]]:
    """The sides of a row as LP writes them: one where it is an equality."""
    if row.is_equality and row.lower is not None:
        return [("=", row.lower)]
    sides = ((">=", row.lower), ("<=", row.upper))
    return [(sign, side) for sign, side in sides if side is not None]


def mps_text(problem: Part) -> str:
    """The row in free MPS format with a QUADOBJ section."""
    rows, state = _rows(problem)
    kinds = {name: _sides(row) for name, row in rows}
    letters = {"=": "E", ">=": "G", "<=": "L"}
    lines = [f"* loss = objective * 2^{problem.exponent}; z = 1 where pruned"]
    lines += [f"NAME row{problem.row}", "ROWS", " N obj"]
    lines += [f" {letters[kinds[name][0][0]]} {name}" for name, _ in rows]
    lines.append("COLUMNS")
    entries = [
        (int(j), f" z{j} {name} {int(a)}")
        for name, row in rows
        for j, a in zip(row.columns, row.values, strict=True)
    ]
    lines += [text for _, text in sorted(entries, key=lambda entry: entry[0])]
    lines.append("RHS")
    lines += [f" RHS {name} {kinds[name][0][1]}" for name, _ in rows]
    ranged = [name for name, _ in rows if len(kinds[name]) > 1]
    if ranged:
        lines.append("RANGES")
        lines += [f" RNG {name} {kinds[name][1][1] - kinds[name][0][1]}" for name in ranged]
    lines.append("BOUNDS")
    for j, forced in enumerate(state):
        lines.append(f" BV BND z{j}" if forced == FREE else f" FX BND z{j} {int(forced == PRUNED)}")
    lines.append("QUADOBJ")
    lines += [f" z{j} z{i} {2 * value!r}" for i, j, value in _pairs(problem.quad)]
    return "\n".join([*lines, "ENDATA", ""])
