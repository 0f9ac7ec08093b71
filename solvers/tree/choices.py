"""The choices that a branch and bound has, by the names of its settings."""

from dataclasses import dataclass
from typing import Literal, get_args

from maskgap.solvers.frank_wolfe.variants import Variant
from maskgap.solvers.oracles.make import OracleName

Branching = Literal["curvature", "fractionality", "gradient", "strong", "pseudo-cost"]
BRANCHING: tuple[Branching, ...] = get_args(Branching)

Traversal = Literal["hybrid", "best-first", "depth-first"]
TRAVERSALS: tuple[Traversal, ...] = get_args(Traversal)

TRY_EVERY = 4
"""One node in so many is minimised with another function too."""

CANDIDATES = 8
"""Columns that strong branching tries, the best by curvature."""

IMAGINED = 2.0
"""For how many observed rises the curvature counts in pseudo-costs."""

Heuristics = Literal["rounding", "vertices", "both", "none"]
HEURISTICS: tuple[Heuristics, ...] = get_args(Heuristics)

Reoptimise = Literal["auto", "on", "off"]

Hull = Literal["convex", "relaxation"]
HULLS: tuple[Hull, ...] = get_args(Hull)


@dataclass(frozen=True, slots=True)
class Choices:
    """What a search keeps to; fields named like settings of `FwBnb` mean the same.

    gap: share of the incumbent's loss at which nodes close. most_bytes: for the open nodes, and as
    much again for the proof, which is given up beyond it.
    """

    gap: float
    most_bytes: int
    oracle: OracleName = "closed-form"
    hull: Hull = "convex"
    variant: Variant = "decomposition-invariant"
    lazy: bool = True
    inherit: bool = True
    branching: Branching = "pseudo-cost"
    traversal: Traversal = "hybrid"
    node_tolerance: float = 0.3
    fixing: bool = True
    heuristics: Heuristics = "rounding"
    relaxations: int = -1
    root_triangles: int = 0

    @property
    def rounding(self) -> bool:
        """Whether points of nodes are rounded to masks."""
        return self.heuristics in ("rounding", "both")

    @property
    def vertices(self) -> bool:
        """Whether vertices of nodes are looked at as masks."""
        return self.heuristics in ("vertices", "both")
