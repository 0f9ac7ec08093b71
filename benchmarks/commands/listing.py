"""`maskgap solvers` and `maskgap instances`: what there is."""

from typing import TYPE_CHECKING

from maskgap.benchmarks.commands.screen import Results
from maskgap.instances.objective import ObjectiveName, ObjectiveSpec
from maskgap.solvers.registry import SPECS, spec_of
from maskgap.solvers.spec import Spec

if TYPE_CHECKING:
    from maskgap.solvers.settings import Setting


def run_solvers(name: str | None, as_json: bool) -> int:
    """One line a solver; names are never cut. Of one solver by name also its settings.

    Raises InputError for an unknown name.
    """
    if name is not None:
        return _one(spec_of(name), as_json)
    if as_json:
        results = Results(kept=False)
        for spec in SPECS.values():
            results.line(_line(spec))
        return 0
    width = max(len(name) for name in SPECS)
    print(f"{'solver':<{width}}  gives   here  objectives  what it is")
    for spec in SPECS.values():
        here = "yes" if spec.missing is None else "no"
        missing = "" if spec.missing is None else f" ({spec.missing})"
        takes = ",".join(spec.objectives)
        print(
            f"{spec.name:<{width}}  {spec.gives:<6}  {here:<4}  {takes:<10}  "
            f"{spec.summary}{missing}"
        )
    print(
        "\nproof: a bound that maskgap check derives again; claim: its own word for a bound; who "
        "gives masks of objective mask alone is judged under refit too"
    )
    return 0


def _line(spec: Spec) -> dict[str, object]:
    return {
        "name": spec.name,
        "patterns": list(spec.patterns),
        "objectives": list(spec.objectives),
        "proves": spec.gives in ("proof", "bound"),
        "available": spec.missing is None,
        "reason": spec.missing,
    }


def _one(spec: Spec, as_json: bool) -> int:
    settings = None if spec.missing is not None else _settings(spec)
    if as_json:
        line = {**_line(spec), "summary": spec.summary, "gives": spec.gives}
        line["settings"] = (
            None if settings is None else dict(sorted((s.name, s.default) for s in settings))
        )
        line["meanings"] = None if settings is None else {s.name: _meaning(s) for s in settings}
        Results(kept=False).line(line)
        return 0
    print(f"{spec.name}: {spec.summary}")
    print(f"gives: {spec.gives}")
    print(f"patterns: {', '.join(spec.patterns)}")
    print(f"objectives: {', '.join(spec.objectives)}{_judged_under(spec)}")
    if settings is None:
        print(f"not installed: {spec.missing}")
    elif not settings:
        print("settings (--set): none")
    else:
        print("settings (--set), with their defaults:")
        for setting in settings:
            print(f"  {setting.name}={_text(setting.default)}: {setting.expects}")
            if setting.meaning:
                print(f"      {setting.meaning}")
    return 0


def _judged_under(spec: Spec) -> str:
    """Under which objectives its masks are judged that it does not minimise itself."""
    more = [name for name in ObjectiveName if name not in spec.objectives]
    taken = [name for name in more if spec.takes(ObjectiveSpec(name))]
    return f"; its masks are judged under {', '.join(taken)} too" if taken else ""


def _settings(spec: Spec) -> "tuple[Setting, ...]":
    from maskgap.benchmarks.runs.pool import Pool

    pool = Pool(1, 1)
    pool.preload([spec.target.partition(":")[0]])
    return pool.described(spec.name)


def _meaning(setting: "Setting") -> dict[str, object]:
    """What is said of a setting in JSON beside its default; null and [] where nothing is."""
    return {
        "expects": setting.expects,
        "minimum": setting.minimum,
        "maximum": setting.maximum,
        "choices": list(setting.choices),
        "meaning": setting.meaning or None,
    }


def _text(value: object) -> str:
    """A default as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_instances(as_json: bool) -> int:
    """One line a shipped layer, from the manifest."""
    from maskgap.instances.sources import shipped

    entries = shipped.manifest()
    if as_json:
        results = Results(kept=False)
        for entry in entries:
            results.line(dict(entry))
        return 0
    width = max(len(str(entry["name"])) for entry in entries)
    print(f"{'name':<{width}}     n  rows  patterns            layer")
    for entry in entries:
        patterns = " ".join(entry["patterns"])
        rows = len(entry["rows"])
        name, n, layer = entry["name"], entry["n"], entry["layer"]
        print(f"{name:<{width}}  {n:>4}  {rows:>4}  {patterns:<18}  {layer}")
    return 0
