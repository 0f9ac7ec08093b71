"""Compiled searches of what a node leaves, which close it.

Over one function the compiled engine takes hundreds of nodes in the time of a relaxation, and few
of them raise a bound a little: their number grows exponentially with how far, some four times for
each percent of the loss, whatever the gap. So a node that lacks little is searched to its end;
`Reach` learns from such searches how much it may lack for them to end in time.
"""

from dataclasses import dataclass, replace
from math import inf, log

import numpy as np

from maskgap.instances.arrays import Kept, pruned_of
from maskgap.instances.part import Part
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

    def engine(
        self, row: ReducedRow, functions: list[Quadratic], stride: float = inf
    ) -> CompiledEngine:
        """An engine that searches what a node leaves. stride: see `Rules`."""
        limits = Limits(self.deadline, journal=Journal())
        choices = replace(self.choices, most_bytes=self.choices.most_bytes // 8)
        loss = ReducedLoss(row, functions)
        engine = CompiledEngine(self.part, row.groups, loss, limits, choices, stride=stride)
        engine.assume(self.loss)
        return engine

    def search(self, row: ReducedRow, functions: list[Quadratic]) -> Ending:
        """Search a node by functions of its free columns until its leaves are bounded by `loss`."""
        engine = self.engine(row, functions)
        while True:
            engine.run(engine.nodes + SLICE)
            if engine.stop is not Stop.NODES or engine.steps >= MOST_STEPS:
                break
        ended = engine.open == 0
        mask = None if engine.mask is None else row.mask(pruned_of(engine.mask).astype(np.float64))
        return Ending(
            ended, engine.tree() if ended else None, engine.least_leaf, mask,
            engine.nodes, engine.steps, engine.calls,
        )  # fmt: skip
