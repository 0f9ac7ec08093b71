"""The table of `benchmarks.models.quality` as a file and as a page.

error / wanda     sum over layers of the masks' errors, over that of Wanda's masks
held out          the same on the inputs of the held-out half
pairs in order    of the pairs of methods, those where lower error goes with the better model
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
}

FIELDS = (
    "model", "pattern", "method", "setup", "layers", "sparsity", "error", "relative_error",
    "error_eval", "perplexity", "kl", "output_error", "hidden_error", "cosine", "pearson",
    "spearman", "text", "sequences", "tokens", "predicted", "seconds",
)  # fmt: skip

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to prune. population: of `search`. columns: the measures that its table shows.

    higher: those of them of which the higher is the better; of the others it is the lower.
    """

    name: str
    layers: str
    population: int
    columns: tuple[str, ...]
    higher: tuple[str, ...] = ()


def key(row: Row) -> tuple[str, str, str, str]:
    """What makes a line the same as another."""
    return row["model"], row["pattern"], row["method"], row["setup"]


def read(path: Path) -> Sequence[Row]:
    """The lines of a table, none when there is none. Raises InputError for another file."""
    if not path.exists():
        return []
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    if lines and tuple(lines[0]) != FIELDS:
        raise InputError(f"{path}: is another table than this command writes; move it away")
    return lines


def text_of(rows: Sequence[Row]) -> str:
    """The lines as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def render(rows: Sequence[Row], subjects: Sequence[Subject]) -> str:
    """The page: a table a model, and what it says of layer error and quality."""
    parts = []
    for subject in subjects:
        own = [row for row in rows if row["model"] == subject.name]
        if own:
            parts += [_heading(own), markdown(_lines(own, subject)), _agreement(own, subject)]
    return "\n\n".join([*parts, *_legend()]) + "\n"


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
    if base is None or row["method"] == DENSE or float(base[name]) <= 0:
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
        "* perplexity and KL divergence from the dense model (lower is better), mean cosine with "
        "the dense model's embeddings and Spearman correlation of the similarities of pairs of "
        "texts (higher is better), all on text that no mask was chosen on\n"
        "* weights that stay are not updated"
    ]
