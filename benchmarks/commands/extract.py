"""`maskgap extract`: layers of a torch model, with the second moments of their inputs."""

import sys
from pathlib import Path

from maskgap.benchmarks.commands.numbers import check_amounts


def run(
    model: str,
    out: Path,
    layers: str,
    calibration: list[Path],
    samples: int,
    sequence_length: int,
    device: str,
    trust: bool,
) -> int:
    """Write one file per layer and print their paths. Raises InputError."""
    check_amounts(samples, sequence_length)
    from maskgap.instances.models.extract import run_extract

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    for path in run_extract(
        model,
        out,
        layers,
        calibration,
        samples,
        sequence_length=sequence_length,
        device=device,
        progress=say,
        trust=trust,
    ):
        print(path)
    return 0
