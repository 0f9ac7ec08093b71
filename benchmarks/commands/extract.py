"""`maskgap extract`: layers of a torch model, with the second moments of their inputs."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from maskgap.benchmarks.commands.numbers import check_amounts
from maskgap.benchmarks.models.sampling import Sampling


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What `maskgap extract` is told. layers: globs over their names, separated by commas."""

    model: str
    out: Path
    data: Sampling
    layers: str = "*"
    device: str = "cpu"
    trust: bool = False
    held_out: bool = False


def run(options: ExtractOptions) -> int:
    """Write one file per layer and print their paths. Raises InputError."""
    data = options.data
    check_amounts(data.samples, data.sequence_length)
    from maskgap.instances.models.extract_files import run_extract

    begun = time.perf_counter()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    paths = run_extract(
        options.model,
        options.out,
        options.layers,
        data.calibration,
        samples=data.samples,
        sequence_length=data.sequence_length,
        device=options.device,
        progress=say,
        trust=options.trust,
        held_out=options.held_out,
    )
    for path in paths:
        print(path)
    from maskgap.instances.models.pace import cost
    from maskgap.instances.peak_memory import peak_bytes

    say(f"{len(paths)} layers in {cost(time.perf_counter() - begun, peak_bytes())}")
    return 0
