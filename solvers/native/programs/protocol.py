"""What a solver of convex programs is asked for, and what it says.

A bound is the solver's own claim, and so is the value of its point: who uses one evaluates it anew.
"""

from dataclasses import dataclass
from math import inf

from maskgap.instances.arrays import Vector


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """seconds: wall time. gap: relative, at which to stop. threads: at most so many."""

    seconds: float = 60.0
    gap: float = 1e-6
    threads: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class ProgramAnswer:
    """What a solver ended with.

    x: (n,) its point as it stands, None for none. claimed_bound: -inf for none. stop: its own word.
    nodes, calls (gradient cuts, or iterations): 0 where it does not say.
    """

    x: Vector | None
    stop: str
    claimed_bound: float = -inf
    nodes: int = 0
    calls: int = 0
