"""Compiled searches of what a node leaves, which raise its bound to a given one or close it.

Over one function the compiled engine takes hundreds of nodes in the time of a relaxation, and few
of them raise a bound a little: their number grows exponentially with how far, some four times for
each percent of the loss, whatever the gap. So a node that lacks little is searched to its end;
`Reach` learns from such searches how much it may lack for them to end in time. And before a
deadline the nodes of least bound are raised step by step (`raised`), where a relaxation would only
be the beginning of two more.
"""

from dataclasses import dataclass, replace
from math import log

import numpy as np

from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.formats.evidence.leaves import ConvexFunction
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, PRUNED, States
from maskgap.instances.part import Part
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic, RecordedTree
from maskgap.solvers.objectives.reduced_row import ReducedRow
from maskgap.solvers.protocol import Deadline, Journal, Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.compiled.engine import CompiledEngine
from maskgap.solvers.tree.reoptimised.reduced_loss import ReducedLoss

MOST_STEPS = 2_000_000
"""Steps of a search that is to end, about the time of some relaxations: nodes differ more."""

SLICE = 512
"""Nodes between looks at the steps."""

FIRST_REACH = 0.03
"""Share of the incumbent's loss that a node may lack, at first."""

GROWTH = log(4.0) / 0.01
"""The logarithm of the steps that a search takes grows by so much for all of the loss."""

PACE = 0.25
"""Share of what a search says of the reach that is believed at once."""


@dataclass(frozen=True, eq=False, slots=True)
class Ending:
    """What a compiled search of a node found.

    tree: None where it did not end, or was not recorded. least: bound of its leaves. mask: of the
    whole row, better than was known, or None. loss: the least known.
    """

    ended: bool
    tree: RecordedTree | None
    least: float
    mask: Kept | None
    nodes: int
    steps: int
    calls: int


class Reach:
    """Up to what gap nodes are given to the compiled engine."""

    def __init__(self) -> None:
        self.gap = FIRST_REACH

    def learn(self, gap: float, ending: Ending) -> None:
        """A node with such a gap, as a share of the loss, was searched."""
        said = gap + log(0.5 * MOST_STEPS / max(1, ending.steps)) / GROWTH
        if not ending.ended:
            self.gap = min(self.gap, 0.9 * gap)
        elif said > self.gap or gap > 0.8 * self.gap:
            self.gap += PACE * (said - self.gap)


@dataclass(frozen=True, eq=False, slots=True)
class Closing:
    """What such a search needs beside the node: loss, that of the best mask known."""

    part: Part
    deadline: Deadline
    choices: Choices
    loss: float

    def search(
        self, row: ReducedRow, functions: list[Quadratic], most_steps: int = MOST_STEPS
    ) -> Ending:
        """Search a node by functions of its free columns until its leaves are bounded by `loss`.

        most_steps: -1 for no limit.
        """
        limits = Limits(self.deadline, journal=Journal())
        choices = replace(self.choices, most_bytes=self.choices.most_bytes // 8)
        loss = ReducedLoss(row, functions)
        engine = CompiledEngine(self.part, row.groups, loss, limits, choices)
        engine.assume(self.loss)
        while True:
            engine.run(engine.nodes + SLICE)
            if engine.stop is not Stop.NODES or 0 <= most_steps <= engine.steps:
                break
        ended = engine.open == 0
        mask = None if engine.mask is None else row.mask(pruned_of(engine.mask).astype(np.float64))
        return Ending(
            ended, engine.tree() if ended else None, engine.least_leaf, mask,
            engine.nodes, engine.steps, engine.calls,
        )  # fmt: skip


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


@dataclass(frozen=True, eq=False, slots=True)
class Raise:
    """A search of a child by the function of its parent. row: what the child leaves."""

    row: ReducedRow
    ending: Ending


def raised(state: States, source: Source, groups: BudgetGroups, closing: Closing) -> Raise:
    """Search a node with a mask to choose until its leaves are bounded by the loss of `closing`.

    state: (n,) of the node, in which those columns are fixed that are in the source, and maybe
    more. groups: of the whole row.
    """
    quad = closing.part.quad
    row = ReducedRow.of(quad, state, groups)
    above = ReducedRow.of(quad, source.state, groups)
    convex = Quadratic(*convexify.quadratic(above.quad, above.groups, source.function))
    own = state[above.free]
    return Raise(row, closing.search(row, [_restricted(convex, own)], most_steps=-1))


def _restricted(convex: Quadratic, state: States) -> Quadratic:
    """A function where some of its columns (n,) are fixed."""
    free, gone = np.flatnonzero(state == FREE), np.flatnonzero(state == PRUNED)
    matrix, linear = convex.matrix, convex.linear
    constant = float(matrix[np.ix_(gone, gone)].sum() + linear[gone].sum()) + convex.constant
    moved = linear[free] + 2.0 * matrix[np.ix_(free, gone)].sum(axis=1)
    return Quadratic(matrix[np.ix_(free, free)], moved, constant)
