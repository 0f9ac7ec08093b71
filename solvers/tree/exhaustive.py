"""Exhaustive search: the loss of every legal mask, for rows of at most 24 columns.

The loss is z^T Q z, or under the objective refit w_P^T [(H^-1)_PP]^-1 w_P, P the pruned columns.
Masks are evaluated in blocks as (Z Q) * Z summed over columns; cost is masks * n^2 / 2 products,
2.7 million masks at n = 24 and 50 %. Its proof is an enumeration, which the checker repeats; the
bound stated lies below the best loss by the rounding of a sum of n^2 terms. Under refit it has no
proof and is claimed.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Pruned, Vector, kept_of
from maskgap.instances.errors import Refused
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import ENUMERATION_COLUMNS
from maskgap.instances.problem import Part
from maskgap.solvers.objectives.convexify import rounding_margin
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import settings

Losses = Callable[[Pruned], Vector]
"""Of masks (masks, n), in units of `Part.scaled_loss`."""

AT_ONCE = 8192
"""Masks that are eliminated together."""


@settings
class Exhaustive:
    """Every legal mask."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """The best mask, the first listed among equals. Raises Refused past n = 24."""
        if problem.n > ENUMERATION_COLUMNS:
            raise Refused(
                f"exhaustive takes at most {ENUMERATION_COLUMNS} columns, the row has {problem.n}"
            )
        refits = problem.objective.refits
        losses_of = _refit_losses(problem) if refits else _mask_losses(problem)
        best: Kept | None = None
        value, seen = np.inf, 0
        for pruned in problem.legal.enumerate_pruned():
            if seen and limits.deadline.expired():
                return Answer(best, limits.deadline.stop(), value, counters={"masks": seen})
            losses = losses_of(Pruned(pruned))
            least = int(losses.argmin())
            seen += len(losses)
            if losses[least] < value:
                value, best = float(losses[least]), kept_of(Pruned(pruned[least]))
                limits.journal.incumbent(best, value)
        if best is None:
            raise Refused(f"row {problem.row}: no mask meets all of '{problem.pattern}'")
        value = problem.scaled_loss(best)
        counters = {"masks": seen}
        if refits:
            limits.journal.bound(value)
            return Answer(best, Stop.FINISHED, value, value, counters=counters)
        bound = max(0.0, value - rounding_margin(problem.quad, problem.legal))
        limits.journal.bound(bound)
        proof = PartProof(
            problem.row, problem.digest, problem.rescale(bound), best, Enumeration(),
            height=problem.height,
        )  # fmt: skip
        return Answer(best, Stop.FINISHED, value, bound, counters=counters, proof=proof)


def _mask_losses(problem: Part) -> Losses:
    quad = problem.quad

    def losses(pruned: Pruned) -> Vector:
        z = pruned.astype(np.float64)
        return np.asarray(np.einsum("ij,ij->i", z @ quad, z))

    return losses


def _refit_losses(problem: Part) -> Losses:
    """Losses by elimination in H^-1, column by column from the last; masks share what they can.

    With K = H^-1, a pruned column j leaves w_i - K_ij w_j / K_jj and K_ik - K_ij K_kj / K_jj of the
    columns before it and adds w_j^2 / K_jj to the loss; a kept one leaves them as they are.
    """
    target: Vector = problem.target
    inverse: Matrix = np.asarray(np.linalg.inv(problem.hessian), dtype=np.float64)
    places = np.arange(problem.n, dtype=np.int64)

    def losses(pruned: Pruned) -> Vector:
        codes = (pruned.astype(np.int64) << places).sum(axis=1)
        found = np.empty(len(codes))
        order = np.argsort(codes, kind="stable")
        for top in range(0, len(order), AT_ONCE):
            some = order[top : top + AT_ONCE]
            found[some] = _eliminated(inverse, target, codes[some])
        return found

    return losses


def _eliminated(inverse: Matrix, target: Vector, codes: NDArray[np.int64]) -> Vector:
    """(masks,) losses of ascending codes, whose bit j says that column j is pruned."""
    ends, rest, weight = np.zeros(1, dtype=np.int64), inverse[None], target[None]
    loss = np.zeros(1)
    for j in range(len(target) - 1, -1, -1):
        heads = codes >> j
        new = heads[np.flatnonzero(np.diff(heads, prepend=-1))]  # distinct, ascending
        parent = np.searchsorted(ends, new >> 1)
        gone, pivot, last = (new & 1).astype(np.float64), rest[parent, j, j], weight[parent, j]
        column, share = rest[parent, j, :j], gone / pivot
        loss = loss[parent] + share * last * last
        weight = weight[parent, :j] - column * (share * last)[:, None]
        rest = rest[parent, :j, :j] - column[:, :, None] * (column * share[:, None])[:, None, :]
        ends = new
    return np.asarray(loss[np.searchsorted(ends, codes)])
