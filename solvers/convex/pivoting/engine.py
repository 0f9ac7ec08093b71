"""The search of a quadratic over few rows: subtrees by depth, of least bound first, on threads.

The open node of least bound is searched by depth for some hundred nodes (`pivoting.dive`); what is
left of its subtree goes back among the open ones. So the bound rises as with best-first search, and
most nodes begin with the tableau of their parent. Threads share the open nodes.
"""

import heapq
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from math import inf

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.layer import unit_exponent
from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.pivoting.dive import dive
from maskgap.solvers.convex.pivoting.improve import improve, repair
from maskgap.solvers.convex.pivoting.room import Dived, Open, Room, room_of
from maskgap.solvers.convex.pivoting.tableau import LOOSE
from maskgap.solvers.convex.result import Ended
from maskgap.solvers.convex.rules import Rules
from maskgap.solvers.convex.watched import Watched
from maskgap.solvers.kernels.cache import clock
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import CountedSet

MOST_ROWS = 30
MOST_VARIABLES = 500
"""Beyond, a tableau is large and the general search is tried instead."""

DIVE = 200
"""Nodes searched by depth below an open one, at most."""

SLICE_S = 1.0
"""Seconds that they may take, about: nothing ends a search before they are through."""

MOVES = 50
"""Of local search, before the clock is looked at."""

TOLERANCE, LEAST_TOLERANCE = 1e-9, 1e-13
"""By how much positions in a tableau may miss their sides for their sizes: at most, and of rows
with large entries at least."""

STARTS = 20
"""Vertices that local search begins from, at most."""

DEFINITE = 1e-10
"""Least eigenvalue of P as a share of the largest: tableaus of others lose too many digits."""


def suits(function: Watched, oracle: object) -> bool:
    """Whether a problem is a definite quadratic over few rows and finite bounds."""
    if function.quadratic is None or not isinstance(oracle, HighsSet):
        return False
    space = oracle.space
    finite = bool(np.isfinite(space.lower).all() and np.isfinite(space.upper).all())
    if not finite or len(oracle.rows.row_lower) > MOST_ROWS or space.n > MOST_VARIABLES:
        return False
    values = np.linalg.eigvalsh(function.quadratic.matrix)
    return bool(values[0] > DEFINITE * values[-1])


class PivotingSearch:
    """A search over one set; as `convex.search.Search` to those who call it."""

    def __init__(
        self,
        function: Watched,
        oracle: CountedSet,
        incumbent: Incumbent,
        rules: Rules,
        rows: LinearSet,
    ) -> None:
        if function.quadratic is None:
            raise TypeError("a quadratic is needed")
        form, space = function.quadratic, rows.space
        self.oracle, self.incumbent, self.rules = oracle, incumbent, rules
        self.nodes, self.root_bound, self.least_leaf = 0, -inf, inf
        # powers of two, so that tolerances of tableaus mean the same for every problem
        self._unit = 2.0 ** unit_exponent(float(form.matrix.diagonal().mean()))
        self._P = np.ascontiguousarray(form.matrix / self._unit)
        self._linear, self._constant = form.linear / self._unit, form.constant / self._unit
        dense = rows.matrix.toarray()
        largest = np.abs(dense).max(axis=1, initial=0.0)
        shares = np.array([2.0 ** -unit_exponent(value) for value in largest.tolist()])
        self._A: Matrix = np.ascontiguousarray(dense * shares[:, None])
        n, m = space.n, len(rows.row_lower)
        # so that points fit in the units of the rows as they were given
        own = np.clip(0.1 * incumbent.feasibility * shares, LEAST_TOLERANCE, TOLERANCE)
        self._sides = np.array(
            [
                np.concatenate([space.lower, shares * rows.row_lower]),
                np.concatenate([space.upper, shares * rows.row_upper]),
                np.concatenate([np.full(n, TOLERANCE), own]),
            ]
        )
        self._K = np.zeros((n + m, n + m))
        self._K[:n, :n] = 2.0 * self._P
        self._K[:n, n:], self._K[n:, :n] = -self._A.T, self._A
        spread = function.spread()
        self._spread = np.full(n, inf) if spread is None else spread * self._unit
        self._whole = space.integral
        self._heap: list[tuple[float, int, Open]] = []
        self._running: dict[Future[Dived], tuple[Open, int]] = {}
        self._count, self._pace = 0, 0.0
        self._put(Open(space.lower, space.upper, np.full(n + m, LOOSE, np.int8), -inf))

    @property
    def open_nodes(self) -> int:
        """Number of open nodes."""
        return len(self._heap) + len(self._running)

    def bound(self) -> float:
        """The least of open nodes and leaves, and of the best point."""
        least = min(self.least_leaf, self.incumbent.value)
        if self._heap:
            least = min(least, self._heap[0][0])
        return min([least, *(node.bound for node, _ in self._running.values())])

    def run(self) -> Ended:
        """Search to the end or to a limit.

        An interrupt can come anywhere, so a node goes on one list before it leaves another.
        """
        stop: Ended | None = None
        rooms = [room_of(len(self._linear), len(self._K)) for _ in range(self.rules.threads)]
        self._begin(rooms[0])
        with ThreadPoolExecutor(self.rules.threads) as pool:
            while self._heap or self._running:
                stop = stop or self.rules.stop(self.nodes)
                while stop is None and self._heap and rooms:
                    node, most = self._heap[0][2], self._most()
                    if node.bound >= self.incumbent.cut:
                        self.least_leaf = min(self.least_leaf, node.bound)
                    elif most > 0:
                        future = pool.submit(self._dive, node, rooms.pop(), most)
                        self._running[future] = node, most
                    else:
                        break  # those that run may come to the limit of nodes
                    heapq.heappop(self._heap)
                if not self._running:
                    break
                done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in done:
                    found = future.result()
                    rooms.append(found.room)
                    self._gather(found)
                    del self._running[future]
                self.incumbent.bounded(self.bound())
        if self._heap:
            return stop or Ended.STALLED
        return self.incumbent.ended(self.bound())

    def _most(self) -> int:
        """Nodes that the next dive may visit: within the limit, fewer where they take long."""
        left = self.rules.node_limit - self.nodes - sum(most for _, most in self._running.values())
        seconds = max(0.0, min(SLICE_S, self.rules.end - clock()))
        return int(min(DIVE, left, max(1.0, seconds / max(self._pace, 1e-9))))

    def _begin(self, room: Room) -> None:
        """The bound of the root, and points to begin with: vertices and what moves make of them."""
        if self.rules.stop(self.nodes) is not None:
            return
        root = self._heap[0][2]
        first = self._dive(root, room, 1)
        self.root_bound = min([first.least, *(node.bound for node in first.left)])
        # what it cut off is no better than the point that it found
        self._gather(first)
        self._heap = [entry for entry in self._heap if entry[2] is not root]
        heapq.heapify(self._heap)
        if not first.left or self._mend(room):
            return
        x, lower, upper = np.zeros(len(self._linear)), root.lower, root.upper
        for _ in range(STARTS):
            if self.rules.late():
                return
            found = self.oracle.minimise(2.0 * (self._P @ x) + self._linear, lower, upper)
            if found is None or found.point is None:
                break
            x = found.point.copy()
            self._improve(x, room)
            if not self.incumbent.offer(x):
                break

    def _mend(self, room: Room) -> bool:
        """Offer what moves make of the point nearest to 0; whether that gave one."""
        n, sides = len(self._linear), self._sides
        x = np.clip(np.zeros(n), sides[0, :n], sides[1, :n])
        if not repair(self._P, self._linear, self._A, sides[0], sides[1], self._whole, x):
            return False
        self._improve(x, room)
        return self.incumbent.offer(x)

    def _improve(self, x: Vector, room: Room) -> None:
        """Move whole variables while that helps, then find the best others; in place."""
        self._move(x)
        if self._whole.all():
            return
        lower, upper = self._sides[0, : len(x)].copy(), self._sides[1, : len(x)].copy()
        lower[self._whole] = upper[self._whole] = x[self._whole]
        state = np.full(len(self._K), LOOSE, np.int8)
        found = self._dive(Open(lower, upper, state, -inf), room, 1)
        if found.point is not None:
            x[:] = found.point

    def _move(self, x: Vector) -> None:
        """Move whole variables while that helps and time is left, in place."""
        sides = self._sides
        while not self.rules.late():
            made = improve(
                self._P, self._linear, self._A, sides[0], sides[1], self._whole, x, MOVES
            )
            if made < MOVES:
                return

    def _gather(self, found: Dived) -> None:
        self.nodes += found.nodes
        self._pace = found.seconds / max(1, found.nodes)
        self.least_leaf = min(self.least_leaf, found.least)
        if found.point is not None and found.value < self.incumbent.value:
            point = found.point.copy()
            self._move(point)
            self.incumbent.offer(found.point)
            self.incumbent.offer(point)
        for node in found.left:
            self._put(node)

    def _put(self, node: Open) -> None:
        if node.bound >= self.incumbent.cut:
            self.least_leaf = min(self.least_leaf, node.bound)
            return
        self._count += 1
        heapq.heappush(self._heap, (node.bound, -self._count, node))

    def _dive(self, node: Open, room: Room, most: int) -> Dived:
        begun, point = clock(), np.full(len(self._linear), np.nan)
        known, allowed = self.incumbent.value / self._unit, self.incumbent.absolute
        nodes, value, least, left = dive(
            self._P, self._linear, self._A, self._K, self._whole, self._spread, self._sides,
            (node.state, node.lower, node.upper, node.bound / self._unit),
            (float(self.incumbent.relative), float(allowed / self._unit), self._constant),
            point, known, most, room.frames, room.left,
        )  # fmt: skip
        states, lows, highs, bounds = room.left
        handed = [
            Open(lows[i].copy(), highs[i].copy(), states[i].copy(), self._unit * bounds[i])
            for i in range(left)
        ]
        better = None if np.isnan(point).any() else point
        return Dived(
            nodes, self._unit * value, better, self._unit * least, handed, room, clock() - begun
        )
