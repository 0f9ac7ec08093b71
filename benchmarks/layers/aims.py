"""What a run on some rows of a layer is to be: a pass of the ladder, and which rows."""

from collections.abc import Iterable
from dataclasses import dataclass

from maskgap.benchmarks.layers.passes import Pass

CHUNK_ROWS = 256
"""Rows of a run of a batched solver on a device at most, once rows are taken by themselves; on a
processor it has `solvers.protocol.ROWS_ON_CPU`."""

NEAR = 0.5
"""Rows whose run is worth this share of the best join its chunk."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A run to be made: a pass of the ladder, by its number, on some rows."""

    number: int
    stage: Pass
    rows: range


def ranges(rows: Iterable[int]) -> list[range]:
    """The rows as ranges of neighbours: what batched solvers are given."""
    found: list[range] = []
    for row in sorted(rows):
        if found and found[-1].stop == row:
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found
