"""Whether an engine can be used on a torch device, tried before it is relied on."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.one_swap.course import Course
from maskgap.solvers.local_search.one_swap.engine import Engine
from maskgap.solvers.protocol import Deadline


@contextmanager
def usable(name: str) -> Iterator[None]:
    """Raise Refused in one line where what is tried inside fails on a device."""
    try:
        yield
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(f"device '{name}' cannot be used: {first}") from None


def try_out(engine: Engine) -> None:
    """One exchange of a row of two columns."""
    engine.load(np.eye(2), BudgetGroups(2, 2, 1), 1)
    course, mask = Course(np.zeros(1, dtype=np.int64), 0.0), Kept(np.array([[False, True]]))
    engine.descend(np.array([[2.0, 1.0]]), mask, course, -1, Deadline(60.0))
