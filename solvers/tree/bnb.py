"""Frank-Wolfe branch and bound on convex reformulations (after Boscia, arXiv 2208.11010).

The loss is replaced by convex functions F that equal it on every legal mask, or with triangle
inequalities lie below it there (`bounds.reformulate`). Each node minimises F over the hull of its
legal masks by Frank-Wolfe steps; its bound is F(x) minus the Frank-Wolfe gap, its rounded x an
incumbent, and gradients fix columns (`tree.search`). Triangles cost more than a small tree,
so they come when a search has outgrown its first nodes and its gap is still wide. The answer
carries a proof: the tree, and one x for each leaf (`tree.record`).

Equal budget groups are searched by compiled code that knows their hull (`tree.search`), all
other sets of masks through their oracle (`tree.general`).

Nodes grow exponentially with n; their cost is that of a few n^2 operations. When the search is cut
short, the bound is the least over open nodes and closed leaves; the hybrid traversal always takes
up the node of least bound next and dives from there, so that this bound keeps rising.

Kernels are compiled by `FwBnb.warm_ups`, off every clock and limit.
"""

from collections.abc import Callable, Sequence

import numpy as np

from maskgap.instances.arrays import Mask
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.bounds import triangles
from maskgap.solvers.bounds.reformulate import Method, reformulate
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.frank_wolfe import vertices
from maskgap.solvers.frank_wolfe.rules import (
    BRANCHING,
    TRAVERSALS,
    VARIANTS,
    Branching,
    Heuristics,
    Hull,
    Rules,
    Traversal,
    Variant,
)
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.memetic.improve import Found
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.one_shot.scores import starting_mask
from maskgap.solvers.oracles.make import OracleName
from maskgap.solvers.protocol import Answer, Deadline, Limits
from maskgap.solvers.settings import Count, Limit, NotNegative, Positive, WarmStart, settings
from maskgap.solvers.tree import frontier
from maskgap.solvers.tree.general import Choices, GeneralSearch
from maskgap.solvers.tree.tree import TreeSearch

GAP_SHARE = 0.5
"""Share of the gap asked for at which nodes close; the rest is for rounding margins."""

SOME = Effort()
MANY = Effort(rounds=16, most=3000, least=0.05)
STAGES = ((1, 0.16, MANY, 128), (1, 0.10, SOME, 128), (40, 0.0, MANY, 512))
"""After how many times `triangle_nodes` nodes, and from which gap on, what effort is made, and in
what population masks are searched for again.

Deep in the tree a triangle takes more off the function than it brings, so a search that will soon
end does without; one whose bound has far to rise has them early. A stage that asks for no more
effort than was made is passed over.
"""

GENERAL_SHARE = 0.1
"""Of `triangle_nodes`: in the general search nodes cost many times as much."""

GENERAL_GAP = 0.02
"""Gap from which on triangles are made in the general search."""

GENERAL_POPULATION = 16
"""Last population of the search for a mask before a general search, which improves none itself."""

SMALL_PART = 32
"""Columns up to which one descent is enough before a general search."""

FIRST_POPULATION = 32
"""Last population of the first search for a mask; it takes a small part of the time of the SDP."""

MIB = 1 << 20


@settings
class FwBnb:
    """The search. For equal groups the hull of the masks and that of their rows are the same.

    Sets other than equal groups: oracle closed-form is the set's own, triangle_nodes counts for a
    tenth, and the variant is blended pairwise, lazy, whatever the settings say.
    """

    warm_start: WarmStart = "wanda"
    """Score of the first incumbent, unless a mask is given."""
    convexify: Method = "sdp-triangles"
    """How much is spent on the convex functions (`bounds.reformulate`)."""
    triangle_nodes: Count = 2000
    """Nodes after which triangles are thought of; 0: at once and once only."""
    oracle: OracleName = "closed-form"
    """Linear minimisation oracle of the set of masks."""
    variant: Variant = "decomposition-invariant"
    """Frank-Wolfe method that minimises a node."""
    lazy: bool = True
    """Whether steps go to stored vertices before the oracle is asked."""
    inherit: bool = True
    """Whether children keep the active set."""
    branching: Branching = "pseudo-cost"
    """How the column to split is chosen."""
    traversal: Traversal = "hybrid"
    """Which node comes next."""
    node_tolerance: NotNegative = 0.3
    """Share of its distance to the incumbent at which a node's gap is small enough."""
    fixing: bool = True
    """Whether gradients fix columns."""
    heuristics: Heuristics = "rounding"
    """Where masks are looked for in a node."""
    max_nodes: Limit = -1
    """Nodes at most; -1 for no limit."""
    max_memory: Positive = 4096
    """MiB for the open nodes, and as much again for the proof, which is given up beyond it."""
    hull: Hull = "convex"
    """The hull of the masks, or the linear relaxation of their rows."""

    def warm_ups(self) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return (
            self._warm_up_tree, improve.warm_up, cycles.warm_up, triangles.warm_up,
            vertices.warm_up, frontier.warm_up,
        )  # fmt: skip

    def _warm_up_tree(self) -> None:
        """Compile the search, or load it, on a row of four columns."""
        layer = Layer(np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4) + 0.1)
        problem = Problem.of(layer, parse_pattern("50%")).part_of(0)
        first = reformulate(problem.quad, problem.groups, "none", Deadline(600.0))
        limits = Limits(Deadline(600.0))
        search = TreeSearch(
            problem, limits, self._rules(problem, limits.gap), first.functions, self.oracle, MIB
        )
        mask = problem.groups.prune_lowest(problem.quad.diagonal())
        search.offer(mask, problem.scaled_loss(mask))
        search.run(-1)
        search.answer()

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound with proof, counters."""
        start = starting_mask(problem, self.warm_start, seed)
        if limits.deadline.expired():
            loss = None if start is None else problem.scaled_loss(start)
            return Answer(start, limits.deadline.stop(), loss)
        if not isinstance(problem.legal, BudgetGroups):
            return self._general(problem, start, seed, limits)
        rules = self._rules(problem, limits.gap)
        groups, quad = problem.groups, problem.quad
        found = self._masks(problem, start, seed, FIRST_POPULATION, limits)
        later = self.convexify == "sdp-triangles" and self.triangle_nodes > 0
        with limits.journal.phase("build"):
            method = "sdp" if later else self.convexify
            first = reformulate(quad, groups, method, limits.deadline)
            search = TreeSearch(
                problem, limits, rules, first.functions, self.oracle, self.max_memory * MIB
            )
        search.offer(found.mask, found.loss)
        made = 0
        for times, gap, effort, population in STAGES if later else ():
            pause = times * self.triangle_nodes
            search.run(pause if self.max_nodes < 0 else min(pause, self.max_nodes))
            if not search.open or search.nodes < pause or limits.deadline.expired():
                break
            if search.gap() >= gap and effort.rounds > made:
                with limits.journal.phase("build"):
                    more = reformulate(quad, groups, "sdp-triangles", limits.deadline, effort)
                    search.add_functions(more.functions[1:])
                found = self._masks(problem, search.mask, seed, population, limits)
                search.offer(found.mask, found.loss)
                made = effort.rounds
        search.run(self.max_nodes)
        return search.answer()

    def _general(self, problem: Part, start: Mask | None, seed: int, limits: Limits) -> Answer:
        """Over a set of masks other than equal groups."""
        choices = Choices(
            oracle=self.oracle,
            relaxed=self.hull == "relaxation",
            inherit=self.inherit,
            branching=self.branching,
            traversal=self.traversal,
            node_tolerance=float(self.node_tolerance),
            fixing=self.fixing,
            rounding=self.heuristics in ("rounding", "both"),
            gap=GAP_SHARE * limits.gap,
            most_bytes=self.max_memory * MIB,
        )
        later = self.convexify == "sdp-triangles" and self.triangle_nodes > 0
        quad, legal, deadline = problem.quad, problem.legal, limits.deadline
        improved = improve_part(
            problem,
            start,
            [seed, problem.row],
            GENERAL_POPULATION if problem.n > SMALL_PART else 1,
            expired=deadline.expired,
            report=lambda mask, _: limits.journal.incumbent(mask, problem.scaled_loss(mask)),
        )
        with limits.journal.phase("build"):
            method = "sdp" if later else self.convexify
            functions = reformulate(quad, legal, method, deadline).functions
            search = GeneralSearch(problem, limits, choices, functions)
        search.offer(improved.mask)
        pause = int(GENERAL_SHARE * self.triangle_nodes) if later else 0
        if pause > 0:
            search.run(pause if self.max_nodes < 0 else min(pause, self.max_nodes))
            ahead = search.open and (self.max_nodes < 0 or search.nodes < self.max_nodes)
            if ahead and search.gap() >= GENERAL_GAP and not deadline.expired():
                with limits.journal.phase("build"):
                    more = reformulate(quad, legal, "sdp-triangles", deadline, SOME)
                    search.add_functions(more.functions[1:])
        search.run(self.max_nodes)
        return search.answer()

    def _masks(
        self, problem: Part, start: Mask | None, seed: int, population: int, limits: Limits
    ) -> Found:
        """Search for a good mask (`solvers.local_search.memetic`)."""
        return improve.improve(
            problem.quad,
            problem.groups,
            start,
            [seed, problem.row],
            population,
            expired=limits.deadline.expired,
            report=limits.journal.incumbent,
        )

    def _rules(self, problem: Part, gap: float) -> Rules:
        """The settings as the compiled code takes them."""
        return Rules(
            size=problem.groups.size,
            budget=problem.groups.pruned,
            variant=VARIANTS.index(self.variant),
            lazy=self.lazy,
            inherit=self.inherit,
            branching=BRANCHING.index(self.branching),
            traversal=TRAVERSALS.index(self.traversal),
            node_tolerance=float(self.node_tolerance),
            fixing=self.fixing,
            rounding=self.heuristics in ("rounding", "both"),
            vertices=self.heuristics in ("vertices", "both"),
            gap=GAP_SHARE * gap,
            recording=True,
        )


@settings
class FwBnbHighs(FwBnb):
    """The same search with HiGHS as its oracle: steps over stored vertices save calls."""

    oracle: OracleName = "highs"
    variant: Variant = "blended-pairwise"


@settings
class FwBnbScip(FwBnb):
    """The same search with SCIP as its oracle."""

    oracle: OracleName = "scip"
    variant: Variant = "blended-pairwise"
