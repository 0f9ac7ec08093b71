"""Search for the least refit loss over equal groups: every node has a diagonal of its own.

A node's bound is the saddle point of its perspective function (`tree.refit.visit`), found to the
precision that closing or splitting it needs: few nodes at some milliseconds each, where one
diagonal for the whole tree takes many. Children start from their parent's diagonal and shares.
Fixed columns leave the problem, so nodes get cheaper as they get deeper: n^3 operations a step at
the root.

Nodes of least bound come first, as many at once as there are threads; what they find is taken in
their order, so nothing depends on timing but where a deadline falls.
"""

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Pruned, Vector, kept_of
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.objectives.protocol import RecordedTree
from maskgap.solvers.objectives.refit_loss import RefitLoss
from maskgap.solvers.protocol import Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.nodes import OpenNodes
from maskgap.solvers.tree.general.record import TreeRecord
from maskgap.solvers.tree.refit.branching import (
    PseudoCosts,
    inner,
    require_known,
    scores,
)
from maskgap.solvers.tree.refit.reduced import Whole, counted
from maskgap.solvers.tree.refit.visit import (
    FORCED,
    MOST_STEPS,
    NO_MASK,
    OPEN,
    Aim,
    Look,
    Warm,
    look,
    sides,
)

ENOUGH = 1.0
"""A node is split once value - bound is at most so many times cut - value."""

WIDE_COLUMNS, WIDE_ENOUGH = 192, 0.02
"""The same on rows that no search closes: their bound only rises by nodes that are bounded well."""

ROOT_ENOUGH = 0.005
"""The same at the root, whose bound is reported."""

INSIDE = 0.95
"""Share of a diagonal that a warm start takes."""

AGAIN = 0.2
"""Share of the free columns that must have been forced for a node to be bounded again."""

MOST_COLUMNS = 2048
"""A step on more takes minutes, and cannot be ended in between."""

LOOK_S = 0.05
"""Seconds between looks at the deadline while nodes are visited."""

LEAST_BARRIER = 1e-3
"""A warm start's barrier is at least this share of the cut, over the free columns."""

BARRIER = 10.0
"""A warm start's barrier, in units of what the node has to close, over the free columns."""


class _Split(NamedTuple):
    """What made a node: a side of a column, and the rise by which the column alone would do it."""

    column: int
    side: int
    expected: float


@dataclass(eq=False, slots=True)
class _Node:
    """An open node. bound: inherited. diagonal, z: (n,) its parent's. row: in the record."""

    state: States
    bound: float
    diagonal: Vector
    z: Vector
    barrier: float
    row: int = 0
    depth: int = 0
    split: _Split | None = None


@dataclass(eq=False, slots=True)
class _Forced:
    """A column forced in a node, and the bound of the side cut off."""

    column: int
    side: int
    bound: float


@dataclass(eq=False, slots=True)
class _Visit:
    """What was found at a node, to be recorded in order.

    inherited: its bound before. found: looks that raised it, and columns forced by them. last: the
    last look.
    """

    node: _Node
    inherited: float
    last: Look
    found: list[NDArray[np.float64] | _Forced] = field(default_factory=list)
    masks: list[tuple[float, Flags]] = field(default_factory=list)
    closed: bool = False
    steps: int = 0


class RefitEngine(Engine):
    """A search over the masks of equal groups, of the refit loss."""

    def __init__(
        self,
        part: Part,
        groups: BudgetGroups,
        objective: RefitLoss,
        limits: Limits,
        choices: Choices,
    ) -> None:
        super().__init__(part, objective, limits, choices)
        n = part.n
        if n > MOST_COLUMNS:
            raise Refused(
                f"a node of {n} columns would take minutes a step, at most {MOST_COLUMNS}; take "
                "diagonal=inverse"
            )
        self._budget = groups
        spare = inverse_diagonal(part.hessian)
        self._whole = Whole(part.hessian, part.target, spare, np.arange(n) // groups.size)
        self._record = TreeRecord(16 * n, choices.most_bytes)
        self._limit = np.full(1, MOST_STEPS)
        self._root_bound = 0.0
        share = np.full(n, groups.pruned / groups.size)
        require_known(choices.branching)
        self._pseudo = PseudoCosts(n)
        self._open: OpenNodes[_Node] = OpenNodes(depth_first=False)
        self._open.put(_Node(np.full(n, FREE, np.int8), 0.0, spare, share, 0.0))

    def take_functions(self) -> None:
        """See `Engine`; every node makes its own."""

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return len(self._open)

    def least_open(self) -> float:
        """See `Engine`."""
        return self._open.least_bound()

    def tree(self) -> RecordedTree | None:
        """See `Engine`; a witness is delta and D one after the other."""
        return self._record.tree()

    def notes(self) -> dict[str, str | float]:
        """The bound of the root in units of the layer's loss."""
        return {"root_bound": self.part.rescale(max(0.0, self._root_bound))}

    def run(self, max_nodes: int) -> None:
        """See `Engine`."""
        threads = max(1, self.limits.threads)
        self.stop = Stop.FINISHED
        with ThreadPoolExecutor(threads) as pool:
            while self.least_open() < self.cut:
                if self.limits.deadline.expired():
                    self.stop = self.limits.deadline.stop()
                elif 0 <= max_nodes <= self.nodes:
                    self.stop = Stop.NODES
                elif len(self._open) * (17 * self.part.n + 400) > self.choices.most_bytes:
                    self.stop = Stop.MEMORY
                if self.stop is not Stop.FINISHED:
                    break
                taken = self._take(
                    threads if max_nodes < 0 else min(threads, max_nodes - self.nodes)
                )
                for visit in self._visits(pool, taken):
                    self._learn(visit)
                self.report()
        if self.stop is Stop.FINISHED:
            self.least_leaf = min(self.least_leaf, self.least_open())
            self._open = OpenNodes(depth_first=False)

    def _visits(self, pool: ThreadPoolExecutor, nodes: list[_Node]) -> list[_Visit]:
        """Visit nodes at once; a deadline that comes in between ends their steps at the next."""
        self._limit[0] = MOST_STEPS
        visits = [pool.submit(self._visit, node) for node in nodes]
        while wait(visits, timeout=LOOK_S).not_done:
            if self.limits.deadline.expired():
                self._limit[0] = 0
        return [visit.result() for visit in visits]

    def _take(self, most: int) -> list[_Node]:
        """The next nodes, of those that the cut leaves open."""
        taken = [self._open.take()]
        while len(taken) < most and self.least_open() < self.cut:
            taken.append(self._open.take())
        return taken

    def _look(self, node: _Node, state: States, warm: Warm) -> Look:
        enough = WIDE_ENOUGH if self.part.n > WIDE_COLUMNS else ENOUGH
        if node.depth == 0:
            enough = ROOT_ENOUGH
        inside = warm._replace(diagonal=INSIDE * warm.diagonal)
        return look(self._whole, self._budget, state, inside, Aim(self.cut, enough, self._limit))

    def _visit(self, node: _Node) -> _Visit:
        """Bound a node, force columns, bound it again; in a thread of its own."""
        state, cut, bound = node.state, self.cut, node.bound
        found = self._look(node, state, Warm(node.diagonal, node.z, node.barrier))
        visit = _Visit(node, bound, found)
        while True:
            visit.steps += found.steps
            if found.loss < np.inf:
                visit.masks.append((found.loss, found.pruned))
            if found.status == NO_MASK:
                visit.closed = True
                return visit
            raised = found.bound > bound
            if raised:
                bound = found.bound
                visit.found.append(np.concatenate([found.delta, found.diagonal]))
            node.bound = bound
            if bound >= cut or found.status == FORCED:
                visit.closed = True
                return visit
            forced = self._forced(found, state, cut) if raised and self.choices.fixing else []
            visit.found.extend(forced)
            free = int((state == FREE).sum())
            if len(forced) <= AGAIN * (free + len(forced)) or self.limits.deadline.expired():
                return visit
            warm = Warm(found.diagonal, found.z, _barrier(found, cut, free))
            found = visit.last = self._look(node, state, warm)

    def _forced(self, found: Look, state: States, cut: float) -> list[_Forced]:
        """Force columns of which one side's bound reaches the cut."""
        groups, budget = self._whole.groups, self._budget
        left, _ = counted(state, groups, budget.count, budget.pruned)
        bounds, side = sides(found.slope, state, groups, left, found.bound)
        forced = []
        for j in np.flatnonzero(bounds >= cut):
            other = PRUNED if side[j] == KEPT else KEPT
            state[j] = other
            forced.append(_Forced(int(j), other, float(bounds[j])))
        return forced

    def _learn(self, visit: _Visit) -> None:
        """Record what a visit found, then close or split its node."""
        node, last = visit.node, visit.last
        self.nodes, self.steps = self.nodes + 1, self.steps + visit.steps
        for loss, pruned in visit.masks:
            if loss < self.loss:
                self.offer(kept_of(Pruned(pruned)))
        for found in visit.found:
            if isinstance(found, _Forced):
                self.least_leaf = min(self.least_leaf, found.bound)
                kept, pruned_row = self._record.split(node.row, found.column)
                node.row = pruned_row if found.side == PRUNED else kept
            else:
                self._record.bounded(node.row, found, 0)
        if node.split is not None and last.status == OPEN:
            column, side, expected = node.split
            self._pseudo.learn(column, side, node.bound - visit.inherited, expected)
        if node.depth == 0:
            self._root_bound = node.bound
        if visit.closed:
            if last.status != NO_MASK:
                self.least_leaf = min(self.least_leaf, node.bound)
            return
        self._split(node, last)

    def _split(self, node: _Node, last: Look) -> None:
        free = np.flatnonzero(node.state == FREE)
        if not len(free):
            # forced after the last look: one mask is left, and is looked at as a node
            self._open.put(node)
            return
        diagonal, z, barrier = last.diagonal, last.z, _barrier(last, self.cut, len(free))
        rule = self.choices.branching
        if last.status != OPEN:
            diagonal, z, barrier, rule = self._whole.spare, node.z, 0.0, "fractionality"
        score = scores(rule, z, last.saliency, last.slope, self._pseudo)
        column = int(free[np.argmax(score[free])])
        kept, pruned = self._record.split(node.row, column)
        share, alone = float(inner(z)[column]), float(last.saliency[column])
        for side, (value, row, change) in enumerate(
            ((KEPT, kept, share), (PRUNED, pruned, 1.0 - share))
        ):
            state = node.state.copy()
            state[column] = value
            split = _Split(column, side, alone * change)
            self._open.put(
                _Node(state, node.bound, diagonal, z, barrier, row, node.depth + 1, split)
            )


def _barrier(found: Look, cut: float, free: int) -> float:
    """The barrier of a warm start from a look, about what it has to close."""
    lacks = max(cut - found.value, found.value - found.bound, LEAST_BARRIER * abs(cut))
    return BARRIER * lacks / max(1, free)
