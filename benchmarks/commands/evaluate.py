"""`maskgap evaluate`: what a model is worth after pruning."""

import json
import sys
from dataclasses import dataclass

from maskgap.benchmarks.commands.numbers import check_amounts
from maskgap.benchmarks.models.sampling import Sampling


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `maskgap evaluate` is told. against: the dense model, None without one."""

    model: str
    data: Sampling
    against: str | None = None
    device: str = "cpu"
    trust: bool = False
    as_json: bool = False


def run(options: EvaluateOptions) -> int:
    """Print tables, or a JSON object a layer and one for the total. Raises InputError."""
    data = options.data
    check_amounts(data.samples, data.sequence_length)
    from maskgap.benchmarks.models.evaluate import evaluate_model, render
    from maskgap.instances.models.load import LoadedModel, load_model

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def loaded(name: str) -> LoadedModel:
        return load_model(name, options.device, options.trust)

    dense = None if options.against is None else loaded(options.against)
    found = evaluate_model(loaded(options.model), dense, data, say)
    if not options.as_json:
        print(render(found))
        return 0
    for line in (*(layer.line() for layer in found.layers), found.total()):
        print(json.dumps(line, allow_nan=False))
    return 0
