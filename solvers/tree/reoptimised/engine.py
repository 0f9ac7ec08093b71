"""Branch and bound in which every node re-optimises its multipliers.

Nodes are few and cost a relaxation with triangle inequalities each (`visit`). The node of least
bound is next, so the bound of the search, the least of open nodes and closed leaves, rises with
every node; a node that lacks little is searched to its end by the compiled engine. In the last part
of the time that engine raises the nodes of least bound, each by the function of its parent and a
step at a time (`raising`). Each function holds in the subtree of the node that made it.

Where a row has several budgets, as under N:M, what a fixed column leaves is no row of equal budgets
any more: the root alone has a relaxation, and is raised.

Visits run on threads. So that nothing depends on timing but where a deadline falls, their results
are taken in the order in which they were begun, with a fixed number under way.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Part
from maskgap.solvers.bounds.inherited import Inherited
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.objectives.protocol import RecordedTree
from maskgap.solvers.protocol import Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.nodes import OpenNodes
from maskgap.solvers.tree.reoptimised.branching import PseudoCosts
from maskgap.solvers.tree.reoptimised.close import Closing, Reach
from maskgap.solvers.tree.reoptimised.raising import Raised, Raising, Source
from maskgap.solvers.tree.reoptimised.record import Graft, SubtreeRecord
from maskgap.solvers.tree.reoptimised.visit import Aim, Node, Visit, root_effort, visit

SPLITTING = 0.4
"""Share of the time in which nodes are split; after it they are raised."""

STEP = 0.005
"""Share of the loss by which a node is raised at a time."""

AHEAD = 2
"""Visits under way for each thread, where there are several."""


@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    """A node that is visited or raised, and its bound before."""

    node: Node
    bound: float
    visiting: Future[Visit] | None = None
    raising: Future[Raised] | None = None


class ReoptimisedEngine(Engine):
    """A search over the masks of equal groups, of the mask loss."""

    def __init__(
        self,
        part: Part,
        groups: BudgetGroups,
        objective: MaskLoss,
        limits: Limits,
        choices: Choices,
    ) -> None:
        super().__init__(part, objective, limits, choices)
        self._quad, self._groups = objective.quad, groups
        self._root = root_effort(part.n, choices.root_triangles)
        self._begun = 0
        self._record = SubtreeRecord(part.n, choices.most_bytes)
        self._pseudo, self._reach = PseudoCosts(part.n), Reach()
        self._margin = objective.margin
        self._open: OpenNodes[Node] = OpenNodes(depth_first=False)
        self._under_way: deque[_Task] = deque()
        self._bytes = 0
        self.relaxations = 0
        free = np.full(part.n, FREE, np.int8)
        self._open.put(Node(free, 0.0, 0, Inherited.none()))

    def take_functions(self) -> None:
        """See `Engine`; every node makes its own."""

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return len(self._open) + len(self._under_way)

    def least_open(self) -> float:
        """See `Engine`."""
        under_way = min((task.bound for task in self._under_way), default=np.inf)
        return min(self._open.least_bound(), under_way)

    @property
    def margin(self) -> float:
        """See `Engine`."""
        return self._margin

    def tree(self) -> RecordedTree | None:
        """None: its functions are not those of the objective; see `proof`."""
        return None

    def proof(self, bound: float) -> PartProof | None:
        """See `Engine`."""
        self._graft_raised()
        leaves, part = self._record.leaves(), self.part
        if leaves is None:
            return None
        stated = part.rescale(bound)
        return PartProof(part.row, part.digest, stated, self.mask, leaves, height=part.height)

    def notes(self) -> dict[str, str | float]:
        """How many nodes had a relaxation of their own."""
        return {"relaxations": float(self.relaxations)}

    def run(self, max_nodes: int) -> None:
        """See `Engine`."""
        threads = max(1, self.limits.threads)
        most = threads * AHEAD if threads > 1 else 1
        self.stop = Stop.FINISHED
        late = (1.0 - SPLITTING) * self.limits.deadline.remaining()
        with ThreadPoolExecutor(threads) as pool:
            while self.stop is Stop.FINISHED and self.least_open() < self.cut:
                self._look_at_limits(max_nodes)
                if self.stop is Stop.FINISHED:
                    self._begin(pool, most, max_nodes, self.limits.deadline.remaining() < late)
                    self._take_oldest()
            while self._under_way:
                self._take_oldest()
        if self.stop is Stop.FINISHED:
            self._graft_raised()
            self.least_leaf = min(self.least_leaf, self.least_open())
            self._open = OpenNodes(depth_first=False)

    def _look_at_limits(self, max_nodes: int) -> None:
        if self.limits.deadline.expired():
            self.stop = self.limits.deadline.stop()
        elif 0 <= max_nodes <= self.nodes + len(self._under_way):
            self.stop = Stop.NODES
        elif self._bytes > self.choices.most_bytes or self._record.full:
            self.stop = Stop.MEMORY

    def _begin(self, pool: ThreadPoolExecutor, most: int, max_nodes: int, late: bool) -> None:
        """Begin with nodes of least bound until so many are under way; late: raise them."""
        closing = Closing(self.part, self.limits.deadline, self.choices, self.loss)
        fixing = self.choices.fixing and self._splits
        aim = Aim(
            self._quad, self._groups, self._root, self.part.minorant, self.cut,
            self._reach.gap, fixing, closing,
        )  # fmt: skip
        left = -1
        if max_nodes >= 0:
            left = max(1, (max_nodes - self.nodes) // most)
        while len(self._under_way) < most and self._open.least_bound() < self.cut:
            node = self._open.take()
            self._bytes -= self._size(node)
            if node.source is not None and self._raises(late) and self._has_choice(node):
                if node.raising is None:
                    node.raising = Raising(node.state, node.source, self._groups, closing)
                to = node.bound + STEP * self.loss
                raising = pool.submit(node.raising.advance, to, self.loss, left)
                self._under_way.append(_Task(node, node.bound, raising=raising))
            else:
                self._begun += 1
                visiting = pool.submit(visit, node, aim)
                self._under_way.append(_Task(node, node.bound, visiting))

    @property
    def _splits(self) -> bool:
        """Whether nodes are split: one budget leaves one budget, others do not."""
        return self._groups.count == 1

    def _raises(self, late: bool) -> bool:
        """Whether nodes are raised from now on. late: whether their time has come."""
        return late or not self._splits or 0 <= self.choices.relaxations <= self._begun

    def _left(self, node: Node) -> int:
        """Columns that are to be pruned in a node."""
        return self._groups.count * self._groups.pruned - int((node.state == PRUNED).sum())

    def _has_choice(self, node: Node) -> bool:
        return 0 < self._left(node) < int((node.state == FREE).sum())

    def _take_raised(self, node: Node, found: Raised) -> None:
        """Count what raised a node, which stays open: its search goes on."""
        self.nodes, self.steps = self.nodes + found.nodes, self.steps + found.steps
        self.calls += found.calls
        node.bound = max(node.bound, found.least)
        if found.mask is not None:
            self.offer(found.mask)
        if found.stop is Stop.MEMORY:
            self.stop = found.stop
        self._put(node)

    def _take_oldest(self) -> None:
        if self._under_way:
            task = self._under_way[0]
            if task.visiting is not None:
                self._learn(task.visiting.result())
            elif task.raising is not None:
                self._take_raised(task.node, task.raising.result())
            self._under_way.popleft()
            self.report()

    def _learn(self, found: Visit) -> None:
        """Record what a visit found, then close or split its node."""
        node = found.node
        self.nodes, self.steps = self.nodes + 1, self.steps + found.steps
        for mask in found.masks:
            self.offer(mask)
        if found.alone:
            self._settle(node)
            return
        self.relaxations += found.relaxed
        source = self._state_function(found)
        if node.split is not None:
            self._pseudo.learn(node.split, node.bound - found.inherited)
        ending = found.ending
        if ending is not None:
            self.nodes, self.steps = self.nodes + ending.nodes, self.steps + ending.steps
            self.calls += ending.calls
            self._reach.learn(found.lacking, ending)
            if ending.ended:
                self.least_leaf = min(self.least_leaf, ending.least)
                return
        for fixed in found.fixed:
            self.least_leaf = min(self.least_leaf, fixed.bound)
            kept, pruned = self._record.split(node.row, fixed.column)
            node.row = pruned if fixed.to == PRUNED else kept
        self._split(found, source)

    def _state_function(self, found: Visit) -> Source | None:
        """Record the function of a node, and the tree that ends it; what its children have."""
        function, point, own, reduced = found.function, found.point, found.own, found.reduced
        if function is None or point is None or own is None or reduced is None:
            return found.node.source
        self._margin = max(self._margin, found.margin)
        row = found.node.row
        number = self._record.function(row, function)
        self._record.bounded(row, point, number)
        if found.ending is not None and found.ending.ended:
            tree = found.ending.tree
            self._graft(row, None if tree is None else Graft(reduced, tree, (number,)))
        return Source(number, reduced.state, own)

    def _graft(self, row: int, graft: Graft | None) -> None:
        if graft is None:
            self._record.give_up()
        else:
            self._record.grafted(row, graft)

    def _graft_raised(self) -> None:
        """Record the trees of open nodes that they have raised, as they are."""
        for node in self._open:
            if node.raising is not None and node.raising.least >= node.bound:
                self._graft(node.row, node.raising.graft())

    def _settle(self, node: Node) -> None:
        """A node with at most one mask."""
        self._record.settled(node.row)
        free, gone = node.state == FREE, node.state == PRUNED
        left = self._left(node)
        if 0 <= left <= int(free.sum()):
            mask = Kept(~gone if left == 0 else ~(gone | free))
            self.offer(mask)
            self.least_leaf = min(self.least_leaf, self.objective.exact(mask))

    def _split(self, found: Visit, source: Source | None) -> None:
        node = found.node
        if node.bound >= self.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return
        known = found.known if len(found.known.weight) else node.known
        node.known, node.source = known, source
        if not self._splits:
            self._put(node)
            if source is None:  # nothing to raise it by
                self.stop = Stop.ITERATIONS
            return
        if found.prospects is None:  # all is fixed: it is looked at as a node of one mask
            self._put(node)
            return
        splits = self._pseudo.choose(found.prospects)
        rows = self._record.split(node.row, splits[0].column)
        for split, row, to in zip(splits, rows, (KEPT, PRUNED), strict=True):
            state = node.state.copy()
            state[split.column] = to
            self._put(Node(state, node.bound, row, known, split, source))

    def _put(self, node: Node) -> None:
        self._bytes += self._size(node)
        self._open.put(node)

    def _size(self, node: Node) -> int:
        """Memory of an open node, which shares the inequalities with another."""
        function = 0 if node.source is None else node.source.nbytes
        raising = 0 if node.raising is None else node.raising.nbytes
        return self.part.n + (node.known.nbytes + function) // 2 + 200 + raising
