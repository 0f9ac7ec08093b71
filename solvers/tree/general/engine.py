"""Branch and bound of any objective over any set of masks, seen through an oracle alone.

A node fixes columns. Its bound is that of the objective's convex functions, minimised over the hull
of its masks (`frank_wolfe.vertices`) with the vertices that the search has met, so that many a node
asks its oracle but once or twice; each vertex is a legal mask, and so an incumbent. The bound is
that of an affine minorant c + g . z of the loss, whose witness a proof keeps.

    hull = convex       the hull of the masks, by a set's own oracle or a mixed-integer solver's
    hull = relaxation   the linear relaxation of the set's rows (`oracles.relaxation`): larger, and
                        its vertices may be fractional; for comparison

Fixing. A side of a column is cut off where c + min over it of g . v reaches the incumbent. Where
the set knows these minima in closed form (`MaskSet.rises`), that is done in every node; elsewhere
it takes an oracle call a column, which pays in the root alone, for columns that x has at 0 or 1.

It runs as Python: an oracle call costs from a tenth of a millisecond up, the steps are compiled
where the function is a quadratic.
"""

import numpy as np

from maskgap.instances.arrays import Flags, Kept, Vector, pruned_of
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Part
from maskgap.solvers.frank_wolfe import vertices
from maskgap.solvers.frank_wolfe.pool import ActiveSet, Pool
from maskgap.solvers.frank_wolfe.vertices import Minimum
from maskgap.solvers.objectives.protocol import Minorant, Objective, RecordedTree
from maskgap.solvers.oracles.make import RELAXATION, make_oracle
from maskgap.solvers.oracles.protocol import Counted
from maskgap.solvers.protocol import Limits, Stop
from maskgap.solvers.tree.choices import TRY_EVERY, Choices
from maskgap.solvers.tree.engine import Engine
from maskgap.solvers.tree.general.branching import INTEGRAL, PseudoCosts, Split, choose
from maskgap.solvers.tree.general.nodes import KEPT_SIDE, PRUNED_SIDE, Node, OpenNodes
from maskgap.solvers.tree.general.record import TreeRecord

ROUND_EVERY = 8
"""x is rounded at the first ROUND_EVERY nodes, then at one in so many."""

ROOT_TOLERANCE = 1e-3
"""Node tolerance of the root, at most: all nodes inherit its bound and its vertices."""


class GeneralEngine(Engine):
    """A search over the masks of one part, one node at a time."""

    def __init__(self, part: Part, objective: Objective, limits: Limits, choices: Choices) -> None:
        super().__init__(part, objective, limits, choices)
        n, self._relaxed = part.n, choices.hull == "relaxation"
        kind = RELAXATION if self._relaxed else choices.oracle
        self.oracle = Counted(make_oracle(kind, part.legal, limits.deadline, limits.threads))
        self._fixed = part.legal.linear_rows().state
        self._pool, self._record = Pool(n), TreeRecord(4 * n, choices.most_bytes)
        self._open: OpenNodes[Node] = OpenNodes(choices.traversal == "depth-first")
        self._pseudo = PseudoCosts(n)
        self._root_bound = -np.inf
        self._looked_at: set[bytes] = set()
        last = len(objective.functions) - 1
        self._open.put(Node(np.full(n, FREE, np.int8), -np.inf, ActiveSet.empty(), 0, last))

    def take_functions(self) -> None:
        """See `Engine`."""
        for node in self._open:
            node.function = len(self.objective.functions) - 1

    @property
    def open(self) -> int:
        """Number of open nodes."""
        return len(self._open)

    def least_open(self) -> float:
        """See `Engine`."""
        return self._open.least_bound()

    def tree(self) -> RecordedTree | None:
        """See `Engine`."""
        return self._record.tree()

    def notes(self) -> dict[str, str | float]:
        """Seconds in the oracle, and the bound of the root in units of the layer's loss."""
        root = max(self.objective.least, self._root_bound)
        return {"oracle_s": self.oracle.seconds, "root_bound": self.part.rescale(root)}

    def offer(self, mask: Kept) -> None:
        """See `Engine`; masks that were met before are told by their bits."""
        key = np.packbits(mask).tobytes()
        if key not in self._looked_at:
            self._looked_at.add(key)
            super().offer(mask)

    def run(self, max_nodes: int) -> None:
        """See `Engine`."""
        deadline, dive = self.limits.deadline, None
        node_bytes = 40 * self.part.n + 400
        self.stop = Stop.FINISHED
        while dive is not None or len(self._open):
            if deadline.expired():
                self.stop = deadline.stop()
            elif 0 <= max_nodes <= self.nodes:
                self.stop = Stop.NODES
            elif len(self._open) * node_bytes > self.choices.most_bytes:
                self.stop = Stop.MEMORY
            if self.stop is not Stop.FINISHED:
                break
            node = self._open.take() if dive is None else dive
            dive = self._visit(node)
            self.calls = self.oracle.calls
            if dive is not None and self.choices.traversal == "best-first":
                self._open.put(dive)
                dive = None
            if dive is None:
                self.report()
        if dive is not None:
            self._open.put(dive)

    def _visit(self, node: Node) -> Node | None:
        """Bound a node, then close it or split it; returns the child to go on with."""
        if node.bound >= self.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        self.nodes += 1
        inherited = node.bound
        found = self._bound(node)
        self._pseudo.learn(node, found.bound - inherited)
        if self.limits.deadline.expired() and found.bound < self.cut:
            self._open.put(node)  # as far as it came
            return None
        if found.minorant is None:
            return None  # it has no mask; its parent's point stands for it
        rounds = self.nodes <= ROUND_EVERY or self.nodes % ROUND_EVERY == 0
        if self.choices.rounding and rounds:
            self._round(node, found.x)
        if node.depth == 0:
            self._root_bound = node.bound
        if node.bound < self.cut:
            self._force(node, found, found.minorant, found.bound > inherited)
        if node.bound >= self.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        free: Flags = (node.state == FREE) & (self._fixed == FREE)
        if not free.any():
            self._settle(node)
            return None
        return self._split(node, found, found.minorant, free)

    def _bound(self, node: Node) -> Minimum:
        """Minimise over a node's hull, in some with another function too, and raise its bound."""
        found = self._minimise(node, node.function)
        better, count = node.function, len(self.objective.functions)
        if count > 1 and found.bound < self.cut and self.nodes % TRY_EVERY == 0:
            other = (node.function + 1) % count
            trial = self._minimise(node, other)
            if trial.bound > found.bound:
                found, better = trial, other
        if found.bound > node.bound:
            node.function = better
            if found.minorant is not None:
                self._record.bounded(node.row, found.minorant.witness, better)
            node.bound = found.bound
        return found

    def _minimise(self, node: Node, function: int) -> Minimum:
        tolerance = self.choices.node_tolerance
        if node.depth == 0:
            tolerance = min(tolerance, ROOT_TOLERANCE)
        active = node.active if self.choices.inherit else ActiveSet.empty()
        found = vertices.minimise(
            self.objective.functions[function],
            node.state,
            self.oracle,
            vertices.Start(self._pool, active),
            vertices.Until(self.limits.deadline, self.cut, tolerance),
        )
        self.steps += found.steps
        for vertex in found.met:
            self._offer_vertex(vertex)
        return found

    def _offer_vertex(self, vertex: Vector) -> None:
        if not self._relaxed:
            self.offer(vertex == 0.0)
        elif ((vertex == 0.0) | (vertex == 1.0)).all():
            mask = Kept(vertex == 0.0)
            if self.part.legal.is_legal(mask):
                self.offer(mask)

    def _round(self, node: Node, x: Vector) -> None:
        """Offer the mask of the node nearest to x."""
        vertex = np.empty(len(x))
        if self.oracle.minimise(1.0 - 2.0 * x, node.state, vertex) < np.inf:
            self._offer_vertex(vertex)

    def _force(self, node: Node, found: Minimum, minorant: Minorant, raised: bool) -> None:
        """Force columns whose other side has no mask, or is cut off by what raised the bound."""
        rises = self.part.legal.rises(minorant.linear, node.state)
        fixing = self.choices.fixing and raised
        if rises is not None:
            _take_last_sides(node, *rises)
            if fixing:
                self._fix_by_rises(node, *rises)
        elif fixing and node.depth == 0:
            self._fix_by_calls(node, found.x, minorant)

    def _fix_by_rises(self, node: Node, if_pruned: Vector, if_kept: Vector) -> None:
        for rise, side in ((if_pruned, KEPT), (if_kept, PRUNED)):
            for j in np.flatnonzero((node.state == FREE) & (node.bound + rise >= self.cut)):
                self._cut_off(node, int(j), side, node.bound + float(rise[j]))
        # with fewer free columns, more may be left one side only
        rises = self.part.legal.rises(np.zeros(self.part.n), node.state)
        if rises is not None:
            _take_last_sides(node, *rises)

    def _fix_by_calls(self, node: Node, x: Vector, minorant: Minorant) -> None:
        vertex, near = np.empty(len(x)), np.minimum(x, 1.0 - x) < INTEGRAL
        for j in np.flatnonzero(near & (node.state == FREE) & (self._fixed == FREE)):
            if self.limits.deadline.expired() or node.bound >= self.cut:
                return
            other, side = (KEPT, PRUNED) if x[j] > 0.5 else (PRUNED, KEPT)
            node.state[j] = other
            bound = minorant.constant + self.oracle.minimise(minorant.linear, node.state, vertex)
            if bound < np.inf:
                self._offer_vertex(vertex)
            node.state[j] = FREE
            if bound >= self.cut:
                self._cut_off(node, int(j), side, bound)

    def _cut_off(self, node: Node, column: int, side: int, bound: float) -> None:
        """Go on with one side of a column; the other is a leaf of a bound that closes it."""
        self.least_leaf = min(self.least_leaf, bound)
        node.state[column] = side
        kept, pruned = self._record.split(node.row, column)
        node.row = pruned if side == PRUNED else kept

    def _settle(self, node: Node) -> None:
        """A node whose columns are all forced: its loss is its bound, if it has a mask."""
        mask = Kept((node.state == KEPT) | (self._fixed == KEPT))
        stated, legal = self.objective.states_masks, self.part.legal.is_legal(mask)
        if stated:
            self._record.settled(node.row)
        if not legal:
            return
        self.offer(mask)
        bound = self.objective.exact(mask)
        if not stated:
            z = pruned_of(mask).astype(np.float64)
            at = self.objective.functions[node.function].minorant(z)
            self._record.bounded(node.row, at.witness, node.function)
            bound = at.constant + float(at.linear @ z)
        self.least_leaf = min(self.least_leaf, bound)

    def _split(self, node: Node, found: Minimum, minorant: Minorant, free: Flags) -> Node:
        """Put one child aside and return the other, that of the side that x is nearer to."""
        curvature = self.objective.functions[node.function].curvature()
        split = Split(found, minorant, free, curvature, self.cut)
        j = choose(self.choices.branching, node, split, self._pseudo, self.oracle)
        kept, pruned = self._record.split(node.row, j)
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
        self._open.put(children[1 - first])
        return children[first]


def _take_last_sides(node: Node, if_pruned: Vector, if_kept: Vector) -> None:
    """Force columns one of whose sides has no mask, by the rises of both.

    That side goes without a leaf: what is left says the same.
    """
    free = node.state == FREE
    node.state[free & (if_pruned == np.inf)] = KEPT
    node.state[free & (if_kept == np.inf)] = PRUNED
