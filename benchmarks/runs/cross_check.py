"""What records of one problem say of one another: the mask of one may refute the bound of another.

A bound b of a problem is refuted by a mask of objective f < b, whichever solver found it.
"""

from collections.abc import Sequence
from math import inf

from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import ROUNDED, BoundKind, Verdict, is_false


def cross_check(records: Sequence[Record]) -> list[Record]:
    """The same records, with the verdict *wrong* on each whose bound another record's mask refutes.

    The best objective of a problem must not lie below any bound stated for it; the reason names
    the run whose mask refutes the bound.
    """
    best: dict[str, tuple[float, Record]] = {}
    for record in records:
        high = _high(record)
        if high is not None and record.verdict != Verdict.WRONG:
            held = best.get(record.problem)
            if held is None or high < held[0]:
                best[record.problem] = high, record
    judged: list[Record] = []
    for record in records:
        high, least = best.get(record.problem, (inf, record))
        if (
            record.bound is not None
            and record.bound_kind is not None
            and record.verdict != Verdict.WRONG
            and is_false(record.bound, BoundKind(record.bound_kind), high)
        ):
            reason = (
                f"{record.bound_kind} bound {record.bound:.12g} lies above the objective "
                f"{high:.12g} of {least.solver} (seed {least.seed})"
            )
            judged.append(record.model_copy(update={"verdict": "wrong", "reason": reason}))
        else:
            judged.append(record)
    return judged


def _high(record: Record) -> float | None:
    """The upper end of a record's objective; older records have none, and rounded it."""
    if record.objective_high is not None or record.objective is None:
        return record.objective_high
    return record.objective * (1 + ROUNDED)


def best_bounds(records: Sequence[Record]) -> dict[str, Record]:
    """Per problem, the record with the highest checked bound that is not wrong."""
    best: dict[str, Record] = {}
    for record in records:
        if record.bound_kind == BoundKind.CHECKED and record.verdict != Verdict.WRONG:
            held = best.get(record.problem)
            if held is None or (record.bound or 0.0) > (held.bound or 0.0):
                best[record.problem] = record
    return best
