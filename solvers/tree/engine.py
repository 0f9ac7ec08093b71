"""What every engine of the branch and bound has: incumbent, bound, end, and the answer.

The bound of a search is what its open nodes and closed leaves leave,

    min( least bound of a closed leaf, least bound of an open node, the incumbent's loss )

less the objective's margin of rounding, and never below what every mask meets anyway. Nodes close
at `cut`, a share of the loss below it.
"""

from abc import ABC, abstractmethod

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part
from maskgap.solvers.objectives.protocol import Objective, RecordedTree
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.log import TreeLog, relative_gap


class Engine(ABC):
    """A search of the masks of one part, which goes on where it was left.

    nodes, steps, calls: done so far; calls are those of the oracle. stop: why the last `run` ended.
    """

    def __init__(self, part: Part, objective: Objective, limits: Limits, choices: Choices) -> None:
        self.part, self.objective = part, objective
        self.limits, self.choices = limits, choices
        self.mask: Kept | None = None
        self.loss, self.least_leaf = np.inf, np.inf
        self.nodes = self.steps = self.calls = 0
        self.stop = Stop.FINISHED
        self._log = TreeLog() if limits.log else None

    @abstractmethod
    def run(self, max_nodes: int) -> None:
        """Search until the tree is done or a limit ends it. max_nodes: in all; -1 for no limit."""

    @abstractmethod
    def take_functions(self) -> None:
        """The objective has more functions: open nodes go on with the last."""

    @property
    @abstractmethod
    def open(self) -> int:
        """Number of open nodes."""

    @abstractmethod
    def least_open(self) -> float:
        """The least bound of an open node; +inf when there is none."""

    @abstractmethod
    def tree(self) -> RecordedTree | None:
        """The tree so far; None where it was given up for want of memory."""

    def notes(self) -> dict[str, str | float]:
        """Facts for the record."""
        return {}

    @property
    def margin(self) -> float:
        """What is taken off a bound for rounding."""
        return self.objective.margin

    @property
    def cut(self) -> float:
        """The bound at which a node closes."""
        return self.loss - self.choices.gap * abs(self.loss) if self.loss < np.inf else np.inf

    def offer(self, mask: Kept) -> None:
        """Look at a legal mask (n,)."""
        loss = self.objective.exact(mask)
        if loss < self.loss:
            self.mask, self.loss = mask.copy(), loss
            self.limits.journal.incumbent(self.mask, loss)

    def bound(self) -> float:
        """What is left, less the margin of rounding."""
        least = min(self.least_leaf, self.loss, self.least_open())
        known = self.objective.least
        return max(known, float(least) - self.margin) if np.isfinite(least) else known

    def gap(self) -> float:
        """Distance of bound and incumbent as a share of the incumbent's loss."""
        return relative_gap(self.loss, self.bound())

    def report(self) -> None:
        """Tell the journal, and the log where there is one, how things stand."""
        bound = self.bound()
        self.limits.journal.bound(bound)
        if self._log is not None:
            self._log.line(self.nodes, self.open, self.loss, bound)

    def answer(self) -> Answer:
        """The incumbent, the bound and its proof."""
        bound = self.bound()
        return Answer(
            self.mask,
            self.stop,
            self.loss if self.mask is not None else None,
            bound,
            counters={"nodes": self.nodes, "steps": self.steps, "oracle_calls": self.calls},
            notes=self.notes(),
            proof=self.proof(bound) if self.nodes > 0 else None,
        )

    def proof(self, bound: float) -> PartProof | None:
        """The proof of a bound by the tree so far, None where there is none."""
        tree = self.tree()
        return None if tree is None else self.objective.proof(tree, bound, self.mask)
