"""What tables, figures and reports are made of: the records of a run's directory, as data.

Nothing here or after it imports what a record names: a solver is what its records say of it
(`benchmarks.reading.older_records` for those that do not). Whatever the file holds, its texts come
out visible (`instances.formats.printable`).

    planned     records of runs that the suite plans now (`benchmarks.suites.plan`); others, of a
                suite that was edited, are left out and named
    judged      where another version of the checker had judged a run, its checked bound counts as
                claimed and its proof as a claim
    crossed     a bound that any record's mask refutes is wrong, left out or not
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskgap.benchmarks.reading.older_records import completed
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import load_run
from maskgap.benchmarks.suites.plan import planned_keys
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.instances.errors import InputError
from maskgap.instances.formats.printable import LINE_BREAKS, shown

_LONG = ("exception", "reason", "traceback")
"""Fields that may hold several lines."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Cross-checked records, and what a reader of them must know, a sentence each."""

    records: list[Record]
    remarks: tuple[str, ...] = ()


def read_run(directory: Path) -> Reading:
    """The records of a run's directory for people to look at. Raises InputError."""
    found = completed([visible_record(r) for r in load_run(directory)])
    records = cross_check([demoted(r) for r in found])
    keys = planned_keys(directory)
    kept = [r for r in records if keys is None or r.key in keys]
    if not kept:
        raise InputError(
            f"{directory}: holds records of an earlier form of its suite alone; run the suite again"
        )
    return Reading(kept, (*_left_out(records, kept), *_judged_elsewhere(kept)))


def visible_record(record: Record) -> Record:
    """The same record with all its texts visible; numbers are untouched."""
    changed = {}
    for name, value in record:
        if isinstance(value, str | dict):
            told = shown(value, LINE_BREAKS if name in _LONG else "")
            if told != value:
                changed[name] = told
    return record.model_copy(update=changed) if changed else record


def demoted(record: Record) -> Record:
    """The record as far as it holds today: what another checker had checked is but claimed."""
    if record.checker == CHECKER:
        return record
    changed = {}
    if record.bound_kind == BoundKind.CHECKED:
        changed["bound_kind"] = str(BoundKind.CLAIMED)
    if record.verdict == Verdict.PROVED:
        changed["verdict"] = str(Verdict.CLOSED)
    return record.model_copy(update=changed) if changed else record


def _left_out(records: Sequence[Record], kept: Sequence[Record]) -> list[str]:
    held = {record.key for record in kept}
    others = Counter(f"{r.solver} at {r.pattern}" for r in records if r.key not in held)
    if not others:
        return []
    listed = ", ".join(f"{count} of {what}" for what, count in others.items())
    return [
        f"Left out, because the suite as it was last run does not plan them: {listed} "
        f"({sum(others.values())} records in all)."
    ]


def _judged_elsewhere(records: Sequence[Record]) -> list[str]:
    count = sum(r.checker != CHECKER and r.bound_kind == BoundKind.CLAIMED for r in records)
    if not count:
        return []
    return [
        f"{count} bounds were judged by another version of the checker than this one and count as "
        "claimed; the same `maskgap run` judges them again."
    ]
