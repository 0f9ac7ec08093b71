"""Frank-Wolfe branch and bound on convex reformulations (after Boscia, arXiv 2208.11010).

The loss is replaced by convex functions F that equal it on every legal mask, or with triangle
inequalities lie below it there (`bounds.reformulate`). Each node minimises F over the hull of its
legal masks by Frank-Wolfe steps; its bound is F(x) minus the Frank-Wolfe gap, its rounded x an
incumbent, and gradients fix columns. The answer carries a proof: the tree, and one x for each leaf.

Equal budget groups are searched by an engine whose compiled code knows their hull
(`tree.compiled`), all other sets of masks, and all that a native oracle is asked about, by one that
sees them through their oracle (`tree.general`).

Nodes grow exponentially with n; their cost is that of a few n^2 operations. When the search is cut
short, the bound is the least over open nodes and closed leaves; the hybrid traversal always takes
up the node of least bound next and dives from there, so that this bound keeps rising.

Importing this module compiles the kernels (a minute once, then they are cached on disk), so that
no run and no deadline ever pays for it: a run's process is forked after the import.
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.bounds.reformulate import METHODS
from maskgap.solvers.frank_wolfe.variants import VARIANTS
from maskgap.solvers.one_shot.scores import starting_mask
from maskgap.solvers.oracles.make import ORACLES
from maskgap.solvers.protocol import Answer, Deadline, Limits
from maskgap.solvers.tree.choices import BRANCHING, HEURISTICS, HULLS, TRAVERSALS, Choices
from maskgap.solvers.tree.driver import Plan, branch_and_bound

GAP_SHARE = 0.5
"""Share of the gap asked for at which nodes close; the rest is for rounding margins."""

MIB = 1 << 20


@dataclass(frozen=True)
class FwBnb:
    """Settings.

    warm_start: score of the first incumbent. convexify: none, eig, diag, sdp or sdp-triangles.
    triangle_nodes: nodes after which triangles are thought of, 0: at once and once only. oracle:
    closed-form, highs or scip. variant: one of `frank_wolfe.variants`. branching, traversal,
    heuristics: of `tree.choices`. lazy: steps to stored vertices first. inherit: children keep the
    active set. node_tolerance: share of its distance to the incumbent at which a node's gap is
    small enough. fixing: by gradients. max_nodes: -1 for no limit. max_memory: MiB for the open
    nodes, and as much again for the proof, which is given up beyond it. hull: convex, that of the
    masks, or relaxation, the linear relaxation of their rows; for equal groups they are the same.

    Sets other than equal groups, and native oracles: oracle closed-form is the set's own,
    triangle_nodes counts for a tenth, and the variant is blended pairwise, lazy, whatever the
    settings say.
    """

    warm_start: str = "wanda"
    convexify: str = "sdp-triangles"
    triangle_nodes: int = 2000
    oracle: str = "closed-form"
    variant: str = "decomposition-invariant"
    lazy: bool = True
    inherit: bool = True
    branching: str = "pseudo-cost"
    traversal: str = "hybrid"
    node_tolerance: float = 0.3
    fixing: bool = True
    heuristics: str = "rounding"
    max_nodes: int = -1
    max_memory: int = 4096
    hull: str = "convex"

    def __post_init__(self) -> None:
        """Raise InputError for a bad setting."""
        for name, least in (
            ("max_nodes", -1),
            ("max_memory", 1),
            ("node_tolerance", 0),
            ("triangle_nodes", 0),
        ):
            if not getattr(self, name) >= least:
                raise InputError(
                    f"fw-bnb: {name} is {getattr(self, name)}, expected {least} or more"
                )
        for name, choices in (
            ("convexify", METHODS),
            ("oracle", ORACLES),
            ("variant", VARIANTS),
            ("branching", BRANCHING),
            ("traversal", TRAVERSALS),
            ("heuristics", HEURISTICS),
            ("hull", HULLS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(
                    f"fw-bnb: {name} is '{value}', expected one of {', '.join(choices)}"
                )

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound with proof, counters. Raises InputError for an unknown warm start."""
        start = starting_mask(problem, self.warm_start, seed)
        if limits.deadline.expired():
            loss = None if start is None else problem.scaled_loss(start)
            return Answer(start, limits.deadline.stop(), loss)
        plan = Plan(self.choices(limits), self.convexify, self.triangle_nodes, self.max_nodes)
        return branch_and_bound(problem, start, plan, limits, seed)

    def choices(self, limits: Limits) -> Choices:
        """The settings that a search keeps to."""
        return Choices(
            gap=GAP_SHARE * limits.gap,
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
        )


@dataclass(frozen=True)
class FwBnbHighs(FwBnb):
    """The same search with HiGHS as its oracle: steps over stored vertices save calls."""

    oracle: str = "highs"
    variant: str = "blended-pairwise"


@dataclass(frozen=True)
class FwBnbScip(FwBnb):
    """The same search with SCIP as its oracle."""

    oracle: str = "scip"
    variant: str = "blended-pairwise"


def _compile() -> None:
    """Compile the kernels, or load them from their cache, on a row of four columns."""
    layer = Layer(np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4) + 0.1)
    problem = Problem.of(layer, parse_pattern("50%")).part_of(0)
    for variant in ("decomposition-invariant", "blended-pairwise"):
        FwBnb(variant=variant, convexify="none").solve(problem, Limits(Deadline(600.0)), 0)


_compile()
