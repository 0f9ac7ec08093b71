"""The choices of the branch and bound: their names, and the numbers the compiled code sees."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Variant = Literal["decomposition-invariant", "vanilla", "away", "pairwise", "blended-pairwise"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
EDGES, VANILLA, AWAY, PAIRWISE, BLENDED = range(5)

Branching = Literal["curvature", "fractionality", "gradient", "strong", "pseudo-cost"]
BRANCHING: tuple[Branching, ...] = get_args(Branching)
CURVATURE, FRACTIONALITY, GRADIENT, STRONG, PSEUDO_COST = range(5)

Traversal = Literal["hybrid", "best-first", "depth-first"]
TRAVERSALS: tuple[Traversal, ...] = get_args(Traversal)
HYBRID, BEST_FIRST, DEPTH_FIRST = range(3)

Heuristics = Literal["rounding", "vertices", "both", "none"]
HEURISTICS: tuple[Heuristics, ...] = get_args(Heuristics)

Hull = Literal["convex", "relaxation"]
HULLS: tuple[Hull, ...] = get_args(Hull)


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
