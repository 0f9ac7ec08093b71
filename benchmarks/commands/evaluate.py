"""`maskgap evaluate`: what a model is worth after pruning."""

import json
import sys
from pathlib import Path

from maskgap.benchmarks.commands.numbers import check_amounts


def run(
    model: str,
    against: str | None,
    calibration: list[Path],
    samples: int,
    sequence_length: int,
    device: str,
    as_json: bool,
    trust: bool,
) -> int:
    """Print tables, or a JSON object a layer and one for the total. Raises InputError."""
    check_amounts(samples, sequence_length)
    from maskgap.benchmarks.models.evaluate import evaluate_model, render
    from maskgap.instances.models.load import load_model

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    dense = None if against is None else load_model(against, device, trust)
    found = evaluate_model(
        load_model(model, device, trust), dense, calibration, samples, sequence_length, say
    )  # fmt: skip
    if not as_json:
        print(render(found))
        return 0
    for line in (*(layer.line() for layer in found.layers), found.total()):
        print(json.dumps(line, allow_nan=False))
    return 0
