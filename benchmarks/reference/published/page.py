"""The tables of published instances, written beside their records.

    solved       cases solved here in LIMIT_S, beside what others report of the same cases
    times        ourselves against each peer on the cases both ran, in one run on one machine
    root gaps    (value - bound of the first node) / |value|, with and without the perspective
    effort       oracle calls and seconds against those reported of Boscia, where both solved
    audit        `audit`, counted by family and solver, and the claims refuted by most

A run solved a case to a gap g when its point is feasible, worth at most g |v| more than the best
value v known, and its own bound is within g. Of a peer its word is taken for the bound: it ended
by itself. The limit is of wall time, and seconds are of processor time, so that what else the
machine did counts little.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, fsum, inf, log
from pathlib import Path

from maskgap.benchmarks.reading.statistics import shifted_geometric_mean
from maskgap.benchmarks.reading.typeset import csv_text, markdown, percent
from maskgap.benchmarks.reference.published import findings
from maskgap.benchmarks.reference.published.audit import audit, own_refuted
from maskgap.benchmarks.reference.published.case import OWN, PLAIN
from maskgap.benchmarks.reference.published.records import (
    GAP,
    LIMIT_S,
    Run,
    cases,
    number,
    read_runs,
)
from maskgap.instances.sources.published import own
from maskgap.instances.sources.published.make import FAMILIES
from maskgap.instances.sources.published.reported import Reported, reported

KINDS = (*FAMILIES, *own.KINDS)
SHIFT_S = 1.0
LOOSE = 1e-2
ROUNDING = 1e-9
"""A gap of GAP, computed anew, may be more by this share."""

CUT_OFF = frozenset({"TimeLimit", "timelimit", "TIME_LIMIT", "killed", "crashed"})
"""Ends that are none of a solver's own."""


def write(directory: Path) -> str:
    """Write `published.md` and `audit.csv`, and return the former."""
    runs, rows = read_runs(directory), list(reported())
    best = best_values(runs)
    audited = audit(runs, rows)
    parts = [
        solved_table(runs, rows, best),
        times_table(runs, best),
        roots_table(runs, best),
        effort_table(runs, rows, best),
        findings.counted(audited),
        findings.worst(audited),
        findings.below(audited, rows),
        _own(runs, rows),
    ]
    text = "\n\n".join(part for part in parts if part)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "published.md").write_text(text + "\n", encoding="utf-8")
    (directory / "audit.csv").write_text(
        csv_text([findings.line(a) for a in audited]) + "\n", "utf-8"
    )
    return text


Case = tuple[str, int, str]


def best_values(runs: Iterable[Run]) -> dict[Case, float]:
    """The least value of each case that an exactly feasible point found here has."""
    best: dict[Case, float] = {}
    for run in runs:
        best[run.case] = min(best.get(run.case, inf), run.objective if run.exact else inf)
    return best


def solved(run: Run, gap: float, best: dict[Case, float]) -> bool:
    """Whether a run solved its case to a gap in time."""
    allowed = gap * (1.0 + ROUNDING)
    if run.objective == inf or run.cpu_s > LIMIT_S:
        return False
    near = run.objective - best[run.case] <= allowed * abs(run.objective)
    return near and (run.gap <= allowed if run.solver == OWN else run.stop not in CUT_OFF)


def solved_table(runs: Sequence[Run], rows: Sequence[Reported], best: dict[Case, float]) -> str:
    """How many were solved, by family."""
    lines = []
    for family in KINDS:
        ours = [run for run in runs if run.family == family and run.solver == OWN]
        if not ours:
            continue
        here = {run.case for run in ours}
        line = {
            "family": f"`{family}`",
            "cases run": f"{len(here)} of {len(cases(family))}",
            "to 1e-6, here": str(sum(solved(run, GAP, best) for run in ours)),
            "to 1 %, here": str(sum(solved(run, LOOSE, best) for run in ours)),
        }
        for solver in ("Boscia", "SHOT", "SCIP-OA", "Ipopt-BnB", "Pavito"):
            told = [row for row in rows if row.solver == solver and _case(row) in here]
            line[solver] = str(sum(row.solved for row in told)) if told else "-"
        lines.append(line)
    if not lines:
        return ""
    legend = (
        f"here: in {LIMIT_S:g} s, one thread; the others: runs that ended as solved in 1800 s, as "
        "their authors report, whether or not the claim holds (Boscia and Ipopt-BnB to 1 %)"
    )
    return f"{markdown(lines)}\n\n* {legend}"


def times_table(runs: Sequence[Run], best: dict[Case, float]) -> str:
    """Shifted geometric means against each peer on the cases that both ran."""
    ours = {run.case: run for run in runs if run.solver == OWN}
    lines = []
    for peer in sorted({run.solver for run in runs} - {OWN, PLAIN}):
        for family in (*KINDS, None):
            pairs = [
                (ours[run.case], run)
                for run in runs
                if run.solver == peer and run.case in ours and family in (run.family, None)
            ]
            if not pairs:
                continue
            own, other = (
                shifted_geometric_mean((_seconds(pair[i], best) for pair in pairs), SHIFT_S)
                for i in (0, 1)
            )
            lines.append({
                "peer": peer,
                "family": f"`{family}`" if family else "all of these",
                "cases": str(len(pairs)),
                "solved here": str(sum(solved(pair[0], GAP, best) for pair in pairs)),
                "solved by it": str(sum(solved(pair[1], GAP, best) for pair in pairs)),
                "wrong": str(sum(_wrong(pair[1], best) for pair in pairs)),
                "here (s)": f"{own:.2f}",
                "it (s)": f"{other:.2f}",
                "ratio": f"{own / other:.2f}",
            })  # fmt: skip
    if not lines:
        return ""
    legend = (
        f"to 1e-6; shifted geometric mean of processor seconds, shift {SHIFT_S:g} s; a case not "
        f"solved counts {LIMIT_S:g} s here, and for a peer the seconds that it had; ratio: here / "
        "it; wrong: its bound is above the value of a point"
    )
    return f"{markdown(lines)}\n\n* {legend}"


def _wrong(run: Run, best: dict[Case, float]) -> bool:
    value = best[run.case]
    return run.bound > value + 1e-5 * abs(value)


def _seconds(run: Run, best: dict[Case, float]) -> float:
    """Processor seconds; of a peer that did not solve its case the least that it would need."""
    return LIMIT_S if run.solver == OWN and not solved(run, GAP, best) else run.cpu_s


def roots_table(runs: Sequence[Run], best: dict[Case, float]) -> str:
    """Root gaps of the cases that were run without the perspective too."""
    plain = {run.case: run for run in runs if run.solver == PLAIN}
    lines = [
        {
            "case": f"`{run.family}` {number(run.size)}, seed {run.seed}",
            "hull of big-M": percent(_root(plain[run.case], best)),
            "with perspective": percent(_root(run, best)),
            "oracle calls": str(run.calls),
            "seconds": f"{run.cpu_s:.1f}",
        }
        for run in runs
        if run.solver == OWN and run.case in plain
    ]
    return markdown(lines) if lines else ""


def _root(run: Run, best: dict[Case, float]) -> float | None:
    value = best[run.case]
    return None if run.root_bound is None else (value - run.root_bound) / abs(value)


def effort_table(runs: Sequence[Run], rows: Sequence[Reported], best: dict[Case, float]) -> str:
    """Calls and seconds against the reference's."""
    theirs = {_case(row): row for row in rows if row.solver == "Boscia"}
    lines = []
    for family in FAMILIES:
        pairs = [
            (run, theirs[run.case])
            for run in runs
            if run.solver == OWN and run.family == family and solved(run, GAP, best)
            and run.case in theirs and theirs[run.case].solved and theirs[run.case].calls
        ]  # fmt: skip
        if not pairs:
            continue
        lines.append({
            "family": f"`{family}`",
            "both solved": str(len(pairs)),
            "calls here": f"{_mean(pairs, lambda p: p[0].calls):.0f}",
            "calls, Boscia": f"{_mean(pairs, lambda p: p[1].calls or 0):.0f}",
            "seconds here": f"{_mean(pairs, lambda p: p[0].cpu_s):.2f}",
            "seconds, Boscia": f"{_mean(pairs, lambda p: p[1].seconds):.2f}",
        })  # fmt: skip
    if not lines:
        return ""
    legend = (
        "geometric means; here to 1e-6, Boscia as reported to 1 %, on another machine; nodes over "
        "switches alone, or by pivots where there are few rows, ask the oracle little"
    )
    return f"{markdown(lines)}\n\n* {legend}"


def _mean(
    pairs: Sequence[tuple[Run, Reported]], of: Callable[[tuple[Run, Reported]], float]
) -> float:
    return exp(fsum(log(max(of(pair), 1e-3)) for pair in pairs) / len(pairs))


def _own(runs: Sequence[Run], rows: Sequence[Reported]) -> str:
    broken = own_refuted(runs, rows)
    count = sum(run.solver == OWN for run in runs)
    return (
        f"Of {count} bounds of ours, {len(broken)} are above a value that the authors evaluated."
        if count
        else ""
    )


def _case(row: Reported) -> Case:
    return row.family, row.seed, row.size
