"""How the losses of many rows fell together, from the trace of each row.

A row's trace is a step function: at some moments it states a loss, and how many swaps it had made.
For R rows with losses L_r,

    by swaps    (T, sum over r of L_r after min(T, its last swap) swaps):  what max_swaps = T gives
    over time   (t, sum over r of L_r at t seconds, no bound);  a row is at its start until its turn

A search that takes the best swap each time does the same first T swaps whatever its limit, so one
run to the end gives the losses of every limit. Traces are a solver's own words: no loss is taken as
lower than the one recomputed at the end, which is also the last point.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from maskgap.solvers.protocol import Answer

COUNTS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Swaps of a row at which losses are summed, besides the most that any row took."""

MOMENTS = 60
"""Points of a sum over time, at most."""

ROUNDING = 1e-9
"""A stated loss this close to the recomputed one is that of the same mask."""

Steps = list[tuple[float, float, int]]
"""(seconds, loss, swaps) of a row."""


def steps_of(answer: Answer, final: float) -> Steps:
    """The points of a row whose recomputed loss is `final`; the last is its end."""
    steps = [
        (point.seconds, max(point.objective, final), point.swaps or 0)
        for point in answer.trace
        if point.objective is not None and np.isfinite(point.objective)
    ]
    swaps = answer.counters.get("swaps", steps[-1][2] if steps else 0)
    last = max([answer.build_s + answer.solve_s, *(s for s, _, _ in steps)])
    if steps and steps[-1][1] <= final * (1 + ROUNDING):
        last = steps.pop()[0]
    return [*steps, (last, final, swaps)]


def counts_swaps(answer: Answer) -> bool:
    """Whether the trace says how many swaps had been made."""
    return any(point.swaps is not None for point in answer.trace)


def by_swaps(rows: Sequence[Steps]) -> list[tuple[int, float]]:
    """The losses summed after T swaps a row at most, for T of COUNTS and the most there were."""
    most = max(steps[-1][2] for steps in rows)
    points = []
    for count in [*(c for c in COUNTS if c < most), most]:
        places = (max(0, bisect_right(steps, count, key=lambda s: s[2]) - 1) for steps in rows)
        total = sum(steps[place][1] for steps, place in zip(rows, places, strict=True))
        points.append((count, float(total)))
    return points


def over_time(rows: Sequence[Steps]) -> list[tuple[float, float, None]]:
    """The sum of the losses at MOMENTS moments at most, the last of them the end."""
    start = sum(steps[0][1] for steps in rows)
    changes = sorted(
        (seconds, loss - before)
        for steps in rows
        for (_, before, _), (seconds, loss, _) in pairwise(steps)
    )
    if not changes:
        return [(max(steps[-1][0] for steps in rows), float(start), None)]
    seconds, falls = np.array(changes).T
    losses = start + np.cumsum(falls)
    losses[-1] = sum(steps[-1][1] for steps in rows)
    first = min(steps[0][0] for steps in rows)
    marks = np.geomspace(max(seconds[0], 1e-6), max(seconds[-1], 1e-6), MOMENTS - 1)
    near = np.minimum(np.searchsorted(seconds, marks), len(seconds) - 1)
    # A moment has all changes of its time behind it: the last of equals is taken.
    chosen = np.unique(np.searchsorted(seconds, [*seconds[near], seconds[-1]], side="right") - 1)
    return [
        (float(min(first, seconds[0])), float(start), None),
        *((float(seconds[i]), float(losses[i]), None) for i in chosen),
    ]
