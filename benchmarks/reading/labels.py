"""What the runs of one group are called: the solver, and in brackets what tells them apart.

Where a solver ran with several settings, each run is named by the settings in which it differs
from the solver's default, in the order in which the solver lists them, or by the word `default`:
`swap [default]`, `swap [max_swaps=0]`. So a label is as long as what was changed, whatever else
varies in the group, and reads as `--set` takes it. The default is the one that the record states.
Where it states none (older records) all that varies is listed.

Limits, threads, devices and versions are named where they vary, and only there.
"""

from collections import defaultdict
from collections.abc import Sequence

from maskgap.benchmarks.runs.record import Record

DEFAULT = "default"

Rank = tuple[int, float, str]
"""Place of a setting, its value as a number (0 where it is none), as text."""


def setting(name: str, value: object) -> str:
    """A setting as `--set` takes it: 'lazy=false', 'node_tolerance=0.2'."""
    if isinstance(value, bool):
        return f"{name}={str(value).lower()}"
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def several_settings(records: Sequence[Record]) -> set[str]:
    """The solvers with more than one value of some setting among these records.

    A setting that a record does not state is no difference.
    """
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        for name, value in record.settings.items():
            values[record.solver, name].add(setting(name, value))
    return {solver for (solver, _), texts in values.items() if len(texts) > 1}


def differences(record: Record) -> dict[str, object]:
    """The settings of a run that are not the default's, in the solver's order.

    Those that the default lacks come last. All of them where the default is not known.
    """
    default = record.defaults or {}
    order = [*default, *sorted(set(record.settings) - set(default))]
    return {
        name: record.settings[name]
        for name in order
        if name in record.settings
        and not (name in default and record.settings[name] == default[name])
    }


def change_rank(record: Record) -> list[Rank]:
    """Sorts runs of one solver: the default first, then by setting in its order, then by value."""
    places = {name: place for place, name in enumerate(record.defaults or {})}
    return [
        (
            places.get(name, len(places)),
            value if isinstance(value, int | float) else 0.0,
            str(value),
        )
        for name, value in differences(record).items()
    ]


def labels(records: Sequence[Record], limits: Sequence[float]) -> list[str]:
    """The label of each record of one group. limits: seconds for one row, one for each record."""
    several = several_settings(records)
    aspects = [_aspects(record, limit) for record, limit in zip(records, limits, strict=True)]
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record, own in zip(records, aspects, strict=True):
        for aspect, text in own.items():
            values[record.solver, aspect].add(text)
    found = []
    for record, own in zip(records, aspects, strict=True):
        varying = [aspect for aspect in own if len(values[record.solver, aspect]) > 1]
        parts = [own[aspect] for aspect in varying if aspect not in record.settings]
        if record.solver in several:
            if record.defaults is None:
                named = [own[aspect] for aspect in varying if aspect in record.settings]
            else:
                named = [setting(*item) for item in differences(record).items()] or [DEFAULT]
            parts = named + parts
        found.append(record.solver + (f" [{', '.join(parts)}]" if parts else ""))
    return found


def stacked(label: str) -> str:
    """A label for narrow places: what tells runs apart goes below the solver, a part a line."""
    solver, _, parts = label.partition(" [")
    return solver + (f"\n[{parts}".replace(", ", ",\n ") if parts else "")


def _aspects(record: Record, limit: float) -> dict[str, str]:
    """What may tell runs of a solver apart; the settings under their own names."""
    own = {k: setting(k, v) for k, v in sorted(record.settings.items())}
    own["the limit"] = f"limit {limit:g} s"
    own["the threads"] = f"{record.threads} thread{'s' if record.threads > 1 else ''}"
    own["the device"] = record.device
    for part in filter(None, record.solver_version.split("; ")):
        own[f"version of {part.partition(' ')[0]}"] = part
    return own
