"""Frank-Wolfe branch and bound on a convex reformulation (after Boscia, arXiv 2208.11010).

The loss is replaced by a convex F that equals it on every legal mask and whose minimum over the
hull is the bound of the semidefinite relaxation (`bounds.semidefinite`, `bounds.convexify`). Each
node minimises F over the hull of its legal masks by pairwise Frank-Wolfe steps; its bound is
F(x) minus the Frank-Wolfe gap, its rounded x an incumbent. The tree is searched depth first, the
branching column is the one of largest min(x_j, 1 - x_j) P_jj, and gradients fix columns
(`frank_wolfe.search`). The answer carries a proof: the tree, and one x for each leaf.

Nodes grow exponentially with n; their cost is that of a few n^2 operations. The search is one
thread. When it is interrupted, the bound is the least over open nodes and closed leaves.

Importing this module compiles the kernels (a quarter of a minute once, then they are cached on
disk), so that no run and no deadline ever pays for it: a run's process is forked after the import.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from instances.errors import InputError
from instances.groups import Mask, Matrix, Vector
from instances.problem import RowProblem
from instances.proof import ConvexFunction, Leaves, ProofKind, RowProof
from solvers.base import Answer, Limits, Stop
from solvers.bounds import convexify
from solvers.bounds.semidefinite import solve_sdp
from solvers.frank_wolfe.masks import descend
from solvers.frank_wolfe.search import preorder, search
from solvers.scores import starting_mask

GAP_SHARE = 0.5
"""Share of the gap asked for at which nodes close; the rest is for rounding margins."""

PROOF_BYTES = 1 << 30
"""A proof whose points would take more is given up, and the bound stays a claim."""

SLICE_S = 0.05
"""Seconds between two looks at the deadline, roughly."""


def _empty_table(rows: int = 1 << 12) -> NDArray[np.int32]:
    return np.full(rows, -1, np.int32)


@dataclass(eq=False)
class _Tree:
    """The table of the search (see `frank_wolfe.search`), grown by doubling."""

    n: int
    recording: bool = True
    column: NDArray[np.int32] = field(default_factory=_empty_table)
    kept: NDArray[np.int32] = field(default_factory=_empty_table)
    pruned: NDArray[np.int32] = field(default_factory=_empty_table)
    point: NDArray[np.int32] = field(default_factory=_empty_table)
    used: NDArray[np.int64] = field(default_factory=lambda: np.array([1, 0], np.int64))
    points: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.points = np.zeros((256, self.n), np.float32)

    def grow(self) -> None:
        """Double what is nearly full; give the record up when it would be too large."""
        if self.used[0] + 3 * self.n + 8 > len(self.column):
            more = _empty_table(max(len(self.column), 4 * self.n))
            for name in ("column", "kept", "pruned", "point"):
                setattr(self, name, np.concatenate([getattr(self, name), more]))
        if self.used[1] + 1 > len(self.points):
            if 2 * self.points.nbytes > PROOF_BYTES:
                self.recording = False
                self.points = np.zeros((1, self.n), np.float32)
            else:
                self.points = np.concatenate([self.points, np.zeros_like(self.points)])

    def leaves(self, function: ConvexFunction) -> Leaves:
        """The tree in preorder with the points that leaves refer to."""
        branch, point = preorder(self.column, self.kept, self.pruned, self.point, int(self.used[0]))
        needed, compact = np.unique(point, return_inverse=True)
        offset = int(np.searchsorted(needed, 0))
        return Leaves(
            functions=(function,),
            branch=branch,
            function=np.where(point >= 0, 0, -1).astype(np.int16),
            point=np.where(point >= 0, compact - offset, -1).astype(np.int32),
            points=self.points[needed[needed >= 0]],
        )


@dataclass(frozen=True)
class FwBnb:
    """warm_start: score of the first incumbent. max_nodes: nodes at most, -1: no limit."""

    warm_start: str = "wanda"
    max_nodes: int = -1

    def solve(self, problem: RowProblem, limits: Limits, seed: int) -> Answer:
        """Mask, bound with proof, nodes and steps. Raises InputError for a bad setting."""
        if self.max_nodes < -1:
            raise InputError(f"fw-bnb: max_nodes is {self.max_nodes}, expected -1 or more")
        start = starting_mask(problem, self.warm_start, seed)
        groups, quad = problem.groups, problem.quad
        if limits.deadline.expired():
            return Answer(
                start,
                limits.deadline.stop(),
                None if start is None else problem.scaled_loss(start),
            )
        with limits.journal.phase("build"):
            relaxation = solve_sdp(quad, groups, limits.deadline)
            function = convexify.repair(quad, groups, relaxation.function)
            matrix, linear, _ = convexify.quadratic(quad, groups, function)
            best = groups.prune_lowest(-relaxation.point)
            candidates = [best] if start is None else [best, start]
        tree_search = _Search(problem, limits, function, matrix, linear)
        for mask in candidates:
            tree_search.offer(mask)
        tree_search.run(self.max_nodes)
        return tree_search.answer()


class _Search:
    """One search: stack, incumbent and tree."""

    def __init__(
        self,
        problem: RowProblem,
        limits: Limits,
        function: ConvexFunction,
        matrix: Matrix,
        linear: Vector,
    ) -> None:
        n, groups = problem.n, problem.groups
        self.problem, self.limits, self.function = problem, limits, function
        self.matrix, self.linear = matrix, linear
        depth = 2 * n + 4
        self.state = np.zeros((depth, n), np.int8)
        self.x = np.zeros((depth, n))
        self.x[0] = groups.pruned / groups.size
        self.bounds = np.full(depth, -np.inf)
        self.numbers = np.zeros(depth, np.int32)
        self.top = 1
        self.best = np.zeros(n)
        self.loss = np.inf
        self.least_leaf = np.inf
        self.tree = _Tree(n)
        self.nodes = self.steps = 0
        self.stop = Stop.FINISHED

    def offer(self, mask: Mask) -> None:
        """Take a legal mask as a start, improved by a 1-swap descent."""
        z = (~mask).astype(np.float64)
        loss = descend(self.problem.quad, self.problem.groups.size, z)
        if loss < self.loss:
            self.best, self.loss = z, loss
            self.limits.journal.incumbent(z == 0.0, loss)

    def run(self, max_nodes: int) -> None:
        """Search in slices until the tree is done or a limit ends it."""
        groups, journal, deadline = self.problem.groups, self.limits.journal, self.limits.deadline
        slice_nodes = 16
        while self.top > 0:
            if deadline.expired():
                self.stop = deadline.stop()
                return
            if 0 <= max_nodes <= self.nodes:
                self.stop = Stop.NODES
                return
            most = slice_nodes if max_nodes < 0 else min(slice_nodes, max_nodes - self.nodes)
            before, left = self.loss, deadline.remaining()
            tree = self.tree
            self.top, self.loss, self.least_leaf, nodes, steps = search(
                self.matrix, self.linear, self.problem.quad, groups.size, groups.pruned,
                GAP_SHARE * self.limits.gap, self.state, self.x, self.bounds, self.numbers,
                self.top, self.best, self.loss, self.least_leaf, tree.column, tree.kept,
                tree.pruned, tree.point, tree.points, tree.used, tree.recording, most,
            )  # fmt: skip
            tree.grow()
            self.nodes, self.steps = self.nodes + nodes, self.steps + steps
            if left - deadline.remaining() < SLICE_S:
                slice_nodes *= 2
            elif slice_nodes > 1:
                slice_nodes //= 2
            if self.loss < before:
                journal.incumbent(self.best == 0.0, self.loss)
            journal.bound(self.bound())

    def bound(self) -> float:
        """What open nodes and closed leaves leave, less the margin of rounding; at least 0."""
        groups, quad = self.problem.groups, self.problem.quad
        least = min(self.least_leaf, self.loss, *self.bounds[: self.top])
        margin = convexify.rounding_margin(quad, groups, self.function)
        return max(0.0, float(least) - margin)

    def answer(self) -> Answer:
        """The incumbent, the bound and its proof."""
        problem, bound = self.problem, self.bound()
        mask = self.best == 0.0
        proof = None
        if self.tree.recording and self.nodes > 0:
            proof = RowProof(
                problem.row,
                problem.digest,
                problem.rescale(bound),
                mask,
                ProofKind.LEAVES,
                self.tree.leaves(self.function),
            )
        return Answer(
            mask,
            self.stop,
            self.loss,
            bound,
            counters={"nodes": self.nodes, "steps": self.steps},
            proof=proof,
        )


def _compile() -> None:
    """Compile the kernels, or load them from their cache, on a row of two columns."""
    problem = np.eye(2)
    tree = _Tree(2)
    z = np.array([1.0, 0.0])
    descend(problem, 2, z)
    search(
        problem, np.zeros(2), problem, 2, 1, 1e-6, np.zeros((8, 2), np.int8), np.full((8, 2), 0.5),
        np.full(8, -np.inf), np.zeros(8, np.int32), 1, z, 1.0, np.inf, tree.column, tree.kept,
        tree.pruned, tree.point, tree.points, tree.used, True, 4,
    )  # fmt: skip
    preorder(tree.column, tree.kept, tree.pruned, tree.point, int(tree.used[0]))


_compile()
