"""Branch and bound over any set of masks, which it sees through a linear minimisation oracle alone.

A node fixes columns. Its bound is that of convex functions F, minimised over the hull of its masks
(`frank_wolfe.vertices`) with the vertices that the search has met, so that many a node asks its
oracle but once or twice; each vertex is a legal mask, and so an incumbent. What is stored in a
proof, x rounded to float32, is what the oracle's bound is for.

    hull = convex       the hull of the masks, by a set's own oracle or a mixed-integer solver's
    hull = relaxation   the linear relaxation of the set's rows (`oracles.relaxation`): larger,
                        and its vertices may be fractional; for comparison

Fixing. In the root, a column that x has at 0 or 1 is tried at the other side with the same x: where
F(x) - g . x + min over that side of g . v reaches the incumbent, the side is cut off. That takes an
oracle call a column, which pays where a whole tree hangs below, and there only.

It runs as Python: an oracle call costs from a tenth of a millisecond up, the steps are compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Mask, Vector
from maskgap.instances.formats.proof import ConvexFunction, PartProof, ProofKind
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Part
from maskgap.solvers.frank_wolfe import vertices
from maskgap.solvers.frank_wolfe.vertices import ActiveSet, Convex, Minimum
from maskgap.solvers.objectives import convexify
from maskgap.solvers.oracles.make import Counted, Oracle, make_oracle
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.tree.log import TreeLog, relative_gap
from maskgap.solvers.tree.nodes import (
    KEPT_SIDE,
    PRUNED_SIDE,
    Node,
    OpenNodes,
    PseudoCosts,
    TreeRecord,
)
from maskgap.solvers.tree.splits import INTEGRAL, choose

TRY_EVERY = 4
"""One node in so many is minimised with another function too."""

ROUND_EVERY = 8
"""x is rounded at the first ROUND_EVERY nodes, then at one in so many."""

ROOT_TOLERANCE = 1e-3
"""Node tolerance of the root, at most: all nodes inherit its bound and its vertices."""


@dataclass(frozen=True)
class Choices:
    """The settings of `FwBnb` that this search looks at, by the same names.

    relaxed: whether the hull is the relaxation. gap: share of the loss at which nodes close.
    most_bytes: for the open nodes, and as much again for the proof.
    """

    oracle: str
    relaxed: bool
    inherit: bool
    branching: str
    traversal: str
    node_tolerance: float
    fixing: bool
    rounding: bool
    gap: float
    most_bytes: int


def _oracle(problem: Part, limits: Limits, choices: Choices) -> Oracle:
    if choices.relaxed:
        from maskgap.solvers.oracles.relaxation import (
            RelaxationOracle,  # HiGHS, only where asked for
        )

        return RelaxationOracle(problem.legal, limits.deadline)
    return make_oracle(choices.oracle, problem.legal, limits.deadline, limits.threads)


class GeneralSearch:
    """A search over the masks of one part of a problem."""

    def __init__(
        self,
        problem: Part,
        limits: Limits,
        choices: Choices,
        functions: Sequence[ConvexFunction],
    ) -> None:
        n = problem.n
        self.problem, self.limits, self.choices = problem, limits, choices
        self.oracle = Counted(_oracle(problem, limits, choices))
        self.fixed = problem.legal.linear_rows().state
        self.pool, self.record = vertices.Pool(n), TreeRecord(n, choices.most_bytes)
        self.open_nodes = OpenNodes(choices.traversal == "depth-first")
        self.pseudo = PseudoCosts(n)
        self.mask: Mask | None = None
        self.loss, self.least_leaf = np.inf, np.inf
        self.nodes = self.steps = 0
        self.root_bound = -np.inf
        self.stop = Stop.FINISHED
        self._looked_at: set[bytes] = set()
        self.log = TreeLog() if limits.log else None
        self.functions: list[ConvexFunction] = []
        self.add_functions(functions)
        root = Node(np.full(n, FREE, np.int8), -np.inf, ActiveSet.empty(), 0, len(functions) - 1)
        self.open_nodes.put(root)

    def add_functions(self, functions: Sequence[ConvexFunction]) -> None:
        """Use more functions from here on; open nodes go on with the last."""
        self.functions.extend(functions)
        quad, legal = self.problem.quad, self.problem.legal
        self.convex = [Convex(*convexify.quadratic(quad, legal, f)) for f in self.functions]
        self.margin = max(convexify.rounding_margin(quad, legal, f) for f in self.functions)
        for node in self.open_nodes:
            node.function = len(self.functions) - 1

    @property
    def cut(self) -> float:
        """The bound at which a node closes."""
        return self.loss * (1.0 - self.choices.gap)

    def offer(self, mask: Mask) -> None:
        """Look at a legal mask (n,), True = kept."""
        key = np.packbits(mask).tobytes()
        if key not in self._looked_at:
            self._looked_at.add(key)
            loss = self.problem.scaled_loss(mask)
            if loss < self.loss:
                self.mask, self.loss = mask.copy(), loss
                self.limits.journal.incumbent(self.mask, loss)

    def run(self, max_nodes: int) -> None:
        """Search until the tree is done or a limit ends it. max_nodes: -1 for no limit."""
        deadline, dive = self.limits.deadline, None
        node_bytes = 40 * self.problem.n + 400
        self.stop = Stop.FINISHED
        while dive is not None or len(self.open_nodes):
            if deadline.expired():
                self.stop = deadline.stop()
            elif 0 <= max_nodes <= self.nodes:
                self.stop = Stop.NODES
            elif len(self.open_nodes) * node_bytes > self.choices.most_bytes:
                self.stop = Stop.MEMORY
            if self.stop is not Stop.FINISHED:
                break
            node = self.open_nodes.take() if dive is None else dive
            dive = self._visit(node)
            if dive is not None and self.choices.traversal == "best-first":
                self.open_nodes.put(dive)
                dive = None
            if dive is None:
                bound = self.bound()
                self.limits.journal.bound(bound)
                if self.log is not None:
                    self.log.line(self.nodes, len(self.open_nodes), self.loss, bound)
        if dive is not None:
            self.open_nodes.put(dive)

    def _visit(self, node: Node) -> Node | None:
        """Bound a node, then close it or split it; returns the child to go on with."""
        if node.bound >= self.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        self.nodes += 1
        found = self._bound(node)
        self.pseudo.learn(node, found.bound - node.bound)
        if self.limits.deadline.expired() and found.bound < self.cut:
            self.open_nodes.put(node)  # as far as it came
            return None
        x = found.x
        if found.bound == np.inf:
            return None  # it has no mask; its parent's point stands for it
        if self.choices.rounding and (self.nodes <= ROUND_EVERY or self.nodes % ROUND_EVERY == 0):
            self._round(node, x)
        if node.depth == 0:
            self.root_bound = node.bound
            if self.choices.fixing and node.bound < self.cut:
                self._fix(node, found)
        if node.bound >= self.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        free = (node.state == FREE) & (self.fixed == FREE)
        if not free.any():
            self._settle(node)
            return None
        return self._split(node, found, free)

    def _bound(self, node: Node) -> Minimum:
        """Minimise over a node's hull, in some with another function too, and raise its bound."""
        found = self._minimise(node, node.function)
        better = node.function
        if len(self.convex) > 1 and found.bound < self.cut and self.nodes % TRY_EVERY == 0:
            other = (node.function + 1) % len(self.convex)
            trial = self._minimise(node, other)
            if trial.bound > found.bound:
                found, better = trial, other
        if found.bound > node.bound:
            node.function = better
            if found.bound < np.inf:
                self.record.bounded(node.row, found.x, better)
            node.bound = found.bound
        return found

    def _minimise(self, node: Node, function: int) -> Minimum:
        tolerance = self.choices.node_tolerance
        found = vertices.minimise(
            self.convex[function],
            node.state,
            self.oracle,
            self.pool,
            node.active if self.choices.inherit else ActiveSet.empty(),
            self.cut,
            min(tolerance, ROOT_TOLERANCE) if node.depth == 0 else tolerance,
            self.limits.deadline,
        )
        self.steps += found.steps
        for vertex in found.met:
            self._offer_vertex(vertex)
        return found

    def _offer_vertex(self, vertex: Vector) -> None:
        if not self.choices.relaxed:
            self.offer(vertex == 0.0)
        elif ((vertex == 0.0) | (vertex == 1.0)).all():
            mask: Mask = vertex == 0.0
            if self.problem.legal.is_legal(mask):
                self.offer(mask)

    def _round(self, node: Node, x: Vector) -> None:
        """Offer the mask of the node nearest to x."""
        vertex = np.empty(len(x))
        if self.oracle.minimise(1.0 - 2.0 * x, node.state, vertex) < np.inf:
            self._offer_vertex(vertex)

    def _fix(self, node: Node, found: Minimum) -> None:
        """Cut off the other side of columns that x has at 0 or 1, where its bound allows."""
        function, x, vertex = self.convex[node.function], found.x, np.empty(len(found.x))
        value, gradient = function.at(x)
        base = value - float(gradient @ x)
        near = np.minimum(x, 1.0 - x) < INTEGRAL
        for j in np.flatnonzero(near & (node.state == FREE) & (self.fixed == FREE)):
            if self.limits.deadline.expired() or node.bound >= self.cut:
                return
            other, side = (KEPT, PRUNED) if x[j] > 0.5 else (PRUNED, KEPT)
            node.state[j] = other
            bound = base + self.oracle.minimise(gradient, node.state, vertex)
            if bound < np.inf:
                self._offer_vertex(vertex)
            node.state[j] = FREE
            if bound >= self.cut:
                self.least_leaf = min(self.least_leaf, bound)
                node.state[j] = side
                kept, pruned = self.record.split(node.row, int(j))
                node.row = pruned if side == PRUNED else kept

    def _settle(self, node: Node) -> None:
        """A node whose columns are all forced: its loss is its bound, if it has a mask."""
        mask: Mask = (node.state == KEPT) | (self.fixed == KEPT)
        self.record.settled(node.row)
        if self.problem.legal.is_legal(mask):
            self.offer(mask)
            self.least_leaf = min(self.least_leaf, self.problem.scaled_loss(mask))

    def _split(self, node: Node, found: Minimum, free: Mask) -> Node:
        """Put one child aside and return the other, that of the side that x is nearer to."""
        function = self.convex[node.function]
        j = choose(
            self.choices.branching,
            function,
            node,
            found.x,
            free,
            self.pseudo,
            self.oracle,
            self.cut,
        )
        kept, pruned = self.record.split(node.row, j)
        children = []
        for side, value, row in ((KEPT_SIDE, KEPT, kept), (PRUNED_SIDE, PRUNED, pruned)):
            state = node.state.copy()
            state[j] = value
            children.append(
                Node(
                    state, node.bound, found.active, row, node.function, j, side,
                    float(found.x[j]), node.depth + 1,
                )
            )  # fmt: skip
        first = PRUNED_SIDE if found.x[j] >= 0.5 else KEPT_SIDE
        self.open_nodes.put(children[1 - first])
        return children[first]

    def bound(self) -> float:
        """What open nodes and closed leaves leave, less the margin of rounding; at least 0."""
        least = min(self.least_leaf, self.loss, self.open_nodes.least_bound())
        return max(0.0, float(least) - self.margin) if np.isfinite(least) else 0.0

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return len(self.open_nodes)

    def gap(self) -> float:
        """Distance of bound and incumbent as a share of the incumbent's loss."""
        return relative_gap(self.loss, self.bound())

    def answer(self) -> Answer:
        """The incumbent, the bound and its proof."""
        problem, bound = self.problem, self.bound()
        proof = None
        if self.record.recording and self.nodes > 0:
            proof = PartProof(
                problem.row,
                problem.digest,
                problem.rescale(bound),
                self.mask,
                ProofKind.LEAVES,
                self.record.leaves(tuple(self.functions)),
                height=problem.height,
            )
        return Answer(
            self.mask,
            self.stop,
            self.loss if self.mask is not None else None,
            bound,
            counters={"nodes": self.nodes, "steps": self.steps, "oracle_calls": self.oracle.calls},
            notes={
                "oracle_s": self.oracle.seconds,
                "root_bound": problem.rescale(max(0.0, self.root_bound)),
            },
            proof=proof,
        )
