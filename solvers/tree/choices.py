"""The choices that a branch and bound has, by the names of its settings."""

from dataclasses import dataclass

BRANCHING = ("curvature", "fractionality", "gradient", "strong", "pseudo-cost")
TRAVERSALS = ("hybrid", "best-first", "depth-first")
HEURISTICS = ("rounding", "vertices", "both", "none")
HULLS = ("convex", "relaxation")


@dataclass(frozen=True, slots=True)
class Choices:
    """What a search keeps to; fields named like settings of `FwBnb` mean the same.

    gap: share of the incumbent's loss at which nodes close. most_bytes: for the open nodes, and as
    much again for the proof, which is given up beyond it.
    """

    gap: float
    most_bytes: int
    oracle: str = "closed-form"
    hull: str = "convex"
    variant: str = "decomposition-invariant"
    lazy: bool = True
    inherit: bool = True
    branching: str = "pseudo-cost"
    traversal: str = "hybrid"
    node_tolerance: float = 0.3
    fixing: bool = True
    heuristics: str = "rounding"

    @property
    def rounding(self) -> bool:
        """Whether points of nodes are rounded to masks."""
        return self.heuristics in ("rounding", "both")

    @property
    def vertices(self) -> bool:
        """Whether vertices of nodes are looked at as masks."""
        return self.heuristics in ("vertices", "both")
