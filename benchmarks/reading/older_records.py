"""What older records lack, filled in from what the records of a solver say together.

Before schema 4 a record did not say what its solver is. Told from all records of a solver in a run:

    gives       what a newer record of it says; else bound, where there are bounds and never a mask;
                proof, where there is a checked bound beside masks; claim, where all bounds beside
                masks are claimed; else mask
    batched     what another record of it says; else whether it has a record of several rows, or two
                records of one run, which share their wall time to the last digit

Lost: that a solver proves which never came to a bound in the run; that one is batched which had one
row at a time; the order of the register, the default settings and what a solver does.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import BoundKind


def completed(records: Sequence[Record]) -> list[Record]:
    """The same records, each with what its solver gives and whether it is batched."""
    by_solver: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_solver[record.solver].append(record)
    told = {solver: (_gives(own), _batched(own)) for solver, own in by_solver.items()}
    found = []
    for record in records:
        if record.gives is None or record.batched is None:
            gives, batched = told[record.solver]
            record = record.model_copy(
                update={
                    "gives": record.gives or gives,
                    "batched": batched if record.batched is None else record.batched,
                }
            )
        found.append(record)
    return found


def _gives(records: Sequence[Record]) -> str:
    stated = next((r.gives for r in reversed(records) if r.gives is not None), None)
    if stated is not None:
        return stated
    kinds = {r.bound_kind for r in records} - {None, BoundKind.TRIVIAL}
    if not kinds:
        return "mask"
    if all(r.objective is None for r in records):
        return "bound"
    return "proof" if BoundKind.CHECKED in kinds else "claim"


def _batched(records: Sequence[Record]) -> bool:
    stated = next((r.batched for r in reversed(records) if r.batched is not None), None)
    if stated is not None:
        return stated
    runs = Counter((r.instance, r.pattern, r.seed, r.wall_s) for r in records if r.wall_s > 0)
    return any(r.rows > 1 for r in records) or any(count > 1 for count in runs.values())
