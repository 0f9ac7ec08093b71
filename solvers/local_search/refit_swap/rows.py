"""Refit swaps of a layer's rows on the threads of the processor: each row walks alone."""

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap.course import Course, next_mark
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic
from maskgap.solvers.local_search.refit_swap.walker import Walker
from maskgap.solvers.protocol import Answer, Deadline, Stop


class Processor:
    """The engine (`one_swap.engine`) of threads, a row at a time each."""

    def __init__(self, threads: int) -> None:
        self.workers = max(1, threads)

    def load(self, gram: Matrix, groups: BudgetGroups, rows: int) -> int:
        """See `Engine`; gram: H, scaled."""
        self._hessian, self._groups = gram, groups
        return 1

    def descend(
        self, weight: Matrix, mask: Kept, course: Course, max_swaps: int, deadline: Deadline
    ) -> list[Answer]:
        """See `Engine`."""
        for row, (target, kept) in enumerate(zip(weight, mask, strict=True)):
            walker = Walker(Quadratic.of(self._hessian, target, self._groups))
            walker.go(kept)
            course.note(row, walker.loss, 0)
            swaps, ended = 0, False
            while not (ended or swaps == max_swaps or deadline.expired()):
                ahead = next_mark(swaps) - swaps
                most = ahead if max_swaps < 0 else min(ahead, max_swaps - swaps)
                found = walker.descend(most, deadline.expired, sure=False)
                swaps, ended = swaps + found.swaps, found.local
                if found.swaps == ahead:
                    course.note(row, found.loss, swaps)
            left = -1 if max_swaps < 0 else max_swaps - swaps
            last = walker.descend(left, deadline.expired)  # what drift has hidden
            swaps += last.swaps
            why = Stop.FINISHED
            if not last.local:
                why = Stop.ITERATIONS if swaps == max_swaps else deadline.stop()
            course.end(row, Kept(walker.kept), why, last.loss, swaps)
        return course.answers()
