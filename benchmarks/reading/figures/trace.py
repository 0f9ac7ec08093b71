"""What a run knew at each moment of its time: best mask so far, best bound so far.

Traces are a solver's own words. No value is taken as better than what the certificate found at the
end: a mask is at best as good as the recomputed objective, a bound at most the one on record. A run
without a trace knew nothing until it ended.
"""

from math import inf, isfinite

from maskgap.benchmarks.reading.contest import Entry

Steps = list[tuple[float, float]]
"""(seconds since the start, value) in order of time."""


def masks_over_time(entry: Entry) -> Steps:
    """Objectives of the best mask so far; empty without a legal mask."""
    final = entry.objective
    if final is None:
        return []
    steps = [(s, max(v, final)) for s, v, _ in entry.record.trace if _usable(v) and v is not None]
    return _improving([*steps, (_end(entry), final)], 1.0)


def bounds_over_time(entry: Entry) -> Steps:
    """Best bounds so far; empty when nobody stands behind one."""
    final = entry.bound
    if final is None:
        return []
    steps = [(s, min(v, final)) for s, _, v in entry.record.trace if _usable(v) and v is not None]
    return _improving([*steps, (_end(entry), final)], -1.0)


def time_within(entry: Entry, gap: float) -> float:
    """Seconds until (objective - own bound) / objective <= gap; infinite when it never was."""
    masks, bounds = masks_over_time(entry), bounds_over_time(entry)
    moments = sorted({s for s, _ in [*masks, *bounds]})
    for moment in moments:
        mask, bound = value_at(masks, moment), value_at(bounds, moment)
        if mask is not None and mask - max(bound or 0.0, 0.0) <= gap * mask:
            return moment
    return inf


def value_at(steps: Steps, seconds: float) -> float | None:
    """The last value at or before a moment, None before the first."""
    known = None
    for moment, value in steps:
        if moment > seconds:
            break
        known = value
    return known


def _usable(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _end(entry: Entry) -> float:
    return max([entry.seconds, *(s for s, _, _ in entry.record.trace[-1:])])


def _improving(steps: Steps, sign: float) -> Steps:
    """Only the steps that improve, smallest `sign` x value so far, in order of time."""
    kept: Steps = []
    for moment, value in sorted(steps):
        if not kept or sign * value < sign * kept[-1][1]:
            kept.append((moment, value))
    return kept
