"""What the search by pivots hands to its compiled dives and gets back from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector

STACK_BYTES = 1 << 26
"""For the tableaus of one thread."""


@dataclass(frozen=True, eq=False, slots=True)
class Open:
    """An open node: bounds of variables (n,), state of the tableau (N,), bound."""

    lower: Vector
    upper: Vector
    state: NDArray[np.int8]
    bound: float


@dataclass(frozen=True, eq=False, slots=True)
class Room:
    """Arrays of a thread: frames of the stack of `dive`, and for what is left of it."""

    frames: tuple[NDArray[Any], ...]
    left: tuple[NDArray[Any], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Dived:
    """What a dive came to. value: of `point` (n,), None where it found no better one.

    least: bound of the nodes that it closed. left: nodes that are open still. seconds: it took.
    """

    nodes: int
    value: float
    point: Vector | None
    least: float
    left: list[Open]
    room: Room
    seconds: float


def room_of(n: int, N: int) -> Room:
    """Room for n variables, and N of them and rows together."""
    depth = int(np.clip(STACK_BYTES // (8 * N * N), 16, 512))
    return Room(
        (
            np.empty((depth, N, N)), np.empty((depth, N)), np.empty((depth, N), np.int8),
            np.empty((depth, N)), np.empty((depth, N)), np.empty(depth),
        ),
        (
            np.empty((depth, N), np.int8), np.empty((depth, n)), np.empty((depth, n)),
            np.empty(depth),
        ),
    )  # fmt: skip
