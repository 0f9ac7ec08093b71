"""Branch and bound over boxes, with node problems on hulls of mixed-integer points.

After Boscia (Hendrych, Troppens, Besançon, Pokutta, arXiv 2208.11010): the relaxation of a node is
min f over the convex hull of the set's points in its box, by Frank-Wolfe steps that see the set
through its oracle alone (`convex.hull`). Every vertex is a point of the set, and so a candidate.
A node is minimised only as precisely as closing or splitting it needs.

The bound of the search is the least of those of open nodes and closed leaves.
"""

import heapq
from dataclasses import dataclass
from math import inf

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.solvers.convex.branching import (
    PseudoCosts,
    Situation,
    Split,
    choose,
    fractional,
    widest,
)
from maskgap.solvers.convex.hull import STARTS, Hulls, Minimum, Place, Until
from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.result import Ended
from maskgap.solvers.convex.rules import Rules
from maskgap.solvers.convex.tighten import tighten
from maskgap.solvers.convex.watched import Unsound, Watched
from maskgap.solvers.frank_wolfe.pool import ActiveSet
from maskgap.solvers.oracles.mixed.protocol import CountedSet

NODE_TOLERANCE = 0.3
"""A node is left when its gap is this share of what its value lacks to close it."""

ROOT_TOLERANCE = 1e-3

FINE = 0.2
"""Share of the gap asked for that the problem of a node with a whole point may leave."""

POLISH_CALLS = 30
"""Oracle calls for the best point with given whole values."""

ROUND_EVERY = 8

STARTS_BELOW = 8
"""As `hull.STARTS`, below the root."""


@dataclass(eq=False, slots=True)
class Node:
    """An open node. bound: inherited. split: that made it, None at the root; up: its side."""

    lower: Vector
    upper: Vector
    bound: float
    active: ActiveSet
    depth: int = 0
    split: Split | None = None
    up: bool = False


class Search:
    """A search over one set. nodes: visited so far; root_bound: of the first."""

    def __init__(
        self, function: Watched, oracle: CountedSet, incumbent: Incumbent, rules: Rules
    ) -> None:
        self.function, self.oracle, self.incumbent, self.rules = function, oracle, incumbent, rules
        self.hulls = Hulls(function, oracle, self._met)
        self.nodes, self.root_bound, self.least_leaf = 0, -inf, inf
        self._pseudo = PseudoCosts(function.n)
        self._heap: list[tuple[float, int, Node]] = []
        self._count = 0
        self._polished: set[bytes] = set()
        self._empty: list[Node] = []  # left out as empty before there was a point
        space = oracle.space
        self._mixed = bool((~space.integral).any()) and bool(space.integral.any())
        self._inside: Node | None = Node(
            space.lower.copy(), space.upper.copy(), -inf, ActiveSet.empty()
        )

    @property
    def open_nodes(self) -> int:
        """Number of open nodes."""
        return len(self._heap) + (self._inside is not None)

    def bound(self) -> float:
        """The least of open nodes and leaves, and of the best point."""
        least = min(self.least_leaf, self.incumbent.value)
        if self._heap:
            least = min(least, self._heap[0][0])
        return least if self._inside is None else min(least, self._inside.bound)

    def run(self) -> Ended:
        """Search to the end or to a limit."""
        while self._inside is not None or self._heap:
            stop = self.rules.stop(self.nodes)
            if stop is not None:
                return stop
            node = self._inside
            if node is None:
                node = self._inside = self._heap[0][2]  # counted twice rather than not at all
                heapq.heappop(self._heap)
            following = self._visit(node)
            self._inside = following
            self.incumbent.bounded(self.bound())
        ended = self.incumbent.ended(self.bound())
        if ended is Ended.INFEASIBLE and not all(
            self.oracle.shows_empty(node.lower, node.upper) for node in self._empty
        ):
            return Ended.INFEASIBLE_CLAIMED
        return ended

    def _visit(self, node: Node) -> Node | None:
        """Bound a node, then close it or split it; returns the child to go on with."""
        if node.bound >= self.incumbent.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        self.nodes += 1
        if node.depth == 0 and self.function.quadratic is None:
            self.hulls.probe(Place(node.lower, node.upper, node.active))
        inherited = node.bound
        found = self._minimise(node)
        self._pseudo.learn(node.split, node.up, found.bound - inherited)
        node.bound = max(node.bound, found.bound)
        if node.depth == 0:
            self.root_bound = node.bound
        if found.outside:
            return self._beyond(node, found)
        if found.minorant is None or found.vertex is None:
            if found.bound == inf:
                self._leave_out(node)
                return None
            if self.rules.late():
                return node
            self.least_leaf = min(self.least_leaf, node.bound)  # its oracle does not know
            return None
        if node.bound < self.incumbent.cut:
            self._heuristics(node, found)
        if node.bound >= self.incumbent.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        if self.rules.late():
            return node
        tightened = tighten(node, found, self.function, self.oracle.space, self.incumbent.cut)
        if tightened:
            self.least_leaf = min(self.least_leaf, self.incumbent.cut)
            if (node.lower > node.upper).any():
                return None
        situation = Situation(
            found.x, node.lower, node.upper, self.oracle.space.integral,
            self.function.curvature(), found.minorant, node.bound, node.depth,
        )  # fmt: skip
        split = choose(self.rules.branching, situation, self._pseudo, self.oracle)
        if split is None and tightened:
            return node  # its box is one slice now, which was not looked at by itself
        if split is None:
            self.least_leaf = min(self.least_leaf, node.bound)
            return None
        return self._split(node, found.active, split)

    def _beyond(self, node: Node, found: Minimum) -> Node | None:
        """Go on below a node where f is infinite as far as was tried, which proves nothing of it.

        Only a point alone is left out for that: it is not in the domain of f.
        """
        if node.depth == 0:
            raise Unsound("the objective is infinite at every point of the set that was tried")
        free = self.oracle.space.integral & (node.lower < node.upper)
        if free.any():
            split = widest(found.x, node.lower, node.upper, free)
            return self._split(node, ActiveSet.empty(), split)
        if self._mixed:
            self.least_leaf = min(self.least_leaf, node.bound)
        self._leave_out(node)
        return None

    def _leave_out(self, node: Node) -> None:
        """Note a node without points, as long as the whole set may have none."""
        if self.incumbent.x is None:
            self._empty.append(node)
        else:
            self._empty.clear()

    def _minimise(self, node: Node) -> Minimum:
        integral = self.oracle.space.integral
        until = Until(
            cut=lambda: self.incumbent.cut,
            late=self.rules.late,
            whole=lambda x: not fractional(x, integral).any(),
            tolerance=ROOT_TOLERANCE if node.depth == 0 else NODE_TOLERANCE,
            fine=lambda value: FINE * self.incumbent.allowed(value),
            starts=STARTS if node.depth == 0 else STARTS_BELOW,
        )
        return self.hulls.minimise(Place(node.lower, node.upper, node.active), until)

    def _split(self, node: Node, active: ActiveSet, split: Split) -> Node:
        """Put one child aside and return the other, that of the side that x is nearer to."""
        children = []
        for up in (False, True):
            lower, upper = node.lower.copy(), node.upper.copy()
            if up:
                lower[split.variable] = split.below + 1.0
            else:
                upper[split.variable] = split.below
            children.append(Node(lower, upper, node.bound, active, node.depth + 1, split, up))
        first = int(split.share >= 0.5)
        aside = children[1 - first]
        self._count += 1
        heapq.heappush(self._heap, (aside.bound, -self._count, aside))
        return children[first]

    def _met(self, vertex: Vector) -> None:
        self.incumbent.offer(vertex)

    def _heuristics(self, node: Node, found: Minimum) -> None:
        """Offer the point of the node where it is whole, else what rounding makes of it."""
        integral = self.oracle.space.integral
        if not fractional(found.x, integral).any():
            self.incumbent.offer(found.x)
        if node.depth == 0:
            self._follow(node)
        if self.nodes <= ROUND_EVERY or self.nodes % ROUND_EVERY == 0:
            self._fix_and_minimise(np.round(found.x))
        if self.incumbent.x is not None:
            self._fix_and_minimise(self.incumbent.x)

    def _follow(self, node: Node) -> None:
        """Vertices along the gradients of vertices, as far as they are better."""
        for _ in range(10):
            best = self.incumbent.x
            if best is None or self.rules.late():
                return
            _, gradient = self.function.at(best)
            found = self.oracle.minimise(gradient, node.lower, node.upper)
            if found is None or found.point is None or not self.incumbent.offer(found.point):
                return

    def _fix_and_minimise(self, whole: Vector) -> None:
        """The best point with the integral values of one; each such choice is looked at once."""
        space = self.oracle.space
        values = whole[space.integral]
        key = values.tobytes()
        if key in self._polished or not space.integral.any() or self.rules.late():
            return
        self._polished.add(key)
        lower, upper = space.lower.copy(), space.upper.copy()
        lower[space.integral] = upper[space.integral] = values
        if (values < space.lower[space.integral]).any() or (
            values > space.upper[space.integral]
        ).any():
            return
        if not self._mixed:
            self.incumbent.offer(whole)
            return
        until = Until(
            cut=lambda: self.incumbent.cut,
            late=self.rules.late,
            whole=lambda x: True,
            tolerance=0.0,
            fine=lambda value: FINE * self.incumbent.allowed(value),
            calls=POLISH_CALLS,
        )
        found = self.hulls.minimise(Place(lower, upper, ActiveSet.empty()), until)
        if found.minorant is not None:
            self.incumbent.offer(found.x)
