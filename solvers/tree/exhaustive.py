"""Exhaustive search: the loss z^T Q z of every legal mask, for rows of at most 24 columns.

Masks are evaluated in blocks as (Z Q) * Z summed over columns; cost is masks * n^2 / 2 products,
2.7 million masks at n = 24 and 50 %. Its proof is an enumeration, which the checker repeats; the
bound stated lies below the best loss by the rounding of a sum of n^2 terms.
"""

import numpy as np

from maskgap.instances.arrays import Kept, Pruned, kept_of
from maskgap.instances.errors import Refused
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import ENUMERATION_COLUMNS
from maskgap.instances.problem import Part
from maskgap.solvers.objectives.convexify import rounding_margin
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import settings


@settings
class Exhaustive:
    """Every legal mask."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """The best mask, the first listed among equals. Raises Refused past n = 24."""
        if problem.n > ENUMERATION_COLUMNS:
            raise Refused(
                f"exhaustive takes at most {ENUMERATION_COLUMNS} columns, the row has {problem.n}"
            )
        best: Kept | None = None
        value, seen = np.inf, 0
        for pruned in problem.legal.enumerate_pruned():
            if seen and limits.deadline.expired():
                return Answer(best, limits.deadline.stop(), value, counters={"masks": seen})
            z = pruned.astype(np.float64)
            losses = np.einsum("ij,ij->i", z @ problem.quad, z)
            least = int(losses.argmin())
            seen += len(losses)
            if losses[least] < value:
                value, best = float(losses[least]), kept_of(Pruned(pruned[least]))
                limits.journal.incumbent(best, value)
        if best is None:
            raise Refused(f"row {problem.row}: no mask meets all of '{problem.pattern}'")
        value = problem.scaled_loss(best)
        bound = max(0.0, value - rounding_margin(problem.quad, problem.legal))
        limits.journal.bound(bound)
        proof = PartProof(
            problem.row, problem.digest, problem.rescale(bound), best, Enumeration(),
            height=problem.height,
        )  # fmt: skip
        return Answer(best, Stop.FINISHED, value, bound, counters={"masks": seen}, proof=proof)
