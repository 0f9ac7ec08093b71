"""The bound of a node raised by the function of its parent, where a relaxation would not pay.

The compiled engine searches the node best-first, and minimises an open node no further than a
stride above its bound before it (`Rules.stride`): what gets there waits until it is the least
again, what does not is split. So the least bound rises with every few nodes, none is minimised
further than it takes, and the search goes on where it was left. Each half percent of the loss takes
some three times as many nodes as the one before.
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, PRUNED, States
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.reduced_row import ReducedRow
from maskgap.solvers.protocol import Stop
from maskgap.solvers.tree.reoptimised.close import Closing
from maskgap.solvers.tree.reoptimised.record import Graft

STRIDE = 0.01
"""Share of the loss by which an open node is raised before it waits."""

SLICE = 64
"""Nodes between looks at the least bound."""


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """The function of a node that its children are bounded by: its number and what makes it."""

    number: int
    state: States
    function: ConvexFunction

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return 24 * len(self.function.triangles) + 16 * len(self.state)


@dataclass(frozen=True, slots=True)
class Raised:
    """What a search brought since the last time.

    least: bound of the node. mask: of the whole row, better than was known, or None.
    """

    least: float
    mask: Kept | None
    stop: Stop
    nodes: int
    steps: int
    calls: int


class Raising:
    """The search of a node with a mask to choose.

    state: (n,) of the node, in which those columns are fixed that are in the source, and maybe
    more. groups: of the whole row. closing: as the search begins.
    """

    def __init__(
        self, state: States, source: Source, groups: BudgetGroups, closing: Closing
    ) -> None:
        quad = closing.part.quad
        self._row, self._number = ReducedRow.of(quad, state, groups), source.number
        above = ReducedRow.of(quad, source.state, groups)
        convex = Quadratic(*convexify.quadratic(above.quad, above.groups, source.function))
        function = _restricted(convex, state[above.free])
        self._engine = closing.engine(self._row, [function], STRIDE * closing.loss)

    def advance(self, to: float, loss: float, max_nodes: int) -> Raised:
        """Search until the bound is `to`, or the node is closed by a mask of that loss.

        max_nodes: of this call; -1 for no limit.
        """
        engine = self._engine
        before = engine.nodes, engine.steps, engine.calls
        engine.assume(loss)
        last = before[0] + max_nodes if max_nodes >= 0 else -1
        while True:
            upto = engine.nodes + SLICE
            engine.run(upto if last < 0 else min(upto, last))
            if engine.stop is not Stop.NODES or engine.nodes == last or engine.least_open() >= to:
                break
        mask = None
        if engine.mask is not None:
            mask = self._row.mask(pruned_of(engine.mask).astype(np.float64))
        return Raised(
            self.least, mask, engine.stop,
            engine.nodes - before[0], engine.steps - before[1], engine.calls - before[2],
        )  # fmt: skip

    @property
    def least(self) -> float:
        """The bound that its tree gives the node, at first below that of the node itself."""
        return min(self._engine.least_leaf, self._engine.least_open())

    def graft(self) -> Graft | None:
        """Its tree as it is, None where it was not recorded."""
        tree = self._engine.tree()
        return None if tree is None else Graft(self._row, tree, (self._number,))

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self._engine.nbytes


def _restricted(convex: Quadratic, state: States) -> Quadratic:
    """A function where some of its columns (n,) are fixed."""
    free, gone = np.flatnonzero(state == FREE), np.flatnonzero(state == PRUNED)
    matrix, linear = convex.matrix, convex.linear
    constant = float(matrix[np.ix_(gone, gone)].sum() + linear[gone].sum()) + convex.constant
    moved = linear[free] + 2.0 * matrix[np.ix_(free, gone)].sum(axis=1)
    return Quadratic(matrix[np.ix_(free, free)], moved, constant)
