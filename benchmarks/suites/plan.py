"""What a suite planned when it was last run, kept beside its records.

`plan.json` holds the keys of all records that the suite means, by solver. Records of an earlier
form of the suite stay in the directory, and who reads it tells them apart by this file. A run of
some solvers alone renews what those plan, and keeps the rest where the suite is still the same.
"""

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from maskgap.benchmarks.suites.suite import Suite
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.objective import ObjectiveName

PLAN_FILE = "plan.json"


class Plan(BaseModel):
    """suite: digest of the suite and of what the command changed of it. keys: by solver."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["maskgap-plan/1"] = "maskgap-plan/1"
    suite: str
    keys: dict[str, list[str]]


def suite_digest(suite: Suite, time_limit_s: float | None) -> str:
    """sha256 of what decides the runs of a suite. time_limit_s: instead of its own, or None."""
    said: dict[str, Any] = suite.model_dump(mode="json", exclude={"directory", "description"})
    for group in said["groups"]:
        if group["objective"] == ObjectiveName.MASK:  # as it was before there was another
            del group["objective"], group["ridge"]
    return hashlib.sha256(json.dumps([said, time_limit_s], sort_keys=True).encode()).hexdigest()


def write_plan(
    directory: Path, digest: str, keys: Mapping[str, Sequence[str]], whole: bool
) -> set[str]:
    """Keep the keys planned by each solver that was chosen; returns all keys that are planned now.

    whole: all of the suite's solvers were chosen. Raises InputError.
    """
    own = {solver: list(dict.fromkeys(some)) for solver, some in keys.items()}
    path = directory / PLAN_FILE
    before = _read(path) if not whole and path.exists() else None
    if before is not None and before.suite == digest:
        own = {**before.keys, **own}
    plan = Plan(suite=digest, keys=own)
    write_atomically(path, (plan.model_dump_json() + "\n").encode())
    return {key for some in own.values() for key in some}


def planned_keys(directory: Path) -> set[str] | None:
    """The keys of the records that a directory's suite plans, None where no plan was kept.

    Raises InputError.
    """
    path = directory / PLAN_FILE
    if not path.exists():
        return None
    return {key for some in _read(path).keys.values() for key in some}


def _read(path: Path) -> Plan:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a file; delete it and run the suite again")
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError:
        raise InputError(f"{path}: not a plan; delete it and run the suite again") from None
