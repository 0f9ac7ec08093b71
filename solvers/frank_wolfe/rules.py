"""The choices of the branch and bound: their names, and the numbers the compiled code sees."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.errors import InputError

VARIANTS = ("decomposition-invariant", "vanilla", "away", "pairwise", "blended-pairwise")
EDGES, VANILLA, AWAY, PAIRWISE, BLENDED = range(5)

BRANCHING = ("curvature", "fractionality", "gradient", "strong", "pseudo-cost")
CURVATURE, FRACTIONALITY, GRADIENT, STRONG, PSEUDO_COST = range(5)

TRAVERSALS = ("hybrid", "best-first", "depth-first")
HYBRID, BEST_FIRST, DEPTH_FIRST = range(3)

HEURISTICS = ("rounding", "vertices", "both", "none")

HULLS = ("convex", "relaxation")


class Rules(NamedTuple):
    """What a search keeps to; the fields named like settings of `FwBnb` mean the same.

    size, budget: of the groups. gap: share of the incumbent's loss at which a node closes.
    recording: whether points are kept for a proof.
    """

    size: int
    budget: int
    variant: int
    lazy: bool
    inherit: bool
    branching: int
    traversal: int
    node_tolerance: float
    fixing: bool
    rounding: bool
    vertices: bool
    gap: float
    recording: bool


class Functions(NamedTuple):
    """Convex functions F(x) = x^T P x + q^T x + c, one behind the other.

    matrix: (functions, n, n). linear: (functions, n). constant: (functions,). float64.
    """

    matrix: NDArray[np.float64]
    linear: NDArray[np.float64]
    constant: NDArray[np.float64]


def number_of(names: tuple[str, ...], name: str, setting: str) -> int:
    """Position of a choice among the names. Raises InputError that lists them."""
    if name not in names:
        raise InputError(f"fw-bnb: {setting} is '{name}', expected one of {', '.join(names)}")
    return names.index(name)
