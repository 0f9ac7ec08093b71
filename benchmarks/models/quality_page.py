"""The tables of `benchmarks.models.quality` as files and as a page.

error / wanda     sum over layers of the masks' errors, over that of Wanda's masks
held out          the same on the inputs of the held-out half, where they were run
pairs in order    of the pairs of methods, those where lower error goes with the better model

`quality.csv` has a line for each pruned model, `layers.csv` one for each of its layers.
"""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.errors import InputError

DENSE = "dense"

HEADINGS = {
    "perplexity": "perplexity",
    "kl": "KL (nats)",
    "cosine": "cosine",
    "spearman": "Spearman of pairs",
    "hidden_error": "error of last states",
    "agreement": "same next token",
}

FIELDS = (
    "model", "pattern", "method", "setup", "layers", "sparsity", "error", "relative_error",
    "error_eval", "perplexity", "kl", "agreement", "output_error", "hidden_error", "cosine",
    "pearson", "spearman", "text", "sequences", "tokens", "predicted", "seconds",
)  # fmt: skip

LAYER_FIELDS = (
    "model", "pattern", "method", "setup", "layer", "d_out", "d_in", "error", "relative_error",
    "seconds",
)  # fmt: skip

Row = Mapping[str, str]

METHODS = ("magnitude", "wanda", "ria", "swap", "search")
PATTERNS = ("50%", "60%", "2:4")
REFIT = " + refit"
"""Ends the name of a method whose masks come with the best weights for them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to prune. population: of `search`. columns: the measures that its table shows.

    higher: those of them of which the higher is the better; of the others it is the lower. methods,
    patterns: in the order in which they are run, pattern by pattern. english: whether it is run on
    the leads of Wikipedia's articles (`instances.sources.encyclopedia`), and not on docstrings.
    held_out: whether errors on held-out inputs are wanted, which cost Grams of their own.
    """

    name: str
    layers: str
    population: int
    columns: tuple[str, ...]
    higher: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    patterns: tuple[str, ...] = PATTERNS
    english: bool = False
    held_out: bool = True


Key = tuple[str, str, str, str]
"""Model, pattern, method and setup."""


def key(row: Row) -> Key:
    """What makes a line the same as another."""
    return row["model"], row["pattern"], row["method"], row["setup"]


def read(path: Path, fields: Sequence[str] = FIELDS) -> Sequence[Row]:
    """The lines of a table, none when there is none. Raises InputError for another file."""
    if not path.exists():
        return []
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    if lines and tuple(lines[0]) != tuple(fields):
        raise InputError(f"{path}: is another table than this command writes; move it away")
    return lines


def text_of(rows: Sequence[Row], fields: Sequence[str] = FIELDS) -> str:
    """The lines as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def render(rows: Sequence[Row], subjects: Sequence[Subject], layers: Sequence[Row] = ()) -> str:
    """The page: a table a model, what it says of layer error and quality, and its layers by type.

    layers: the lines of all layers.
    """
    parts = []
    for subject in subjects:
        own = [row for row in rows if row["model"] == subject.name]
        if own:
            parts += [_heading(own), markdown(_lines(own, subject))]
            if any(row["method"] != DENSE for row in own):
                parts.append(_agreement(own, subject))
        by_type = by_kind([row for row in layers if row["model"] == subject.name])
        if by_type:
            parts += ["Error / wanda by type of layer and by depth (thirds of the blocks):"]
            parts += [markdown(by_type)]
    return "\n\n".join([*parts, *_legend()]) + "\n"


def kind_of(layer: str) -> str:
    """The type of a layer: the last part of its name."""
    return layer.rpartition(".")[2]


THIRDS = ("first", "middle", "last")
"""Of the blocks; they come after the types of layers."""


def depth_of(layer: str) -> int:
    """The number of the block that a layer is in; 0 without one."""
    return next((int(part) for part in layer.split(".") if part.isdigit()), 0)


def by_kind(layers: Sequence[Row]) -> list[dict[str, str]]:
    """For each pattern and method, errors summed over layers of a type or depth over Wanda's."""
    blocks = 1 + max((depth_of(row["layer"]) for row in layers), default=0)
    third = {row["layer"]: THIRDS[3 * depth_of(row["layer"]) // blocks] for row in layers}
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for row in layers:
        own = sums.setdefault((row["pattern"], row["method"]), {})
        names = [kind_of(row["layer"])] + ([third[row["layer"]]] if blocks > 2 else [])
        for name in names:
            own[name] = own.get(name, 0.0) + float(row["error"])
    lines = []
    for (pattern, method), own in sums.items():
        base = sums.get((pattern, "wanda"))
        if base is not None and method != "wanda":
            shares = {
                name: f"{value / base[name]:.3f}" if base.get(name) else "-"
                for name, value in sorted(own.items(), key=lambda item: item[0] in THIRDS)
            }
            lines.append({"pattern": pattern, "method": method, **shares})
    return lines


def _heading(own: Sequence[Row]) -> str:
    first, pruned = own[0], next((r for r in own if r["method"] != DENSE), own[0])
    return (
        f"**{first['model']}**: {pruned['layers']} layers pruned; {first['sequences']} sequences, "
        f"{first['tokens']} tokens of the {first['text']}"
    )


def _lines(own: Sequence[Row], subject: Subject) -> list[dict[str, str]]:
    wanda = {row["pattern"]: row for row in own if row["method"] == "wanda"}
    lines = []
    for row in own:
        base = wanda.get(row["pattern"])
        lines.append(
            {
                "pattern": row["pattern"],
                "method": row["method"],
                "error / wanda": _quotient(row, base, "error"),
                "held out": _quotient(row, base, "error_eval"),
                **{HEADINGS[name]: _shown(row[name]) for name in subject.columns},
            }
        )
    return lines


def _quotient(row: Row, base: Row | None, name: str) -> str:
    if base is None or row["method"] == DENSE or not base[name] or float(base[name]) <= 0:
        return "-"
    return f"{float(row[name]) / float(base[name]):.3f}"


def _shown(text: str) -> str:
    return f"{float(text):.4g}" if text else "-"


def _agreement(own: Sequence[Row], subject: Subject) -> str:
    parts = []
    for name in subject.columns:
        sign = -1 if name in subject.higher else 1
        counts = []
        for pattern in dict.fromkeys(row["pattern"] for row in own if row["method"] != DENSE):
            rows = [row for row in own if row["pattern"] == pattern]
            pairs = list(itertools.combinations(rows, 2))
            right = sum(_difference(a, b, "error") * sign * _difference(a, b, name) > 0
                        for a, b in pairs)  # fmt: skip
            counts.append(f"{right} of {len(pairs)} at {pattern}")
        parts.append(f"by {HEADINGS[name]} {', '.join(counts)}")
    return f"Pairs in order: {'; '.join(parts)}."


def _difference(one: Row, other: Row, name: str) -> float:
    return float(one[name] or "nan") - float(other[name] or "nan")


def _legend() -> list[str]:
    return [
        "* error / wanda: sum over layers of the masks' errors on calibration inputs, over that of "
        "Wanda's masks (below 1 is better); held out: on inputs from other text\n"
        "* pairs in order: of the pairs of methods, those where the lower error goes with the "
        "better model\n"
        "* perplexity, KL divergence from the dense model (lower is better), share of tokens after "
        "which both models think the same token the likeliest, mean cosine with "
        "the dense model's embeddings and Spearman correlation of the similarities of pairs of "
        "texts (higher is better), all on text that no mask was chosen on\n"
        "* weights that stay are not updated, but with refit, where they are the best ones for "
        "the mask (ridge 0.01)"
    ]
