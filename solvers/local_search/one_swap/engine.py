"""Where 1-swap search runs: on the threads of the processor, or on a torch device."""

from typing import Protocol

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap.course import Course
from maskgap.solvers.protocol import Answer, Deadline


class Engine(Protocol):
    """Runs batches of rows. workers: how many batches may run at a time."""

    workers: int

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """Take the scaled Gram (n, n) of a layer; how many of its rows a batch should have."""
        ...

    def descend(
        self, weight: Matrix, mask: Kept, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """Search a batch to its end, or to max_swaps a row (-1: no limit); one answer a row.

        weight: (rows, n) float64, scaled. mask: (rows, n) legal, changed. Raises Refused when
        memory does not suffice.
        """
        ...
