"""What pruning did to the layers of a model: sums over them, and tables for people.

A type of layer is the last part of its name: `q_proj`, `down_proj`. A page in Markdown lies beside
the checkpoint; what is compared is the layer error on calibration data, and no quality of a model.
"""

from collections.abc import Mapping, Sequence
from math import fsum

from maskgap.benchmarks.models.reports import Report, ratio
from maskgap.benchmarks.reading.typeset import markdown


def total(reports: Sequence[Report]) -> dict[str, float | int | None]:
    """Sums over layers. relative_error: sum of errors / sum of energies."""
    error, energy = (fsum(getattr(r, name) for r in reports) for name in ("error", "energy"))
    held_out = [r.error_eval for r in reports if r.error_eval is not None]
    weights = sum(r.d_out * r.d_in for r in reports)
    pruned = sum(r.pruned for r in reports)
    return {
        "layers": len(reports),
        "weights": weights,
        "pruned": pruned,
        "sparsity": pruned / weights,
        "error": error,
        "energy": energy,
        "relative_error": ratio(error, energy),
        "error_eval": fsum(held_out) if len(held_out) == len(reports) else None,
    }


def render(reports: Sequence[Report]) -> str:
    """A table for people: a line a layer, and one for all."""
    sums = total(reports)
    lines = [
        {
            "layer": one.layer,
            "shape": f"{one.d_out} x {one.d_in}",
            "pattern": one.pattern,
            "solver": one.solver,
            "pruned": f"{one.sparsity:.2%}",
            "error": f"{one.error:.6g}",
            "relative error": f"{one.relative_error:.3%}",
        }
        for one in reports
    ]
    last = {
        "layer": f"all {len(reports)}",
        "shape": str(sums["weights"]),
        "pattern": "",
        "solver": "",
        "pruned": f"{sums['sparsity']:.2%}",
        "error": f"{sums['error']:.6g}",
        "relative error": f"{sums['relative_error']:.3%}",
    }
    return markdown([*lines, last])


def by_type(reports: Sequence[Report]) -> str:
    """A table with a line for each type of layer."""
    types: dict[str, list[Report]] = {}
    for one in reports:
        types.setdefault(one.layer.rpartition(".")[2], []).append(one)
    lines = []
    for name, some in types.items():
        sums = total(some)
        held_out = [one.energy_eval for one in some if one.energy_eval is not None]
        line = {
            "type": name,
            "layers": str(len(some)),
            "patterns": ", ".join(dict.fromkeys(one.pattern for one in some)),
            "pruned": f"{sums['sparsity']:.2%}",
            "error": f"{sums['error']:.6g}",
            "relative error": f"{sums['relative_error']:.3%}",
            "seconds": f"{fsum(one.seconds for one in some):.1f}",
        }
        if sums["error_eval"] is not None and held_out:
            line["held out, relative"] = f"{ratio(float(sums['error_eval']), fsum(held_out)):.3%}"
        lines.append(line)
    return markdown(lines)


def _is_told(key: str, value: object) -> bool:
    """Whether a page tells what was asked: not the layers, which it lists, and no digest."""
    return key not in ("layers", "weights", "mask files") and value not in (None, [], {}, "")


def page(
    model: str, asked: Mapping[str, object], reports: Sequence[Report], left_out: Mapping[str, str],
    spent: str,
) -> str:  # fmt: skip
    """The summary as a page in Markdown. asked: what decided the masks. spent: of `cost`."""
    sums = total(reports)
    lines = [
        f"# {model}, pruned",
        "",
        f"{sums['layers']} layers, {sums['weights']} weights, {sums['sparsity']:.2%} of them 0. "
        f"Error of the layers' outputs on calibration data: {sums['relative_error']:.3%} of their "
        "energy.",
        "",
        f"It took {spent}.",
        "",
        by_type(reports),
        "",
        "## What was asked",
        "",
        *(f"* {key}: {value}" for key, value in asked.items() if _is_told(key, value)),
    ]
    if left_out:
        lines += ["", "## Left out", ""]
        lines += [f"* {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join([*lines, "", "## Layers", "", render(reports), ""])
