"""`maskgap solvers` and `maskgap instances`: what there is."""

from maskgap.benchmarks.commands.screen import Results
from maskgap.solvers.registry import SPECS, Spec, spec_of


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
    print(f"{'solver':<{width}}  gives   here  what it is")
    for spec in SPECS.values():
        here = "yes" if spec.missing is None else "no"
        missing = "" if spec.missing is None else f" ({spec.missing})"
        print(f"{spec.name:<{width}}  {spec.gives:<6}  {here:<4}  {spec.summary}{missing}")
    print("\nproof: a bound that maskgap check derives again; claim: its own word for a bound")
    return 0


def _line(spec: Spec) -> dict[str, object]:
    return {
        "name": spec.name,
        "patterns": list(spec.patterns),
        "proves": spec.gives in ("proof", "bound"),
        "available": spec.missing is None,
        "reason": spec.missing,
    }


def _one(spec: Spec, as_json: bool) -> int:
    settings = None if spec.missing is not None else _settings(spec)
    if as_json:
        line = {**_line(spec), "summary": spec.summary, "gives": spec.gives, "settings": settings}
        Results(kept=False).line(line)
        return 0
    print(f"{spec.name}: {spec.summary}")
    print(f"gives: {spec.gives}")
    print(f"patterns: {', '.join(spec.patterns)}")
    if settings is None:
        print(f"not installed: {spec.missing}")
    else:
        told = ", ".join(f"{key}={value}" for key, value in settings.items())
        print(f"settings (--set), with their defaults: {told or 'none'}")
    return 0


def _settings(spec: Spec) -> dict[str, object]:
    """The settings and their defaults, from a process of their own: modules may print and crash."""
    from maskgap.benchmarks.runs.pool import Pool

    pool = Pool(1, 1)
    pool.preload([spec.target.partition(":")[0]])
    (known,) = pool.settings([(spec.name, {})])
    return dict(sorted(known.own.items()))


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
