"""What re-optimised weights bring a pruned model, over the same methods' masks alone.

    python -m maskgap.benchmarks.reference.refit_model DIRECTORY

runs `maskgap extract` once on the layers of 384 inputs of the small encoder that the extra `models`
brings, and for each case `maskgap prune` and `maskgap evaluate`, and writes what they say
(`refit.jsonl`, a line a case) and a table into the directory. Wanda's masks are the same under both
objectives: the difference is that of the weights.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.models.load import MINILM

PATTERNS = ("50%",)
CASES = (("wanda", "mask"), ("wanda", "refit"), ("alps", "refit"))
LAYERS = "encoder.layer.*.attention.*,encoder.layer.*.intermediate.*"
"""Those of 384 inputs; a row of those with 1536 takes some hundred milliseconds to re-optimise."""

LEGEND = (
    "objective mask: weights that stay are those of the model; refit: re-optimised at ridge 0.01, "
    "layer by layer",
    "layer error: || W X - W' X ||^2 over || W X ||^2, summed over all layers, on held-out text; "
    "cosine: mean of the embeddings with those of the dense model (1 is best), Spearman of pairs: "
    "correlation of the similarities of pairs of texts, on the same text",
)


def _maskgap(*words: str) -> str:
    """What a command says."""
    command = [sys.executable, "-m", "maskgap", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def run_cases(directory: Path) -> list[dict[str, Any]]:
    """The total of `evaluate` for each pattern and case; checkpoints are not kept."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        layers = str(work / "layers")
        _maskgap("extract", MINILM, "--layers", LAYERS, "--out", layers)
        for pattern in PATTERNS:
            for solver, objective in CASES:
                out = str(work / f"{pattern.replace(':', '-')}-{solver}-{objective}")
                _maskgap(
                    "prune", MINILM, "--extracted", layers, "--layers", LAYERS, "--solver", solver,
                    "--pattern", pattern, "--objective", objective, "--out", out,
                )  # fmt: skip
                told = _maskgap("evaluate", out, "--against", MINILM, "--json")
                found = json.loads(told.splitlines()[-1])
                lines.append(
                    {"solver": solver, "objective": objective, "pattern": pattern, **found}
                )
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "refit.jsonl").write_text(text, encoding="utf-8")
    return lines


def table(lines: list[dict[str, Any]]) -> str:
    """The cases in Markdown, in their order."""
    rows = [
        {
            "pattern": line["pattern"],
            "masks of": line["solver"],
            "objective": line["objective"],
            "layer error": f"{100 * line['relative_layer_error']:.2f} %",
            "cosine": f"{line['embeddings']['cosine']:.4f}",
            "Spearman of pairs": f"{line['embeddings']['spearman']:.4f}",
        }
        for line in lines
    ]
    return "\n\n".join([markdown(rows), "\n".join(f"* {line}" for line in LEGEND)])


def main(directory: Path) -> str:
    """Run the cases and return the table."""
    text = table(run_cases(directory))
    (directory / "refit.md").write_text(text + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
