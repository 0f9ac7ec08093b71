"""Which data run through a model: the options of `extract`, `prune` and `evaluate` in one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sampling:
    """calibration: files of texts or tensors, none for the docstrings of installed packages.

    samples: texts, and as many held out. sequence_length: tokens of each, at most.
    """

    calibration: Sequence[Path] = ()
    samples: int = 128
    sequence_length: int = 128


DEFAULT_SAMPLING = Sampling()
