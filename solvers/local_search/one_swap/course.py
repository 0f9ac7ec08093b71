"""The course of rows under 1-swap search: their traces, and the answers they end with."""

import time

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.solvers.protocol import Answer, Stop, TracePoint

MARKS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 500, 1000, 2000, 5000)
"""Numbers of swaps after which a row's loss is noted, as tables by `max_swaps` want them; beyond
the last, each time their number has doubled."""


def next_mark(swaps: int) -> int:
    """The least number of swaps above `swaps` at which a loss is noted."""
    for mark in MARKS:
        if mark > swaps:
            return mark
    mark = MARKS[-1]
    while mark <= swaps:
        mark *= 2
    return mark


class Course:
    """What is known of the rows of a batch, by their number in it.

    shifts: (rows,) powers of two that scale losses back. begun: start of the run on the clock.
    """

    def __init__(self, shifts: np.ndarray[tuple[int], np.dtype[np.int64]], begun: float) -> None:
        self._shifts, self._begun = shifts, begun
        self._traces: list[list[TracePoint]] = [[] for _ in shifts]
        self._answers: dict[int, Answer] = {}

    def note(self, row: int, loss: float, swaps: int) -> float:
        """Add a point to a row's trace; return its loss, scaled back.

        It takes the place of one after as many swaps, and of those that drift had put below it.
        """
        value = float(np.ldexp(max(loss, 0.0), self._shifts[row]))
        trace = self._traces[row]
        while trace and (trace[-1].swaps == swaps or (trace[-1].objective or 0.0) <= value):
            trace.pop()
        trace.append(TracePoint(time.perf_counter() - self._begun, value, None, swaps))
        return value

    def end(self, row: int, mask: Kept, why: Stop, loss: float, swaps: int) -> None:
        """A row ends with the loss of its mask, freshly summed."""
        self._answers[row] = Answer(
            mask,
            why,
            claimed_objective=self.note(row, loss, swaps),
            counters={"swaps": swaps},
            trace=tuple(self._traces[row]),
        )

    def answers(self) -> list[Answer]:
        """One a row, in order; all rows must have ended."""
        return [self._answers[row] for row in range(len(self._traces))]
