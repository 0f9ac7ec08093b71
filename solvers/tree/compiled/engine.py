"""The compiled search: workers with their frontiers, and what they share.

Workers search slices of the same number of nodes at once and meet after each: the incumbent is
shared, nodes are dealt out again, limits are looked at. Nothing depends on timing but where a
deadline falls, so a search with the same number of threads visits the same nodes.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.frank_wolfe.active_set import room
from maskgap.solvers.frank_wolfe.variants import EDGES
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.mask_loss import MaskLoss
from maskgap.solvers.objectives.protocol import QuadraticLoss, RecordedTree
from maskgap.solvers.protocol import Deadline, Limits, Stop
from maskgap.solvers.tree.choices import Choices
from maskgap.solvers.tree.compiled import frontier
from maskgap.solvers.tree.compiled.frontier import (
    OPEN,
    ROOM,
    Store,
    add_root,
    bytes_per_node,
    enlarged,
    least_bound,
    new_frontier,
    share_out,
)
from maskgap.solvers.tree.compiled.record import Block, Record
from maskgap.solvers.tree.compiled.rules import DEPTH_FIRST, STRONG, Functions, Rules
from maskgap.solvers.tree.compiled.search import search
from maskgap.solvers.tree.engine import Engine

FIRST_SLICE = 16
"""Nodes of the first slice; later ones double."""

SLICE_WORK = 4e6
"""Nodes of a slice times n^2, at most: some hundredths of a second."""


class _Worker:
    """What one thread works on."""

    def __init__(self, n: int, rules: Rules) -> None:
        along_edges = rules.variant == EDGES
        self.frontier = new_frontier(n, 0 if along_edges else room(n), 256)
        self.store = None if along_edges else Store.of(n, room(n))
        self.aside = np.empty(n) if rules.branching == STRONG else None
        self.block: Block = np.zeros(4, np.int64)
        self.pseudo = np.zeros((2, n, 2))
        self.best = np.zeros(n)

    @property
    def open(self) -> int:
        return int(self.frontier.counts[OPEN])


class CompiledEngine(Engine):
    """A search over the masks of equal groups, of the mask loss.

    objective: of the part, or of what a node of another search leaves of it. stride: see `Rules`.
    """

    def __init__(
        self,
        part: Part,
        groups: BudgetGroups,
        objective: QuadraticLoss,
        limits: Limits,
        choices: Choices,
        *,
        stride: float = np.inf,
    ) -> None:
        super().__init__(part, objective, limits, choices)
        self._n = n = objective.n
        self._quad, self._quadratics = objective.quad, objective.functions
        self.rules = Rules.of(choices, groups, stride)
        self._record = Record(n, choices.most_bytes)
        self._workers = [_Worker(n, self.rules) for _ in range(max(1, limits.threads))]
        self.take_functions()
        share, last = groups.pruned / groups.size, len(self._quadratics) - 1
        add_root(self._workers[0].frontier, share, last)

    def take_functions(self) -> None:
        """See `Engine`."""
        self._stack = Functions(
            np.array([function.matrix for function in self._quadratics]),
            np.array([function.linear for function in self._quadratics]),
            np.array([function.constant for function in self._quadratics]),
        )
        for worker in self._workers:
            worker.frontier.function[:] = len(self._quadratics) - 1

    def assume(self, loss: float) -> None:
        """A mask of this loss is known elsewhere: nodes that cannot be better are closed."""
        if loss < self.loss:
            self.mask, self.loss = None, loss

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return sum(worker.open for worker in self._workers)

    @property
    def nbytes(self) -> int:
        """Memory of its nodes and their record, in bytes."""
        nodes = sum(sum(a.nbytes for a in worker.frontier) for worker in self._workers)
        return nodes + sum(a.nbytes for a in self._record.table)

    def run(self, max_nodes: int) -> None:
        """See `Engine`."""
        deadline, n = self.limits.deadline, self._n
        most = max(FIRST_SLICE, int(SLICE_WORK / (n * n)))
        length = min(most, FIRST_SLICE)
        self.stop = Stop.FINISHED
        with ThreadPoolExecutor(len(self._workers)) as pool:
            while self.open > 0:
                if deadline.expired():
                    self.stop = deadline.stop()
                    return
                if 0 <= max_nodes <= self.nodes:
                    self.stop = Stop.NODES
                    return
                if not self._make_room(length):
                    self.stop = Stop.MEMORY
                    return
                left = length if max_nodes < 0 else min(length, max_nodes - self.nodes)
                self._slice(pool, left)
                self._deal()
                self.report()
                length = min(most, 2 * length)

    def _slice(self, pool: ThreadPoolExecutor, most_nodes: int) -> None:
        busy = [worker for worker in self._workers if worker.open > 0]
        self.rules = self.rules._replace(recording=self._record.recording)
        share = -(-most_nodes // len(busy))
        start: Vector = np.zeros(self._n)
        if self.mask is not None:
            start = pruned_of(self.mask).astype(np.float64)

        def go(worker: _Worker) -> tuple[float, float, int, int, int]:
            worker.best[:] = start
            found: tuple[float, float, int, int, int] = search(
                self._stack, self._quad, self.rules, worker.frontier, self._record.table,
                worker.block, worker.pseudo, worker.best, self.loss, share, worker.store,
                worker.aside,
            )  # fmt: skip
            return found

        results = [go(busy[0])] if len(busy) == 1 else list(pool.map(go, busy))
        for worker, (loss, leaf, nodes, steps, calls) in zip(busy, results, strict=True):
            if loss < self.loss:
                self._improve(worker.best == 0.0, loss)
            self.least_leaf = min(self.least_leaf, leaf)
            self.nodes, self.steps = self.nodes + nodes, self.steps + steps
            self.calls += calls

    def _improve(self, mask: Kept, loss: float) -> None:
        """Take a mask of a worker, with the loss that its nodes were closed by."""
        self.mask, self.loss = mask, loss
        self.limits.journal.incumbent(mask, loss)

    def _deal(self) -> None:
        """Give nodes to workers that have few."""
        if len(self._workers) == 1:
            return
        by_bound = self.rules.traversal != DEPTH_FIRST
        rich = max(self._workers, key=lambda w: w.open)
        for poor in self._workers:
            if poor is not rich and 2 * poor.open < rich.open:
                most = (rich.open - poor.open) // 2
                share_out(rich.frontier, poor.frontier, most, by_bound)

    def _make_room(self, nodes: int) -> bool:
        """Room for a slice; False when the memory limit forbids it."""
        for worker in self._workers:
            self._record.refill(worker.block, nodes)
            while worker.frontier.counts[ROOM] < nodes + 8:
                size = len(worker.frontier.bound) * bytes_per_node(worker.frontier)
                if 2 * size * len(self._workers) > self.choices.most_bytes:
                    return False
                try:
                    worker.frontier = enlarged(worker.frontier)
                except MemoryError:
                    return False
        return True

    def least_open(self) -> float:
        """See `Engine`."""
        by_bound = self.rules.traversal != DEPTH_FIRST
        return min(float(least_bound(w.frontier, by_bound)) for w in self._workers)

    def tree(self) -> RecordedTree | None:
        """See `Engine`."""
        return self._record.tree() if self._record.recording else None


def warm_up(choices: Choices) -> None:
    """Compile the kernels that a search with these choices calls, or load them."""
    layer = Layer(np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4) + 0.1)
    part = Problem.of(layer, parse_pattern("50%")).part_of(0)
    objective, groups = MaskLoss(part), part.groups
    objective.add([convexify.plain(groups)])
    engine = CompiledEngine(part, groups, objective, Limits(Deadline(600.0)), choices)
    engine.offer(groups.prune_lowest(part.quad.diagonal()))
    engine.run(-1)
    engine.answer()
    frontier.warm_up()
