"""The choices of a search as its compiled code sees them: numbers for names."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.frank_wolfe.variants import VARIANTS
from maskgap.solvers.tree.choices import BRANCHING, TRAVERSALS, Choices

CURVATURE, FRACTIONALITY, GRADIENT, STRONG, PSEUDO_COST = range(len(BRANCHING))
HYBRID, BEST_FIRST, DEPTH_FIRST = range(len(TRAVERSALS))


class Rules(NamedTuple):
    """What a search keeps to; the fields named like those of `tree.choices.Choices` mean the same.

    size, budget: of the groups. gap: share of the incumbent's loss at which a node closes.
    recording: whether points are kept for a proof. stride: by how much the bound of an open node is
    raised before it waits until it is the least again; infinity where nodes are split at once.
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
    stride: float

    @classmethod
    def of(cls, choices: Choices, groups: BudgetGroups, stride: float) -> Self:
        """The choices for a part whose masks are those of equal groups.

        A finite stride is for the least bound, so the node of least bound is the next.
        """
        traversal = TRAVERSALS.index(choices.traversal) if stride == np.inf else BEST_FIRST
        return cls(
            size=groups.size,
            budget=groups.pruned,
            variant=VARIANTS.index(choices.variant),
            lazy=choices.lazy,
            inherit=choices.inherit,
            branching=BRANCHING.index(choices.branching),
            traversal=traversal,
            node_tolerance=float(choices.node_tolerance),
            fixing=choices.fixing,
            rounding=choices.rounding,
            vertices=choices.vertices,
            gap=choices.gap,
            recording=True,
            stride=stride,
        )


class Functions(NamedTuple):
    """Convex functions F(x) = x^T P x + q^T x + c, one behind the other.

    matrix: (functions, n, n). linear: (functions, n). constant: (functions,). float64.
    """

    matrix: NDArray[np.float64]
    linear: NDArray[np.float64]
    constant: NDArray[np.float64]
