"""Every problem and every run of it, as data that the page shows when a reader opens a problem.

Cells are text as the tables have it; a page with thousands of problems holds no element for a run
until its problem is opened. Masks that are the same are held once for each problem, as the bits
kept by column, most significant first, in base 64. A trace holds only the steps that improve, never
better than the certificate (`benchmarks.reading.figures.trace`), at most `STEPS` of a curve, with
times and values to five digits.

Size: 300 to 350 bytes a run, its share of the problem and its mask included, and some 15 for each
step of a trace; 600 to 750 where runs keep long traces. The figures add 150 to 900 bytes a run,
less the more there are, and all else about 70 kilobytes: 3.7 megabytes for 8000 runs.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskgap.benchmarks.reading.contest import Contest, Entry
from maskgap.benchmarks.reading.figures.style import looks
from maskgap.benchmarks.reading.figures.trace import Steps, bounds_over_time, masks_over_time
from maskgap.benchmarks.reading.labels import setting
from maskgap.benchmarks.reading.report.drawings import themed
from maskgap.benchmarks.reading.report.glossary import STOPS
from maskgap.benchmarks.reading.report.overview import outcome, place_of
from maskgap.benchmarks.reading.statistics import certified_gap, own_gap, ratio_to_wanda
from maskgap.benchmarks.reading.tables.summary import problem_frame, shown_problems
from maskgap.benchmarks.reading.typeset import number, percent, seconds
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, gap_of, is_false

STEPS = 60

RUN_COLUMNS = ("solver", "seed", "error", "error / wanda", "held out", "bound", "bound kind",
               "own gap", "certified gap", "verdict", "ended", "time (s)", "work")  # fmt: skip

CHECK_COLUMNS = ("solver", "seed", "bound", "bound kind", "claimed bound", "claimed error",
                 "recomputed error", "check (s)", "remarks")  # fmt: skip


def embedded(groups: Sequence[Contest]) -> dict[str, Any]:
    """All that the page's sections of problems show, ready for JSON.

    columns: the names of the cells. problems: see `_problem`. styles: colour and dash by solver.
    """
    problems, columns = [], None
    for contest in groups:
        lines = shown_problems(problem_frame(contest))
        entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in contest.entries:
            entries[entry.record.problem].append(entry)
        for digest, line in zip(contest.problems, lines, strict=True):
            cells = {**line, **({"group": contest.name} if len(groups) > 1 else {})}
            columns = columns or list(cells)
            problems.append(_problem(contest, entries[digest], cells))
    styles = looks(label for contest in groups for label in contest.contenders)
    return {
        "columns": columns or [],
        "runs": list(RUN_COLUMNS),
        "checks": list(CHECK_COLUMNS),
        "problems": problems,
        "styles": {
            name: [themed(own["color"]), _dashes(own["linestyle"])] for name, own in styles.items()
        },
    }


def _dashes(style: Any) -> str:
    """A line style of `reading.figures.style` as SVG has it, in units of the line's width."""
    return "" if style == "-" else " ".join(f"{2 * length:g}" for length in style[1])


def _problem(contest: Contest, mine: Sequence[Entry], cells: dict[str, str]) -> dict[str, Any]:
    """One problem: its line of the table, what is certain, runs, checks, masks, traces.

    n: columns. masks: [bits, runs that found it, columns that differ from the first, error], least
    error first. traces: [contender, run, seconds and errors, seconds and bounds]. faults: [run,
    exception, traceback].
    """
    first = mine[0].record
    digest = first.problem
    found: dict[str, Any] = {
        "cells": list(cells.values()),
        "about": _about(contest, first),
        "certain": _certain(contest, digest),
        "n": first.n,
        "digest": digest,
        "runs": [_run(contest, entry) for entry in mine],
        "checks": [_check(contest, entry) for entry in mine if _has_check(entry)],
        "traces": [
            [e.label, _name(e), _flat(masks_over_time(e)), _flat(bounds_over_time(e))]
            for e in mine
            if e.record.trace and not e.wrong
        ],
        "least": _digits(contest.least(digest)),
    }
    if missing := [c for c in contest.contenders if (c, digest) not in contest.chosen]:
        found["missing"] = missing
    if any(e.record.pruned is not None for e in mine):
        found["masks"] = _masks(mine)
    elif digests := sorted({e.record.mask_digest for e in mine if e.record.mask_digest}):
        found["digests"] = len(digests)
    if broken := [e for e in mine if e.record.traceback or e.record.exception]:
        found["faults"] = [
            [_name(e), e.record.exception or "", e.record.traceback or ""] for e in broken
        ]
    return found


def _about(contest: Contest, record: Record) -> str:
    pruned = f"{record.pruned_per_row:g} of {record.n} columns pruned{' a row' * (record.rows > 1)}"
    kind = f"; layer type {record.layer_type}" if record.layer_type else ""
    return f"{place_of(record)}: {pruned}{kind}; limit {contest.limits[record.problem]:g} s a row"


def _certain(contest: Contest, digest: str) -> str:
    """What is certain about the best mask of a problem, in words."""
    best, bound = contest.best.get(digest), contest.bounds.get(digest)
    what = "layer" if contest.unit == "layers" else "row"
    if best is None:
        held = "" if bound is None else (
            f" No allowed mask has an error below {bound.bound:.6g} (checked bound of "
            f"{bound.solver})."
        )  # fmt: skip
        return f"No solver found a mask of this {what}.{held}"
    said = f"The least error found is {best.objective:.6g}, by {best.solver}."
    if bound is None:
        return (
            f"{said} No bound of it was checked, so nothing certain is known about how much better "
            "another mask could be."
        )
    gap = percent(gap_of(contest.least(digest), contest.checked(digest)))
    if gap == "0 %":
        return f"{said} The checked bound of {bound.solver} meets it: no allowed mask is better."
    return (
        f"{said} The checked bound of {bound.solver} says that no allowed mask has an error below "
        f"{bound.bound:.6g}, so none can be better by more than {gap}."
    )


def _name(entry: Entry) -> str:
    """The contender, with the seed where it is not the first."""
    return f"{entry.label}, seed {entry.record.seed}" if entry.record.seed else entry.label


def _run(contest: Contest, entry: Entry) -> list[str]:
    """One line of `RUN_COLUMNS`."""
    record = entry.record
    return [
        entry.label,
        str(record.seed),
        _digits(record.objective),
        number(ratio_to_wanda(contest, entry), 3),
        number(ratio_to_wanda(contest, entry, True), 3),
        _digits(record.bound) if _stated(record) else "-",
        _behind(contest, record),
        percent(own_gap(contest, entry)) if entry.bound is not None else "-",
        "-" if entry.kind.bound_only else percent(certified_gap(contest, entry)),
        outcome(entry),
        STOPS.get(record.stop, record.stop),
        seconds(entry.seconds),
        ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in record.counters.items())
        or "-",
    ]


def _stated(record: Record) -> bool:
    return record.bound_kind in (BoundKind.CHECKED, BoundKind.CLAIMED)


def _behind(contest: Contest, record: Record) -> str:
    """Who stands behind a record's bound, and whether a mask refutes it."""
    known = [v for v in (record.objective, contest.least(record.problem)) if v is not None]
    if (
        record.verdict == Verdict.WRONG
        and record.bound is not None
        and record.bound_kind is not None
        and any(is_false(record.bound, BoundKind(record.bound_kind), value) for value in known)
    ):
        return f"{record.bound_kind}, refuted"
    return str(record.bound_kind or "-")


def _has_check(entry: Entry) -> bool:
    record = entry.record
    return _stated(record) or bool(record.reason) or record.claimed_objective is not None


def _check(contest: Contest, entry: Entry) -> list[str]:
    """One line of `CHECK_COLUMNS`."""
    record = entry.record
    remarks = [record.reason] if record.reason else []
    remarks += [
        setting(name, value) for name, value in record.notes.items() if value != record.reason
    ]
    return [
        entry.label,
        str(record.seed),
        _digits(record.bound) if _stated(record) else "-",
        _behind(contest, record),
        _digits(record.claimed_bound),
        _digits(record.claimed_objective),
        _digits(record.objective),
        seconds(record.check_s),
        "; ".join(remarks) or "-",
    ]


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _flat(steps: Steps) -> list[float]:
    """Seconds and values in turn, thinned evenly to `STEPS` with both ends kept."""
    if len(steps) > STEPS:
        places = np.linspace(0, len(steps) - 1, STEPS).round().astype(int)
        steps = [steps[int(place)] for place in places]
    return [float(f"{part:.5g}") for step in steps for part in step]


def _masks(mine: Sequence[Entry]) -> list[list[Any]]:
    """The distinct masks of a problem, least error first; wrong runs have none."""
    found: dict[tuple[int, ...], list[Entry]] = {}
    held = [e for e in mine if e.record.pruned is not None and e.objective is not None]
    for entry in sorted(held, key=lambda e: e.objective or 0.0):
        found.setdefault(tuple(entry.record.pruned or ()), []).append(entry)
    best = set(next(iter(found), ()))
    return [
        [
            _bits(pruned, entries[0].record.n),
            [_name(e) for e in entries],
            len(best.symmetric_difference(pruned)),
            _digits(entries[0].objective),
        ]
        for pruned, entries in found.items()
    ]


def _bits(pruned: Sequence[int], n: int) -> str:
    kept = np.ones(n, dtype=bool)
    kept[[column for column in pruned if 0 <= column < n]] = False
    return b64encode(np.packbits(kept).tobytes()).decode()
