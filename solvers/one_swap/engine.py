"""Where 1-swap search runs: on the threads of the processor, or on a torch device."""

from typing import Protocol

from instances.groups import BudgetGroups, Mask, Matrix
from solvers.base import Answer, Deadline
from solvers.one_swap.course import Course


class Engine(Protocol):
    """Runs batches of rows. workers: how many batches may run at a time."""

    workers: int

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """Take the scaled Gram (n, n) of a layer; how many of its rows a batch should have."""
        ...

    def descend(
        self, weight: Matrix, mask: Mask, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """Search a batch to its end, or to max_swaps a row (-1: no limit); one answer a row.

        weight: (rows, n) float64, scaled. mask: (rows, n) legal, changed. Raises Refused when
        memory does not suffice.
        """
        ...


def engine_for(device: str, threads: int) -> Engine:
    """The engine of a device, compiled or opened by a small search. Raises Refused."""
    if device == "cpu":
        from solvers.one_swap.block import Processor

        return Processor(threads)
    from solvers.one_swap.batch import Device

    return Device(device)
