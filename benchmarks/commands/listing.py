"""`maskgap solvers` and `maskgap instances`: what there is."""

import json

from solvers.registry import SPECS


def run_solvers(as_json: bool) -> int:
    """One line a solver; names are never cut."""
    lines = [
        {
            "name": spec.name,
            "patterns": list(spec.patterns),
            "proves": spec.proves,
            "available": spec.missing is None,
            "reason": spec.missing,
        }
        for spec in SPECS.values()
    ]
    if as_json:
        for line in lines:
            print(json.dumps(line))
        return 0
    width = max(len(name) for name in SPECS)
    print(f"{'solver':<{width}}  gives   here  what it is")
    for spec in SPECS.values():
        gives = "bound" if spec.bound_only else "proof" if spec.proves else "mask"
        here = "yes" if spec.missing is None else "no"
        missing = "" if spec.missing is None else f" ({spec.missing})"
        print(f"{spec.name:<{width}}  {gives:<6}  {here:<4}  {spec.summary}{missing}")
    return 0


def run_instances(as_json: bool) -> int:
    """One line a shipped layer, from the manifest."""
    from instances import shipped

    entries = shipped.manifest()
    if as_json:
        for entry in entries:
            print(json.dumps(entry, allow_nan=False))
        return 0
    width = max(len(str(entry["name"])) for entry in entries)
    print(f"{'name':<{width}}     n  rows  patterns            layer")
    for entry in entries:
        patterns = " ".join(entry["patterns"])
        rows = len(entry["rows"])
        name, n, layer = entry["name"], entry["n"], entry["layer"]
        print(f"{name:<{width}}  {n:>4}  {rows:>4}  {patterns:<18}  {layer}")
    return 0
