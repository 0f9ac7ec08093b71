"""The answer of a search of one part: what `swap` and `search` say of it."""

import time
from collections.abc import Callable, Sequence

from maskgap.instances.arrays import Kept
from maskgap.instances.problem import Part
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.protocol import Answer, Deadline, Stop, TracePoint


def search_part(
    part: Part,
    start: Kept | None,
    seed: Sequence[int],
    population: int,
    max_swaps: int,
    deadline: Deadline,
    begun: float,
    own: Deadline | None = None,
    incumbent: Callable[[Kept, float], None] | None = None,
) -> Answer:
    """Search a part as `parts.improve_part`; the answer is in the layer's units.

    deadline: of the run; where it has passed, the answer is the start and claims nothing. begun:
    start of the run on the clock of `time.perf_counter`. own: of this part alone, or None.
    incumbent: called with each better mask and its loss, or None.
    """
    if deadline.expired():
        return Answer(start, deadline.stop(), counters={"swaps": 0})
    trace: list[TracePoint] = []

    def note(mask: Kept, loss: float) -> None:
        trace.append(TracePoint(time.perf_counter() - begun, loss, None))
        if incumbent is not None:
            incumbent(mask, loss)

    def expired() -> bool:
        return deadline.expired() or (own is not None and own.expired())

    found = improve_part(part, start, seed, population, max_swaps, expired, note)
    stop = Stop.FINISHED
    if not found.finished:
        spent = found.swaps == max_swaps
        stop = Stop.ITERATIONS if spent else deadline.stop()
    return Answer(
        found.mask,
        stop,
        claimed_objective=found.loss,
        counters={"swaps": found.swaps},
        trace=tuple(trace),
    )
