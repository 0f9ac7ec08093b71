"""Records: what one run gave on one row, or on a layer, one strict JSON object a line, append-only.

The run key is the sha256 of (problem digest, solver, its version, sorted settings, seed, limits),
so it does not depend on the order of a suite. A line is written whole, flushed and synced before
the next run is counted as done. On reading, only a torn last line is forgiven; damage elsewhere is
an error that names the line and leaves the file as it is. Missing fields of older records read as
absent; a newer schema than this is an error. Schema 2 added `rows`, `layer_type`, `by_swaps` and
`mask_digest`.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from instances.errors import InputError

SCHEMA = 2
RECORDS_FILE = "records.jsonl"


def _finite(value: object) -> object:
    """JSON has no NaN or infinity: neither is a result, so both are refused at the door."""
    if isinstance(value, float) and value - value != 0:
        raise ValueError("not finite")
    return value


Finite = Annotated[float, BeforeValidator(_finite)]


class Record(BaseModel):
    """One solver, one row, one seed. Numbers without `claimed_` were recomputed by the certificate.

    Objectives and bounds are squared norms in the layer's units; `_s` are seconds; absent is None.
    A record of a layer stands for `rows` rows from `row` on: objectives, energies, bounds and
    counters are sums, None where a row has none, and instead of `pruned` it has `mask_digest`, the
    sha256 of the mask (rows, n). height: rows that the pattern couples, laid end to end from `row`
    on; n and `pruned` then count the columns of all of them. trace: seconds, objective and bound by
    then. by_swaps: pairs of T and the objective if every row had ended after T swaps; the last T is
    the most any row took.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA
    key: str
    suite: str = ""
    group: str = ""
    started: str = ""

    instance: str
    row: int
    rows: int = 1
    height: int = 1
    n: int
    layer_type: str = ""
    pattern: str
    problem: str
    pruned_per_row: Finite
    sparsity: Finite

    solver: str
    solver_version: str = ""
    settings: dict[str, Any] = {}
    seed: int = 0
    time_limit_s: Finite
    gap_tolerance: Finite = 1e-6
    threads: int = 1
    device: str = "cpu"

    checker: int = 0
    stop: str
    verdict: str
    reason: str = ""
    objective: Finite | None = None
    objective_low: Finite | None = None
    objective_high: Finite | None = None
    objective_eval: Finite | None = None
    energy: Finite | None = None
    energy_eval: Finite | None = None
    bound: Finite | None = None
    bound_kind: str | None = None
    gap: Finite | None = None
    claimed_objective: Finite | None = None
    claimed_bound: Finite | None = None
    pruned: list[int] | None = None
    mask_digest: str | None = None

    build_s: Finite = 0.0
    warmup_s: Finite = 0.0
    solve_s: Finite = 0.0
    check_s: Finite = 0.0
    wall_s: Finite = 0.0
    peak_memory_bytes: int | None = None

    counters: dict[str, int] = {}
    notes: dict[str, str | float] = {}
    trace: list[tuple[float, float | None, float | None]] = []
    by_swaps: list[tuple[int, float]] = []
    exception: str | None = None
    traceback: str | None = None
    host: dict[str, str | int | float] = {}
    packages: dict[str, str] = {}

    @property
    def failed(self) -> bool:
        """Whether the run itself broke: these are retried only on request."""
        return self.stop == "crashed"

    def line(self) -> str:
        """The record as one line of strict JSON, keys in the order above."""
        return json.dumps(self.model_dump(), allow_nan=False) + "\n"


def run_key(
    problem: str,
    solver: str,
    version: str,
    settings: dict[str, object],
    seed: int,
    limits: dict[str, object],
) -> str:
    """sha256 that names a run by what it is, whatever its place in a suite."""
    parts = [problem, solver, version, settings, seed, limits]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records and sync them to disk, all of one call in one write."""
    data = "".join(record.line() for record in records).encode()
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> tuple[list[Record], int]:
    """The records of a file and the number of bytes that hold them.

    The second is less than the file's size when its last line is torn; whoever appends cuts it
    there first. Raises InputError naming file and line for damage anywhere else.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    records: list[Record] = []
    whole = raw.rfind(b"\n") + 1
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        try:
            record = Record.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"{path}: line {number} is not a record ({first}); mend it or use --fresh"
            ) from None
        if record.schema_version > SCHEMA:
            raise InputError(
                f"{path}: line {number} has schema {record.schema_version}, this program reads up "
                f"to {SCHEMA}; update maskgap"
            )
        records.append(record)
    return records, whole


def load_run(directory: Path) -> list[Record]:
    """All records of a run's directory; the last of each key counts. Raises InputError."""
    records, _ = read_records(directory / RECORDS_FILE)
    if not records:
        raise InputError(f"{directory / RECORDS_FILE}: holds no record yet; run a suite first")
    return list({record.key: record for record in records}.values())
