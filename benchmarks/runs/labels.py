"""What the runs of one group are called: the solver, and in brackets what tells them apart.

Where a solver ran with several settings, each run is named by the settings in which it differs
from the solver's default, in the order in which the solver lists them, or by the word `default`:
`swap [default]`, `swap [max_swaps=0]`. So a label is as long as what was changed, whatever else
varies in the group, and reads as `--set` takes it. The default is that of this version. Where it
is not known (a solver of another version, or outside this installation) all that varies is listed.

Limits, threads, devices and versions are named where they vary, and only there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from maskgap.benchmarks.runs.record import Record
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.solvers import registry

DEFAULT = "default"

Rank = tuple[int, float, str]
"""Place of a setting, its value as a number (0 where it is none), as text."""


@cache
def defaults(solver: str) -> Mapping[str, object] | None:
    """Every setting of the default in the solver's order, None where it cannot be built here.

    Imports the module of a solver that ships with the package, and no other: the names are those of
    records, and reading a record runs nothing.
    """
    if solver not in registry.SPECS:
        return None
    try:
        values = registry.settings_of(registry.build(solver))
        return {name: values[name] for name in registry.setting_names(solver)}
    except (InputError, ImportError):
        return None


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

    Those that this version does not have come last. All of them where the default is not known.
    """
    default = defaults(record.solver) or {}
    order = [*default, *sorted(set(record.settings) - set(default))]
    return {
        name: record.settings[name]
        for name in order
        if name in record.settings
        and not (name in default and record.settings[name] == default[name])
    }


def change_rank(record: Record) -> list[Rank]:
    """Sorts runs of one solver: the default first, then by setting in its order, then by value."""
    places = {name: place for place, name in enumerate(defaults(record.solver) or {})}
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
            if defaults(record.solver) is None:
                named = [own[aspect] for aspect in varying if aspect in record.settings]
            else:
                named = [setting(*item) for item in differences(record).items()] or [DEFAULT]
            parts = named + parts
        found.append(record.solver + (f" [{', '.join(parts)}]" if parts else ""))
    return found


def layer_type(layer: Layer) -> str:
    """What layers of a model have in common that do the same work in its blocks.

    The name of an extracted layer after its last number ('attention.self.query'); the shape
    'd_out x d_in' of one without a name.
    """
    parts = layer.meta.get("layer", "").split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    named = ".".join(parts[numbers[-1] + 1 :] if numbers else parts)
    return named or f"{layer.d_out} x {layer.d_in}"


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
