"""One visit to a node: its own relaxation, the bound and the columns that it fixes, its end.

The relaxation of what the node leaves of the row (`reduced`) begins with the triangle inequalities
of its parent (`bounds.inherited`) and ends early when it closes the node. Its function, made
semidefinite, bounds the node by its linearisation at x, which is that of the relaxation moved along
the edges of the hull, rounded to float32 as in the proof. Gradients fix columns as in
`tree.compiled.search`. A node that lacks little is searched to its end at once (`close`). The root
of a part that has a function already is bounded by that, and has no relaxation.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, kept_of, pruned_of
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.solvers.bounds.inherited import Inherited, Until, solve_inheriting
from maskgap.solvers.bounds.iterate import Iterate
from maskgap.solvers.bounds.sdp_solution import SdpSolution
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.frank_wolfe.edges import minimise_along_edges
from maskgap.solvers.frank_wolfe.node import STEPS, gradient_of, restore, value_of
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.reduced_row import ReducedRow
from maskgap.solvers.tree.compiled.rounding import descend, round_to_legal
from maskgap.solvers.tree.reoptimised.branching import Prospects, Split
from maskgap.solvers.tree.reoptimised.close import Closing, Ending
from maskgap.solvers.tree.reoptimised.raising import Raising, Source

CUTS, KEPT_CUTS = 6.0, 4.0
"""Triangle inequalities held at most, and taken over from the parent, per free column."""

LEAST_VIOLATION = 0.1
ROOT_ROUNDS, ROUNDS = 12, 3
TOLERANCE = 1e-3

MANY_ROUNDS, MANY_LEAST, MANY_TOLERANCE, MANY_INACTIVE = 20, 0.04, 1e-2, 0.05
"""The same of a root that is given more inequalities."""

ABOVE = 1.0 + 1e-6
"""A relaxation ends at this multiple of the cut: what the repair takes must not open the node."""

POLISH = 0.02
"""Share of its distance to the cut at which the gap of x is small enough."""


@dataclass(eq=False, slots=True)
class Node:
    """An open node.

    state: (n,). bound: inherited. row: in the record. known: triangle inequalities of its parent by
    the indices of the whole row. split: what made it, None at the root. source: the
    function that bounds it, None where none does. raising: the search that raises it, None before.
    """

    state: States
    bound: float
    row: int
    known: Inherited
    split: Split | None = None
    source: Source | None = None
    raising: Raising | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A column fixed in a node, to what, and the bound of the side cut off."""

    column: int
    to: int
    bound: float


@dataclass(eq=False, slots=True)
class Visit:
    """What was found at a node, to be recorded in order.

    inherited: its bound before. alone: it has no mask to choose. function: by the columns of the
    row, with the point (n,) and the margin, where it raised the bound, else None; own: the same by
    those of `reduced`. fixed: columns,
    by it. masks: of the row. prospects: None where no column is left to split. ending: of a
    compiled search, whose functions are `function` only. lacking: its gap then, as a share of the
    loss. relaxed: whether it had a relaxation of its own.
    """

    node: Node
    inherited: float
    alone: bool = False
    function: ConvexFunction | None = None
    own: ConvexFunction | None = None
    point: NDArray[np.float32] | None = None
    margin: float = 0.0
    fixed: list[Fixed] = field(default_factory=list)
    masks: list[Kept] = field(default_factory=list)
    known: Inherited = field(default_factory=Inherited.none)
    prospects: Prospects | None = None
    ending: Ending | None = None
    reduced: ReducedRow | None = None
    lacking: float = 0.0
    steps: int = 0
    relaxed: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Aim:
    """What a visit is for.

    quad: Q (n, n). groups: of the row. root: what its relaxation costs. minorant: the function that
    the root has in place of a relaxation, or None. cut: the bound at which
    nodes close. reach: the gap, as a share of the loss, at which nodes are searched to their ends.
    fixing: whether columns are.
    """

    quad: Matrix
    groups: BudgetGroups
    root: Effort
    minorant: ConvexFunction | None
    cut: float
    reach: float
    fixing: bool
    closing: Closing


def visit(node: Node, aim: Aim) -> Visit:
    """Visit a node; its bound and state go on with what is found."""
    found = Visit(node, node.bound)
    left = aim.groups.count * aim.groups.pruned - int((node.state == PRUNED).sum())
    if not 0 < left < int((node.state == FREE).sum()):
        found.alone = True
        return found
    row = ReducedRow.of(aim.quad, node.state, aim.groups)
    if node.split is None and aim.minorant is not None:
        _take_minorant(found, row, aim.minorant, aim)
        return found
    until = Until(aim.closing.deadline, _effort(node, row, aim), ABOVE * aim.cut)
    solved = solve_inheriting(row.quad, row.groups, node.known.on_free(node.state), until)
    if solved is None:
        found.prospects = _any(row)
        return found
    at, found.steps = solved
    found.relaxed = True
    function, convex = _convex(row, at)
    x = _polished(convex, row.groups, at, aim.cut)
    own = Inherited(at.cuts, at.weight).heaviest(int(KEPT_CUTS * len(row.free)))
    found.known = own.spread(row.free)
    found.prospects = Prospects.of(row.free, at.lifted, convex.matrix.diagonal())
    _take_function(found, row, (function, convex), x, aim)
    return found


def _take_minorant(found: Visit, row: ReducedRow, minorant: ConvexFunction, aim: Aim) -> None:
    """Bound the root by a function that it is given, beyond which a relaxation leads little."""
    convex = Quadratic(*convexify.quadratic(row.quad, row.groups, minorant))
    point = hull.minimise(convex, row.groups, aim.closing.deadline)
    x = np.asarray(point.x.astype(np.float32).astype(np.float64))
    found.steps, found.prospects = point.iterations, _any(row)
    _take_function(found, row, (minorant, convex), x, aim)


def _take_function(
    found: Visit, row: ReducedRow, own: tuple[ConvexFunction, Quadratic], x: Vector, aim: Aim
) -> None:
    """Bound a node by a function, in both forms, at a point (m,), and go on from there."""
    node, (function, convex) = found.node, own
    bound = hull.linearise(convex, row.groups, x).bound
    found.masks.append(_rounded(aim, row, x))
    if bound > node.bound:
        node.bound = bound
        found.function, found.point = row.stated(function), row.point(x)
        found.own, found.reduced = function, row
        found.margin = row.margin(function)
        if bound < aim.cut:
            _go_on(found, row, convex, x, aim)


def _go_on(found: Visit, row: ReducedRow, convex: Quadratic, x: Vector, aim: Aim) -> None:
    """Search an open node to its end where that is near; else fix columns."""
    node, loss = found.node, aim.closing.loss
    found.lacking = (aim.cut - node.bound) / loss
    if found.lacking <= aim.reach:
        found.ending = aim.closing.search(row, [convex])
        if found.ending.mask is not None:
            found.masks.append(found.ending.mask)
        if found.ending.ended:
            return
    if aim.fixing:
        found.fixed = _fixed(node, row, convex.at(x)[1], aim.cut)
        left = node.state[row.free] == FREE
        if found.prospects is not None:
            found.prospects = found.prospects.where(left) if left.any() else None


def root_effort(n: int, most: int) -> Effort:
    """What the relaxation of a whole row costs. most: triangle inequalities; 0: as in its nodes."""
    if most == 0:
        return Effort(ROOT_ROUNDS, n, int(CUTS * n), LEAST_VIOLATION, TOLERANCE, share=1.0)
    return Effort(
        MANY_ROUNDS,
        max(1, 2 * most // MANY_ROUNDS),
        most,
        MANY_LEAST,
        MANY_TOLERANCE,
        MANY_INACTIVE,
        1.0,
    )


def _effort(node: Node, row: ReducedRow, aim: Aim) -> Effort:
    if node.split is None:
        return aim.root
    m = len(row.free)
    return Effort(ROUNDS, m, int(CUTS * m), LEAST_VIOLATION, TOLERANCE, share=1.0)


def _convex(row: ReducedRow, at: Iterate) -> tuple[ConvexFunction, Quadratic]:
    """The function of an iterate, repaired."""
    solution = SdpSolution.of(row.quad, row.groups, at, 0, True)
    function = convexify.repair(row.quad, row.groups, solution.function)
    return function, Quadratic(*convexify.quadratic(row.quad, row.groups, function))


def _polished(convex: Quadratic, groups: BudgetGroups, at: Iterate, cut: float) -> Vector:
    """(m,) the point to bound a node at, as float32 has it."""
    x = np.clip(0.5 * (1.0 + at.lifted[0, 1:]), 0.0, 1.0)
    gradient, state = np.empty(groups.n), np.full(groups.n, FREE, np.int8)
    gradient_of(convex.matrix, convex.linear, x, gradient)
    restore(convex.matrix, groups.size, groups.pruned, state, x, gradient)
    value = value_of(convex.linear, convex.constant, x, gradient)
    minimise_along_edges(
        convex.matrix, groups.size, groups.pruned, state, x, gradient, value, cut, POLISH, STEPS
    )
    return np.asarray(x.astype(np.float32).astype(np.float64))


def _rounded(aim: Aim, row: ReducedRow, x: Vector) -> Kept:
    """(n,) a mask near x, improved by swaps among all masks of the row."""
    near, z = np.empty(len(x)), np.zeros(len(row.state))
    round_to_legal(row.groups.size, row.groups.pruned, x, near)
    z[pruned_of(row.mask(near))] = 1.0
    descend(aim.quad, aim.groups.size, aim.groups.pruned, z)
    return kept_of(Pruned(z > 0.5))


def _fixed(node: Node, row: ReducedRow, gradient: Vector, cut: float) -> list[Fixed]:
    """Fix columns of which one side's bound reaches the cut, in the state of the node."""
    state = np.full(len(row.free), FREE, np.int8)
    if_pruned, if_kept = row.groups.rises(gradient, state)
    fixed = []
    for i in np.flatnonzero(node.bound + np.maximum(if_pruned, if_kept) >= cut).tolist():
        gone = node.bound + if_pruned[i] >= cut
        to = KEPT if gone else PRUNED
        column, rise = int(row.free[i]), float(if_pruned[i] if gone else if_kept[i])
        node.state[column] = to
        fixed.append(Fixed(column, to, node.bound + rise))
    return fixed


def _any(row: ReducedRow) -> Prospects:
    """All columns alike, where there is no relaxation to go by."""
    even = np.full(len(row.free), 0.5)
    return Prospects(row.free, even, np.maximum(row.quad.diagonal(), 1e-12))


def warm_up() -> None:
    """Compile the kernels that are called here and not by the compiled engine, or load them."""
    matrix, state, x, gradient = np.eye(4), np.full(4, FREE, np.int8), np.full(4, 0.5), np.zeros(4)
    gradient_of(matrix, gradient.copy(), x, gradient)
    restore(matrix, 4, 2, state, x, gradient)
    value = value_of(gradient.copy(), 0.0, x, gradient)
    minimise_along_edges(matrix, 4, 2, state, x, gradient, value, 9.0, POLISH, STEPS)
    round_to_legal(4, 2, x, gradient)
    descend(matrix, 4, 2, gradient)
