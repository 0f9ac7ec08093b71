"""Frank-Wolfe branch and bound on convex reformulations (after Boscia, arXiv 2208.11010).

The loss is replaced by convex functions F that equal it on every legal mask, or with triangle
inequalities lie below it there (`bounds.reformulate`). Each node minimises F over the hull of its
legal masks by Frank-Wolfe steps; its bound is F(x) minus the Frank-Wolfe gap, its rounded x an
incumbent, and gradients fix columns. The answer carries a proof: the tree, and one x for each leaf.

Equal budget groups are searched by an engine whose compiled code knows their hull
(`tree.compiled`), all other sets of masks, and all that a native oracle is asked about, by one that
sees them through their oracle (`tree.general`).

Where a row has one budget and is wide, every node makes a function of its own, which holds in its
subtree (`tree.reoptimised`).

Under the objective refit, F are perspective functions, with a diagonal of its own a node: see
`tree.refit.driver`.

Nodes grow exponentially with n; their cost is that of a few n^2 operations. When the search is cut
short, the bound is the least over open nodes and closed leaves; the hybrid traversal always takes
up the node of least bound next and dives from there, so that this bound keeps rising.
"""

from collections.abc import Callable, Sequence

from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part
from maskgap.solvers.bounds import triangles
from maskgap.solvers.bounds.reformulate import Method
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.frank_wolfe.variants import Variant
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.one_shot.scores import starting_mask
from maskgap.solvers.oracles.make import OracleName
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.settings import Count, Limit, NotNegative, Positive, WarmStart, settings
from maskgap.solvers.tree import recorded
from maskgap.solvers.tree.choices import (
    Branching,
    Choices,
    Heuristics,
    Hull,
    Reoptimise,
    Traversal,
)
from maskgap.solvers.tree.compiled import engine
from maskgap.solvers.tree.driver import Plan, branch_and_bound
from maskgap.solvers.tree.masks import Masks
from maskgap.solvers.tree.refit.driver import Diagonal, RefitPlan, search_refit
from maskgap.solvers.tree.refit.driver import warm_ups as refit_warm_ups
from maskgap.solvers.tree.reoptimised import visit

GAP_SHARE = 0.5
"""Share of the gap asked for at which nodes close; the rest is for rounding margins."""

MIB = 1 << 20


@settings
class FwBnb:
    """The search. For equal groups the hull of the masks and that of their rows are the same.

    Sets other than equal groups, and native oracles: oracle closed-form is the set's own,
    triangle_nodes counts for a tenth, and the variant is blended pairwise, lazy, whatever the
    settings say.
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
    reoptimise: Reoptimise = "auto"
    """Whether nodes make their own functions; of equal groups with several budgets, the root alone.
    auto: for one budget a row, on wide rows."""
    relaxations: Limit = -1
    """Nodes that make their own functions at most; after them bounds are raised by those that there
    are. -1: two fifths of the time."""
    root_triangles: Count = 0
    """Triangle inequalities of a root that makes its own function at most; 0: six a column."""
    diagonal: Diagonal = "nodes"
    """Objective refit: the diagonal of the perspective function, one a node or one a tree."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        if objective is ObjectiveName.REFIT:
            own = refit_warm_ups(self.diagonal, self.choices(gap=0.0))
            return *own, recorded.warm_up
        all_engines = (
            improve.warm_up, cycles.warm_up, triangles.warm_up, recorded.warm_up, *hull.warm_ups(),
        )  # fmt: skip
        if self.oracle != "closed-form":
            return all_engines
        own = () if self.reoptimise == "off" else (visit.warm_up,)
        return self._warm_up_tree, *own, *all_engines

    def _warm_up_tree(self) -> None:
        engine.warm_up(self.choices(gap=0.0))

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound with proof, counters."""
        start = starting_mask(problem, self.warm_start, seed)
        if problem.objective.refits:
            masks = Masks(problem, limits, [seed, problem.row])
            own = RefitPlan(self.choices(limits.gap), self.diagonal, self.max_nodes)
            return search_refit(masks, start, own)
        if limits.deadline.expired():
            loss = None if start is None else problem.scaled_loss(start)
            return Answer(start, limits.deadline.stop(), loss)
        plan = Plan(
            self.choices(limits.gap),
            self.convexify,
            self.triangle_nodes,
            self.max_nodes,
            self.reoptimise,
        )
        return branch_and_bound(problem, start, plan, limits, seed)

    def choices(self, gap: float) -> Choices:
        """What a search keeps to. gap: relative gap at which the run may stop."""
        return Choices(
            gap=GAP_SHARE * gap,
            most_bytes=self.max_memory * MIB,
            oracle=self.oracle,
            hull=self.hull,
            variant=self.variant,
            lazy=self.lazy,
            inherit=self.inherit,
            branching=self.branching,
            traversal=self.traversal,
            node_tolerance=self.node_tolerance,
            fixing=self.fixing,
            heuristics=self.heuristics,
            relaxations=self.relaxations,
            root_triangles=self.root_triangles,
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
