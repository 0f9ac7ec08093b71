"""One search: workers with their frontiers, the shared incumbent, the bound, and the answer.

Workers search slices of the same number of nodes at once and meet after each: the incumbent is
shared, nodes are dealt out again, limits are looked at. Nothing depends on timing but where a
deadline falls, so a search with the same number of threads visits the same nodes. An oracle of a
native solver is called from one worker only, and its slices are short.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from maskgap.instances.arrays import Mask
from maskgap.instances.formats.proof import ConvexFunction, PartProof, ProofKind
from maskgap.instances.problem import Part
from maskgap.solvers.frank_wolfe.active_set import room
from maskgap.solvers.frank_wolfe.rules import DEPTH_FIRST, EDGES, Functions, Rules
from maskgap.solvers.objectives import convexify
from maskgap.solvers.oracles.make import Counted, make_oracle
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.tree.frontier import (
    FREE,
    OPEN,
    add_root,
    bytes_per_node,
    enlarged,
    least_bound,
    new_frontier,
    share_out,
)
from maskgap.solvers.tree.log import TreeLog, relative_gap
from maskgap.solvers.tree.record import Block, Record
from maskgap.solvers.tree.search import search

FIRST_SLICE = 16
"""Nodes of the first slice; later ones double."""

SLICE_WORK = 4e6
"""Nodes of a slice times n^2, at most: some hundredths of a second."""

NATIVE_SLICE = 4
"""Nodes of a slice with a native oracle, whose calls take milliseconds."""


class _Worker:
    """What one thread works on."""

    def __init__(self, n: int, atoms: int) -> None:
        self.frontier = new_frontier(n, atoms, 256)
        self.block: Block = np.zeros(4, np.int64)
        self.pseudo = np.zeros((2, n, 2))
        self.best = np.zeros(n)

    @property
    def open(self) -> int:
        return int(self.frontier.counts[OPEN])


class TreeSearch:
    """A search over the masks of one row."""

    def __init__(
        self,
        problem: Part,
        limits: Limits,
        rules: Rules,
        functions: Sequence[ConvexFunction],
        oracle: str,
        most_bytes: int,
    ) -> None:
        n, groups = problem.n, problem.groups
        self.problem, self.limits, self.rules = problem, limits, rules
        self.oracle: Counted | None = None
        if oracle != "closed-form":
            self.oracle = Counted(make_oracle(oracle, groups, limits.deadline))
        self.most_bytes = most_bytes
        self.record = Record(n, most_bytes)
        count = max(1, limits.threads) if self.oracle is None else 1
        self.workers = [_Worker(n, 0 if rules.variant == EDGES else room(n)) for _ in range(count)]
        self.best, self.loss = np.zeros(n), np.inf
        self.least_leaf = np.inf
        self.nodes = self.steps = self.calls = 0
        self.stop = Stop.FINISHED
        self.log = TreeLog() if limits.log else None
        self.functions: list[ConvexFunction] = []
        self.add_functions(functions)
        add_root(self.workers[0].frontier, groups.pruned / groups.size, len(functions) - 1)

    def add_functions(self, functions: Sequence[ConvexFunction]) -> None:
        """Use more functions from here on; open nodes go on with the last."""
        self.functions.extend(functions)
        quad, groups = self.problem.quad, self.problem.groups
        made = [convexify.quadratic(quad, groups, f) for f in self.functions]
        self.stack = Functions(
            np.array([matrix for matrix, _, _ in made]),
            np.array([linear for _, linear, _ in made]),
            np.array([constant for _, _, constant in made]),
        )
        self.margin = max(convexify.rounding_margin(quad, groups, f) for f in self.functions)
        for worker in self.workers:
            worker.frontier.function[:] = len(self.functions) - 1

    def offer(self, mask: Mask, loss: float) -> None:
        """Take a legal mask with its loss as the incumbent, if it is better."""
        if loss < self.loss:
            self.best, self.loss = (~mask).astype(np.float64), loss
            self.limits.journal.incumbent(mask, loss)

    @property
    def mask(self) -> Mask:
        """The incumbent (n,), True = kept."""
        mask: Mask = self.best == 0.0
        return mask

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return sum(worker.open for worker in self.workers)

    def run(self, max_nodes: int) -> None:
        """Search in slices until the tree is done or a limit ends it."""
        deadline, n = self.limits.deadline, self.problem.n
        most = max(FIRST_SLICE, int(SLICE_WORK / (n * n)))
        if self.oracle is not None:
            most = NATIVE_SLICE
        length = min(most, FIRST_SLICE)
        self.stop = Stop.FINISHED
        with ThreadPoolExecutor(len(self.workers)) as pool:
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
                bound = self.bound()
                self.limits.journal.bound(bound)
                if self.log is not None:
                    self.log.line(self.nodes, self.open, self.loss, bound)
                length = min(most, 2 * length)

    def _slice(self, pool: ThreadPoolExecutor, most_nodes: int) -> None:
        busy = [worker for worker in self.workers if worker.open > 0]
        self.rules = self.rules._replace(recording=self.record.recording)
        share = -(-most_nodes // len(busy))

        def go(worker: _Worker) -> Any:
            worker.best[:] = self.best
            run: Any = search if self.oracle is None else search.py_func
            return run(
                self.stack, self.problem.quad, self.rules, worker.frontier, self.record.table,
                worker.block, worker.pseudo, worker.best, self.loss, share, self.oracle,
            )  # fmt: skip

        results = [go(busy[0])] if len(busy) == 1 else list(pool.map(go, busy))
        before = self.loss
        for worker, (loss, leaf, nodes, steps, calls) in zip(busy, results, strict=True):
            if loss < self.loss:
                self.best, self.loss = worker.best.copy(), loss
            self.least_leaf = min(self.least_leaf, leaf)
            self.nodes, self.steps = self.nodes + nodes, self.steps + steps
            self.calls += calls
        if self.loss < before:
            self.limits.journal.incumbent(self.mask, self.loss)

    def _deal(self) -> None:
        """Give nodes to workers that have few."""
        if len(self.workers) == 1:
            return
        by_bound = self.rules.traversal != DEPTH_FIRST
        rich = max(self.workers, key=lambda w: w.open)
        for poor in self.workers:
            if poor is not rich and 2 * poor.open < rich.open:
                most = (rich.open - poor.open) // 2
                share_out(rich.frontier, poor.frontier, most, by_bound)

    def _make_room(self, nodes: int) -> bool:
        """Room for a slice; False when the memory limit forbids it."""
        for worker in self.workers:
            self.record.refill(worker.block, nodes)
            while worker.frontier.counts[FREE] < nodes + 8:
                size = len(worker.frontier.bound) * bytes_per_node(worker.frontier)
                if 2 * size * len(self.workers) > self.most_bytes:
                    return False
                try:
                    worker.frontier = enlarged(worker.frontier)
                except MemoryError:
                    return False
        return True

    def bound(self) -> float:
        """What open nodes and closed leaves leave, less the margin of rounding; at least 0."""
        least = min(self.least_leaf, self.loss)
        by_bound = self.rules.traversal != DEPTH_FIRST
        least = min(least, *(least_bound(w.frontier, by_bound) for w in self.workers))
        return max(0.0, float(least) - self.margin)

    def gap(self) -> float:
        """Distance of bound and incumbent as a share of the incumbent's loss."""
        return relative_gap(self.loss, self.bound())

    def answer(self) -> Answer:
        """The incumbent, the bound and its proof."""
        problem, bound = self.problem, self.bound()
        mask = self.mask
        proof = None
        if self.record.recording and self.nodes > 0:
            proof = PartProof(
                problem.row,
                problem.digest,
                problem.rescale(bound),
                mask,
                ProofKind.LEAVES,
                self.record.leaves(tuple(self.functions)),
                height=problem.height,
            )
        return Answer(
            mask,
            self.stop,
            self.loss,
            bound,
            counters={"nodes": self.nodes, "steps": self.steps, "oracle_calls": self.calls},
            notes={} if self.oracle is None else {"oracle_s": self.oracle.seconds},
            proof=proof,
        )
