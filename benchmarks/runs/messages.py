"""What the process of a run says to the one that started it, before its outcome."""

from dataclasses import dataclass

from maskgap.instances.arrays import Kept
from maskgap.solvers.protocol import Answer


@dataclass(frozen=True, slots=True)
class Note:
    """Something found on the way: a mask with its claimed objective, or a bound (mask None)."""

    mask: Kept | None
    value: float


@dataclass(frozen=True, slots=True)
class RowsDone:
    """How many of its rows a batch solver is through with."""

    count: int


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers of a batch solver to the parts from the 0-based `first` on, while it goes on."""

    first: int
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Started:
    """Sent when imports are done and the clock starts.

    compiled_s: seconds that the server has spent on compiling kernels.
    """

    compiled_s: float


@dataclass(frozen=True, slots=True)
class Compiles:
    """Sent when the process begins to compile kernels (None), and when it has (seconds)."""

    seconds: float | None
