"""The file of records of a run, one strict JSON object a line, append-only.

A line is written whole, flushed and synced before the next run is counted as done. On reading, only
a torn last line is forgiven; damage elsewhere is an error that names the line and leaves the file
as it is. A file that holds something else is never taken for records, nor cut.
"""

import json
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskgap.benchmarks.runs.record import SCHEMA, Record
from maskgap.instances.errors import InputError

RECORDS_FILE = "records.jsonl"


def prepared(path: Path, fresh: bool) -> dict[str, Record]:
    """Records to build on. A torn last line is cut; `fresh` sets an old file aside, never away.

    Raises InputError.
    """
    try:
        if fresh and path.exists():
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(path.stat().st_mtime))
            number = 0
            while (aside := path.with_name(f"records-{stamp}-{number}.old.jsonl")).exists():
                number += 1
            os.replace(path, aside)
        if not path.exists():
            path.touch()
            return {}
        records, whole = read_records(path)
        with path.open("r+b") as file:
            file.truncate(whole)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    return {record.key: record for record in records}


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records and sync them to disk, all of one call in one write.

    Raises InputError when the disk is full or the file is not to be written.
    """
    data = "".join(record.line() for record in records).encode()
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; what was recorded before is "
            "kept, and the same command goes on from there"
        ) from None


def read_records(path: Path) -> tuple[list[Record], int]:
    """The records of a file and the number of bytes that hold them.

    The second is less than the file's size when its last line is torn; whoever appends cuts it
    there first. Raises InputError naming file and line for damage anywhere else.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, for ever
            raise InputError(f"{path}: not a file; expected the records of `maskgap run`")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    records: list[Record] = []
    whole = raw.rfind(b"\n") + 1
    if not records_begin(raw[whole:]):
        raise InputError(f"{path}: not a file of records; choose another directory")
    for number, line in enumerate(raw[:whole].split(b"\n")[:-1], start=1):
        try:
            record = Record.model_validate(_parsed(line))
        except (ValueError, ValidationError) as error:
            raise InputError(
                f"{path}: line {number} is not a record ({what_is_wrong(error)}); mend it or "
                "use --fresh"
            ) from None
        if record.schema_version > SCHEMA:
            raise InputError(
                f"{path}: line {number} has schema {record.schema_version}, this program reads up "
                f"to {SCHEMA}; update maskgap"
            )
        records.append(record)
    return records, whole


_BEGINNING = b'{"schema_version": '


def records_begin(line: bytes) -> bool:
    """Whether a torn line is what is left of a record, and not something of another kind."""
    return line.startswith(_BEGINNING[: len(line)])


def _parsed(line: bytes) -> Any:
    """The value of a line of strict JSON. Raises ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(line.decode(), parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def what_is_wrong(error: Exception) -> str:
    """An error of a record in a line, with its field."""
    if not isinstance(error, ValidationError):
        return (str(error).splitlines() or [""])[0]
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")


def load_run(directory: Path) -> list[Record]:
    """All records of a run's directory; the last of each key counts. Raises InputError."""
    records, _ = read_records(directory / RECORDS_FILE)
    if not records:
        raise InputError(f"{directory / RECORDS_FILE}: holds no record yet; run a suite first")
    return list({record.key: record for record in records}.values())
