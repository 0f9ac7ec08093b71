"""`maskgap evaluate`: what a model is worth after pruning."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from maskgap.benchmarks.commands.numbers import check_amounts
from maskgap.benchmarks.models.sampling import DEFAULT_SAMPLING, Sampling
from maskgap.instances.errors import InputError

WINDOW = 2048
"""Tokens of a language model's window by default, or the longest that it takes."""

WINDOW_TOKENS = 1 << 15
"""About so many tokens in all by default: 16 windows of 2048."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `maskgap evaluate` is told. against: the dense model, None without one.

    samples, sequence_length: None for the defaults of the kind of model. tasks: of lm-eval, instead
    of held-out data. limit: examples of each task, None for all.
    """

    model: str
    calibration: Sequence[Path] = ()
    samples: int | None = None
    sequence_length: int | None = None
    against: str | None = None
    tasks: Sequence[str] = ()
    limit: int | None = None
    device: str = "cpu"
    trust: bool = False
    as_json: bool = False


def run(options: EvaluateOptions) -> int:
    """Print tables, or a JSON object a layer and one for the total. Raises InputError."""
    standard = DEFAULT_SAMPLING
    check_amounts(
        standard.samples if options.samples is None else options.samples,
        standard.sequence_length if options.sequence_length is None else options.sequence_length,
    )
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit}: expected a whole number, 1 or more")
    if options.limit is not None and not options.tasks:
        raise InputError("--limit is of --tasks, and there is none")
    if options.tasks:
        return _run_tasks(options)
    from maskgap.benchmarks.models.evaluate import evaluate_model, render
    from maskgap.instances.models.load import load_model
    from maskgap.instances.models.pace import cost
    from maskgap.instances.peak_memory import peak_bytes

    begun, dense = time.perf_counter(), None
    if options.against is not None:
        dense = load_model(options.against, options.device, options.trust, say=_say)
    loaded = load_model(options.model, options.device, options.trust, say=_say)
    length, samples = options.sequence_length, options.samples
    if loaded.causal:
        length = length or min(WINDOW, loaded.max_length or WINDOW)
        samples = samples or -(-WINDOW_TOKENS // length)
    data = Sampling(
        options.calibration, samples or standard.samples, length or standard.sequence_length
    )
    found = evaluate_model(loaded, dense, data, _say)
    _say(f"evaluated in {cost(time.perf_counter() - begun, peak_bytes())}")
    if not options.as_json:
        print(render(found))
        return 0
    for line in (*(layer.line() for layer in found.layers), found.total()):
        print(json.dumps(line, allow_nan=False))
    return 0


def _run_tasks(options: EvaluateOptions) -> int:
    """Print a table of scores, or a JSON object a score."""
    from maskgap.benchmarks.models.tasks import check_tasks, evaluate_tasks, render
    from maskgap.instances.models.load import load_model

    if options.calibration:
        raise InputError("--tasks have data of their own, so they take no --calibration")
    check_tasks(options.tasks)
    from maskgap.instances.models.pace import cost
    from maskgap.instances.peak_memory import peak_bytes

    begun, dense = time.perf_counter(), None
    if options.against is not None:
        dense = load_model(options.against, options.device, options.trust, say=_say)
    loaded = load_model(options.model, options.device, options.trust, say=_say)
    scores = evaluate_tasks(loaded, dense, options.tasks, options.limit)
    _say(f"evaluated in {cost(time.perf_counter() - begun, peak_bytes())}")
    if not options.as_json:
        print(render(scores))
        return 0
    for score in scores:
        print(json.dumps(asdict(score), allow_nan=False))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
