"""From the multipliers of a row to its bound in float64, with its proof.

Multipliers y and t of the diagonal and of triangle inequalities make the function of u_i = 4 (y_i +
the sum of t over the inequalities at i) (`bounds.sdp_solution`), on the columns that are not kept
beforehand. It is shifted until it is semidefinite and minimised over the hull of the masks; the
point that the method ends at is near the minimiser.
"""

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.problem import Part
from maskgap.instances.triangles import CONSTANT, Triangles
from maskgap.solvers.bounds.low_rank.batches import RowFound
from maskgap.solvers.bounds.low_rank.method import Multipliers
from maskgap.solvers.bounds.root_bound import RootBound
from maskgap.solvers.bounds.sdp_solution import whole_space
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.frank_wolfe.hull import HullPoint
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.reduced_row import ReducedRow
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop

HULL_GAP = 1e-5
HULL_ITERATIONS = 300
"""The point is looked for from the one that the method gives, which is near."""


def certified(part: Part, found: RowFound, limits: Limits, beside: bool) -> Answer:
    """The bound of a row. beside: with points for other budgets, where no columns are kept."""
    deadline = limits.deadline
    if len(found.kept.columns):
        stated, proof = _with_kept(part, found, deadline)
    else:
        function, start = convexify.plain(part.legal), None
        if found.multipliers is not None:
            unit = float(part.quad.diagonal().mean())
            u, triangles, start = _terms(found.multipliers, unit)
            function = whole_space(part.quad, part.legal, u, triangles)
        repaired = convexify.repair(part.quad, part.legal, function)
        convex = Quadratic(*convexify.quadratic(part.quad, part.legal, repaired))
        point = _lowest(convex, part.legal, start, deadline)
        bound = RootBound.at(part, repaired, convex, point)
        stated = bound.stated
        proof = bound.proof(part, bound.beside(part, deadline) if beside else None)
    multipliers = found.multipliers
    return Answer(
        None,
        deadline.stop() if deadline.expired() else Stop.FINISHED,
        claimed_bound=part.rescale(stated),
        counters={**found.counters, "kept": len(found.kept.columns)},
        notes={} if multipliers is None else {"dual_gap": multipliers.gap},
        proof=proof,
    )


def _terms(found: Multipliers, unit: float) -> tuple[Vector, Triangles, Vector]:
    """U (n,), the triangle terms, and a point (n,); unit: what the batch's 1 is in the part's."""
    touched = found.y + found.cuts.touching(found.weight, len(found.y))
    point = np.clip(0.5 * (1.0 + found.first[1:]), 0.0, 1.0)
    return 4.0 * unit * touched[1:], found.cuts.triangles(unit * found.weight), point


def _lowest(
    convex: Quadratic, legal: MaskSet, start: Vector | None, deadline: Deadline
) -> HullPoint:
    return hull.minimise(
        convex, legal, deadline, iterations=HULL_ITERATIONS, start=start, gap=HULL_GAP
    )


def _with_kept(part: Part, found: RowFound, deadline: Deadline) -> tuple[float, PartProof]:
    """The stated bound, and the proof whose function leaves the kept columns out."""
    kept = found.kept
    row = ReducedRow.of(part.quad, kept.state(part.n), part.groups)
    function, start = convexify.plain(row.groups), None
    if found.multipliers is not None:
        unit = float(row.quad.diagonal().sum()) / part.n
        u, triangles, near = _terms(found.multipliers, unit)
        place = np.full(part.n, CONSTANT, np.int32)
        place[row.free] = np.arange(len(row.free))
        columns = np.where(triangles.columns == CONSTANT, CONSTANT, place[triangles.columns])
        own = Triangles(columns.astype(np.int32), triangles.apex, triangles.weight)
        function, start = whole_space(row.quad, row.groups, u[row.free], own), near[row.free]
    repaired = convexify.repair(row.quad, row.groups, function)
    convex = Quadratic(*convexify.quadratic(row.quad, row.groups, repaired))
    x = np.clip(_lowest(convex, row.groups, start, deadline).x, 0.0, 1.0)
    bound = hull.linearise(convex, row.groups, x.astype(np.float32).astype(np.float64)).bound
    stated = max(0.0, kept.least(bound - row.margin(repaired)))
    evidence = kept.leaves(part, row.stated(repaired), row.point(x))
    return stated, PartProof(
        row=part.row,
        problem=part.digest,
        bound=part.rescale(stated),
        mask=None,
        evidence=evidence,
        height=part.height,
    )
