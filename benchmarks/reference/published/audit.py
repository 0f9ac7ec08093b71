"""Published claims of optimality, each held against the best value known and a bound of ours.

A run that ended within its limit as solved claims that no point is better than its value v by more
than tau |v|, tau its tolerance (`reported`). With b the least value known and L a bound of ours:

    refuted      v - b > (tau + s) |v|: a better point is known
    right        v - L <= TIGHT |v|
    within       v - L <= tau |v|: right within its own tolerance
    below        v < L - s |v|: a point better than our bound says is possible
    open         nothing of that is shown

b is the value of a point found here, by us or a peer, by the instance's formula and feasible to
1e-9 (s = OWN_SLACK), or a value that the authors report of a solver whose point they checked and
evaluated themselves (s = THEIR_SLACK: whole variables may miss whole numbers by up to 1e-5 there,
and that is worth as much). Values of Boscia and Ipopt-BnB refute nothing: they are what the solver
itself said last.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite

from maskgap.benchmarks.reference.published.case import OWN
from maskgap.benchmarks.reference.published.records import Run
from maskgap.instances.sources.published.reported import Reported

TIGHT = 1e-6
OWN_SLACK = 1e-6
THEIR_SLACK = 1e-4

CHECKED = frozenset({"SHOT", "SCIP-OA", "Pavito"})
"""Whose points the authors evaluated."""


class Finding(StrEnum):
    """What comes of a claim."""

    RIGHT = "right"
    WITHIN = "within its tolerance"
    REFUTED = "refuted"
    OPEN = "open"
    BELOW = "below our bound"


@dataclass(frozen=True, slots=True)
class Known:
    """The least value of a case, whose it is and by how much it may be off; our best bound.

    value: +inf for none. bound: -inf for none. slack: relative.
    """

    value: float
    whose: str
    slack: float
    bound: float


@dataclass(frozen=True, slots=True)
class Audited:
    """A claim, what is known of its case, and the finding. excess: (v - b) / |v|."""

    claim: Reported
    known: Known
    finding: Finding
    excess: float


def known(case: tuple[str, int, str], runs: Iterable[Run], rows: Iterable[Reported]) -> Known:
    """What is known of a case. runs: of it, by us and peers; bounds are ours alone."""
    value, whose, slack, bound = inf, "nobody", 0.0, -inf
    for run in sorted(runs, key=lambda run: run.solver != OWN):  # ours first, others if better
        if run.solver == OWN:
            bound = max(bound, run.bound)
        if run.exact and run.objective < value:
            value, whose, slack = run.objective, f"{run.solver}, here", OWN_SLACK
    for row in _evaluated(case, rows):
        if row.objective < value - THEIR_SLACK * abs(row.objective):
            value, whose, slack = row.objective, row.solver, THEIR_SLACK
    return Known(value, whose, slack, bound)


def finding(claim: Reported, best: Known) -> Audited:
    """The audit of one claim."""
    v = claim.objective
    size = abs(v)
    excess = (v - best.value) / size if best.value < inf else -inf
    if excess > claim.tolerance + best.slack:
        found = Finding.REFUTED
    elif v < best.bound - THEIR_SLACK * size:
        found = Finding.BELOW
    elif v - best.bound <= TIGHT * size:
        found = Finding.RIGHT
    elif v - best.bound <= claim.tolerance * size:
        found = Finding.WITHIN
    else:
        found = Finding.OPEN
    return Audited(claim, best, found, excess)


def audit(runs: Sequence[Run], rows: Sequence[Reported]) -> list[Audited]:
    """The audit of every claim, in the order of the file."""
    by_case: dict[tuple[str, int, str], list[Reported]] = {}
    for row in rows:
        by_case.setdefault((row.family, row.seed, row.size), []).append(row)
    ours: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        ours.setdefault(run.case, []).append(run)
    best = {case: known(case, ours.get(case, ()), own) for case, own in by_case.items()}
    return [finding(row, best[row.family, row.seed, row.size]) for row in rows if row.solved]


def own_refuted(runs: Sequence[Run], rows: Sequence[Reported]) -> list[tuple[Run, Reported]]:
    """Bounds of ours above a value that the authors evaluated, by more than THEIR_SLACK."""
    return [
        (run, row)
        for run in runs
        if run.solver == OWN
        for row in _evaluated(run.case, rows)
        if row.objective < run.bound - THEIR_SLACK * abs(row.objective)
    ]


def _evaluated(case: tuple[str, int, str], rows: Iterable[Reported]) -> Iterator[Reported]:
    """The reported values of a case whose points the authors checked."""
    for row in rows:
        here = (row.family, row.seed, row.size) == case
        if here and row.solver in CHECKED and isfinite(row.objective):
            yield row
