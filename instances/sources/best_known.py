"""Keeping the best masks known in a manifest.

An entry is replaced only by a mask of lower loss, or completed by a proof of the same loss. The
loss r G r^T is recomputed in float64 from the mask, whatever its finder said, and a mask that beats
a loss proved to be the least is an error, not an improvement.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_atomically
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.instances.sources.shipped import (
    MANIFEST,
    MANIFEST_FORMAT,
    SUFFIX,
    BestKnown,
    Entry,
    manifest,
)

SAME = 1e-9
"""Relative difference below which two losses are the same, and the first finder keeps the entry."""


@dataclass(frozen=True, slots=True)
class Found:
    """A mask that a solver found for a row (0-based in the file) of a shipped layer.

    pruned: its pruned columns. proved_by: who proved it optimal, by a proof that was checked, or
    None.
    """

    name: str
    row: int
    pattern: str
    pruned: tuple[int, ...]
    solver: str
    proved_by: str | None = None


def record_best(directory: Path, found: Iterable[Found]) -> int:
    """Merge masks into the manifest of a folder; returns the number of entries that changed.

    Raises InputError for an unknown layer, a row or pattern that does not fit, a mask that is not
    legal, and a mask below a proved loss.
    """
    entries = manifest(directory)
    by_name = {entry["name"]: entry for entry in entries}
    problems: dict[tuple[str, str], Problem] = {}
    changed = 0
    for item in found:
        if item.name not in by_name:
            raise InputError(f"no layer '{item.name}' in {directory / MANIFEST}")
        key = (item.name, item.pattern)
        if key not in problems:
            layer = read_layer(directory / f"{item.name}{SUFFIX}")
            problems[key] = Problem.of(layer, parse_pattern(item.pattern))
        if not 0 <= item.row < len(problems[key]):
            raise InputError(f"{item.name}: there is no row {item.row}")
        changed += _merge(by_name[item.name], item, problems[key].part_of(item.row))
    if changed:
        write_manifest(directory, entries)
    return changed


def _merge(entry: Entry, item: Found, problem: Part) -> bool:
    """Put a mask into an entry; whether that changed it."""
    where = f"{item.name}, row {item.row}, {item.pattern}"
    mask = Kept(np.ones(problem.n, dtype=bool))
    pruned = sorted(item.pruned)
    if pruned and not 0 <= pruned[0] <= pruned[-1] < problem.n:
        raise InputError(f"{where}: pruned columns are not within the {problem.n} columns")
    mask[pruned] = False
    if not problem.groups.is_legal(mask) or len(set(pruned)) < len(pruned):
        raise InputError(f"{where}: the mask of {item.solver} does not meet the pattern")
    new: BestKnown = {
        "row": item.row,
        "pattern": item.pattern,
        "objective": problem.loss(mask),
        "pruned": pruned,
        "solver": item.solver,
        "proved_by": item.proved_by,
    }
    best = entry["best_known"]
    for place, old in enumerate(best):
        if (old["row"], old["pattern"]) != (item.row, item.pattern):
            continue
        same = abs(new["objective"] - old["objective"]) <= SAME * old["objective"]
        if same and old["proved_by"] is None and item.proved_by is not None:
            best[place] = {**old, "proved_by": item.proved_by}
            return True
        if same or new["objective"] > old["objective"]:
            if item.proved_by is not None and not same:
                raise InputError(
                    f"{where}: {item.proved_by} proved {new['objective']!r}, but {old['solver']} "
                    f"has {old['objective']!r}"
                )
            return False
        if old["proved_by"] is not None:
            raise InputError(
                f"{where}: {old['proved_by']} proved {old['objective']!r}, but {item.solver} "
                f"has {new['objective']!r}"
            )
        best[place] = new
        return True
    best.append(new)
    best.sort(key=lambda known: (known["row"], known["pattern"]))
    return True


def write_manifest(directory: Path, entries: list[Entry]) -> None:
    """Write a manifest whole, entries by width and name, one number list a line."""
    ordered = sorted(entries, key=lambda entry: (entry["n"], entry["name"]))
    parts = []
    for entry in ordered:
        lines = [f"   {json.dumps(key)}: {_lines(value)}" for key, value in entry.items()]
        parts.append("  {\n" + ",\n".join(lines) + "\n  }")
    text = (
        f'{{\n "format": {json.dumps(MANIFEST_FORMAT)},\n "instances": [\n'
        + ",\n".join(parts)
        + "\n ]\n}\n"
    )
    write_atomically(directory / MANIFEST, text.encode())


def _lines(value: object) -> str:
    """JSON with each object of a list on a line of its own, so that changes are readable."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        inner = ",\n".join(f"    {json.dumps(item, allow_nan=False)}" for item in value)
        return f"[\n{inner}\n   ]"
    return json.dumps(value, allow_nan=False)
