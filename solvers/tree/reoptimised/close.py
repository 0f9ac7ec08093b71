"""The end of a node: a compiled search of what it leaves, which closes it or is given up.

Deep in a tree the function of a node is good enough for its subtree, and the compiled engine takes
thousands of nodes in the time of one relaxation. How many it needs grows exponentially with the gap
of the node: `Reach` learns from searches how large a gap may be for them to end in time.
"""

from dataclasses import dataclass, replace
from math import log

import numpy as np

from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.part import Part
from maskgap.solvers.objectives.protocol import Quadratic, RecordedTree
from maskgap.solvers.protocol import Deadline, Journal, Limits
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.compiled.engine import CompiledEngine
from maskgap.solvers.tree.reoptimised.reduced import ReducedLoss, ReducedRow

MOST_NODES = 16384
"""Nodes of a search that is to end, about the time of some relaxations."""

FIRST_REACH = 0.02
"""Share of the incumbent's loss that a node may lack, at first."""

GROWTH = log(4.0) / 0.01
"""The logarithm of the nodes that a search takes grows by so much for all of the loss."""

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
        said = gap + log(0.5 * MOST_NODES / max(1, ending.nodes)) / GROWTH
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

    def search(self, row: ReducedRow, functions: list[Quadratic]) -> Ending:
        """Search a node by functions of its free columns."""
        limits = Limits(self.deadline, journal=Journal())
        choices = replace(self.choices, most_bytes=self.choices.most_bytes // 8)
        loss = ReducedLoss(row, functions)
        engine = CompiledEngine(self.part, row.groups, loss, limits, choices)
        engine.assume(self.loss)
        engine.run(MOST_NODES)
        ended = engine.open == 0
        mask = None if engine.mask is None else row.mask(pruned_of(engine.mask).astype(np.float64))
        return Ending(
            ended, engine.tree() if ended else None, engine.least_leaf, mask,
            engine.nodes, engine.steps, engine.calls,
        )  # fmt: skip
