"""The answer of a search of one part: what `swap` and `search` say of it."""

import time
from dataclasses import replace

from maskgap.instances.arrays import Kept
from maskgap.instances.problem import Part
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.protocol import Answer, Deadline, Stop, TracePoint


def search_part(part: Part, terms: Terms, deadline: Deadline, begun: float) -> Answer:
    """Search a part as `parts.improve_part`; the answer is in the layer's units.

    terms: of this part alone. deadline: of the run, which ends it too; where it has passed, the
    answer is the start and claims nothing. begun: start of the run on the clock of
    `time.perf_counter`.
    """
    if deadline.expired():
        return Answer(terms.start, deadline.stop(), counters={"swaps": 0})
    trace: list[TracePoint] = []

    def note(mask: Kept, loss: float) -> None:
        trace.append(TracePoint(time.perf_counter() - begun, loss, None))
        terms.report(mask, loss)

    def expired() -> bool:
        return deadline.expired() or terms.expired()

    found = improve_part(part, replace(terms, expired=expired, report=note))
    stop = Stop.FINISHED
    if not found.finished:
        spent = found.swaps == terms.max_moves
        stop = Stop.ITERATIONS if spent else deadline.stop()
    return Answer(
        found.mask,
        stop,
        claimed_objective=found.loss,
        counters={"swaps": found.swaps},
        trace=tuple(trace),
    )
